"""Texts in any encoding, and what kind of text."""

from __future__ import annotations

import codecs
import json
import re
from typing import TYPE_CHECKING, Final

from ckptload.formats.kinds.kind import DOWNLOAD, HEAD, NO_MODEL, Kind

if TYPE_CHECKING:
    from collections.abc import Callable

#: A byte order mark, and the codec for what follows it. That of UTF-32 begins with that of UTF-16.
_MARKS: Final = (
    (codecs.BOM_UTF32_LE, "utf-32-le"),
    (codecs.BOM_UTF32_BE, "utf-32-be"),
    (codecs.BOM_UTF8, "utf-8"),
    (codecs.BOM_UTF16_LE, "utf-16-le"),
    (codecs.BOM_UTF16_BE, "utf-16-be"),
)
#: Characters that texts do not have; escape sequences of terminals begin with \x1b.
_CONTROL: Final = re.compile("[\0-\x08\x0e-\x1a\x1c-\x1f\x7f\ufffe\uffff]")
#: The share of ASCII that tells a short text in another encoding from other bytes.
_MOSTLY: Final = 0.6
_CHINESE: Final = 0.9
#: Other bytes of this number, among which no control character is, are text: GBK, Shift JIS, KOI8 and so on.
_LONG: Final = 48
#: A .ckpt that was cut off in its first name: the tags and lengths before the name may be printable.
_CUT: Final = re.compile(rb"\n([\x80-\xff]{0,4}[\0-\x7f](\n|$)|$)")
_CUT_SIZE: Final = 300

_POINTER: Final = Kind("a Git LFS pointer to the real file", "fetch the real file with: git lfs pull")
_PAGE: Final = Kind("an HTML page, probably from a failed download", DOWNLOAD)

#: What a text is told by; the first that matches counts.
_BY_START: Final[tuple[tuple[re.Pattern[str], Kind], ...]] = tuple(
    (re.compile(pattern, re.IGNORECASE), kind)
    for pattern, kind in (
        (r"version https://git-lfs", _POINTER),
        (r"\s*<(!doctype html|html|head|body|script|!--)", _PAGE),
        (r"\s*<(\?xml|[a-z]+[ >:/])", Kind("an XML or HTML page, perhaps from a failed download", DOWNLOAD)),
        (
            r"(all_)?model_checkpoint_paths?:",
            Kind("a TensorFlow checkpoint's state file", "open the model with TensorFlow"),
        ),
        (r"7767517\s", Kind("the text part of an NCNN model (.param)", NO_MODEL)),
        (r"#!", Kind("a script", NO_MODEL)),
    )
)
_PLAIN: Final = Kind("a text file, perhaps a link to the checkpoint", DOWNLOAD)


def by_text(head: bytes) -> Kind | None:
    """Return the kind of a text, or None if the bytes are not text."""
    if len(head) < _CUT_SIZE and _CUT.match(head):
        return None
    for mark, codec in _MARKS:
        if head.startswith(mark):
            text = _decoded(head[len(mark) :], codec)
            if text is not None:
                return _kind_of(text)
            if mark == codecs.BOM_UTF8:
                return Kind("a file that was saved as text: it begins with the byte order mark of UTF-8", DOWNLOAD)
    text = _without_mark(head)
    return None if text is None else _kind_of(text)


def _without_mark(head: bytes) -> str | None:
    for codec, fits in _CODECS:
        text = _decoded(head, codec)
        if text is not None and fits(text):
            return text
    return None


def _decoded(data: bytes, codec: str) -> str | None:
    """Return the text, without a character that is cut off at the end; None if it is not text in this encoding."""
    try:
        text = codecs.getincrementaldecoder(codec)().decode(data, final=len(data) < HEAD - 4)
    except (UnicodeError, LookupError, OSError):
        # It is not in this encoding; or the codec cannot be imported, for example because too many files are open.
        return None
    return None if not text.strip("\ufeff") or _CONTROL.search(text) else text


def _is_mostly_ascii(text: str) -> bool:
    return sum(map(str.isascii, text)) >= _MOSTLY * len(text)


def _is_long_or_ascii(text: str) -> bool:
    """Return whether it cannot be by chance that no byte is a control character."""
    return len(text) >= _LONG or _is_mostly_ascii(text)


def _is_chinese(text: str) -> bool:
    """Return whether what is not ASCII is Chinese: other bytes would decode to rare characters, too."""
    others = [letter for letter in text if not letter.isascii()]
    known = sum("\u3000" <= letter <= "\u9fff" or "\uff00" <= letter <= "\uffef" for letter in others)
    return known >= _CHINESE * len(others)


#: Encodings without a mark, and what a text in them must be. The last one can decode anything.
_CODECS: Final[tuple[tuple[str, Callable[[str], bool]], ...]] = (
    ("utf-8", bool),
    ("utf-16-le", _is_mostly_ascii),
    ("utf-16-be", _is_mostly_ascii),
    ("gb18030", _is_chinese),
    ("latin-1", _is_long_or_ascii),
)


def _kind_of(text: str) -> Kind:
    for pattern, kind in _BY_START:
        if pattern.match(text):
            return kind
    if text.lstrip()[:1] in {"{", "["} and _is_json(text):
        return _json(text)
    return _PLAIN


def _is_json(text: str) -> bool:
    """Return whether a text is JSON; one that is cut off counts if it begins as JSON does."""
    try:
        json.loads(text)
    except (ValueError, RecursionError):
        return re.match(r'\s*(\{\s*"|\[\s*[\[{"\d])', text) is not None
    return True


def _json(text: str) -> Kind:
    if re.search(r'"(model_type|architectures|hidden_size)"', text):
        return Kind("a model's configuration (JSON), which holds no parameters", "open the checkpoint beside it")
    return Kind("a JSON file, which holds no parameters", NO_MODEL)
