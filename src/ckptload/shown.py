"""How text from outside is shown: without control characters, and without passwords and keys.

Text from outside is whatever this package did not write: names and paths, values that a caller passes, messages of
other libraries and of servers.
"""

from __future__ import annotations

import os
import re
from typing import Final
from urllib.parse import quote, unquote

#: A path that is made of a URL has ``/`` for ``//``. It is known by its scheme, or by a user with a password.
_SCHEMES: Final = (
    "https?|ftps?|sftp|ssh|scp|s3[an]?|gc?s|abfss?|az|adl|wasbs?|web?hdfs|hdfs|webdavs?|davs?|hf|oss|oci|cosn?|obs|"
    "smb|github|git|dropbox|gdrive|swift|b2|r2|tos|dbfs"
)
_USER: Final = r"(?=[^/@:\s]*:[^/@\s]*@)"
_BEGIN: Final = rf"(?P<begin>(?<![\w+.-])(?:(?:{_SCHEMES}):/(?!/)|[a-z][a-z0-9+.-]{{1,20}}:/{_USER})|://)"
#: In a chain such as ``zip://a.ckpt::https://host/b.zip``, the next link begins with a scheme or is a path.
_NEXT: Final = r"::(?:[A-Za-z][\w+.-]*(?:://|::|$)|/)"
_URL: Final = re.compile(rf"{_BEGIN}(?P<rest>.*?)(?={_NEXT}|$)", re.DOTALL)
_URL_IN_TEXT: Final = re.compile(rf"{_BEGIN}(?P<rest>[^\s'\"<>]*?)(?={_NEXT}|[\s'\"<>]|$)")

#: What stands for the query and the fragment of a URL.
CUT: Final = "?..."
_HIDDEN: Final = "***"
#: A part of a secret is looked for in the texts of others from this length on; shorter ones only as whole words.
_LONG: Final = 8
_SHORT: Final = 3

#: A key has 16 bytes or more, so no shorter text can be one.
KEY_FROM: Final = 16
#: What is surely no name: the digits of a key, or its base64.
_DIGITS_OF_KEY: Final = re.compile(
    r"(?:0x)?(?:[0-9A-Fa-f]{16}|[0-9A-Fa-f]{24}|[0-9A-Fa-f]{32}|[0-9A-Fa-f]{48}|[0-9A-Fa-f]{64})"
    r"|[A-Za-z0-9+/_-]{22}==|[A-Za-z0-9+/_-]{43}=|(?=[^0-9]*[0-9])(?=[^a-z]*[a-z])(?=[^A-Z]*[A-Z])[A-Za-z0-9+]{32}"
    # Its digits by twos, and what `str` and `repr` make of its bytes.
    r"|[0-9A-Fa-f]{2}(?:(?P<between>[ :-])[0-9A-Fa-f]{2}(?:(?P=between)[0-9A-Fa-f]{2}){14}"
    r"(?:(?:(?P=between)[0-9A-Fa-f]{2}){8}){0,2})|(?:\\x[0-9A-Fa-f]{2}){16,32}"
    r"""|(?:bytearray\()?b(?:'(?:[^'\\]|\\.){16,}'|"(?:[^"\\]|\\.){16,}")\)?"""
)
#: In the texts of others, values of arguments may be quoted.
_BYTES: Final = re.compile(r"""(?<![\w'"])b(?:'(?:[^'\\]|\\.)*'|"(?:[^"\\]|\\.)*")""")
_QUOTED: Final = re.compile(r"'([A-Za-z0-9+/_=-]{16,})'")
_DIGITS: Final = re.compile(r"(?<![0-9A-Za-z])[0-9A-Fa-f]{32,}(?![0-9A-Za-z])")
_HEX: Final = re.compile(r"(?:0x|\\x|[0-9A-Fa-f]|[\s:,-])+")
_BASE64: Final = re.compile(r"[A-Za-z0-9+/_-]+={0,2}")


# -- numbers --------------------------------------------------------------------------------------------------

_STEP: Final = 1024
_THOUSAND: Final = 1000


def human_bytes(size: int) -> str:
    """Format a number of bytes in a readable unit, such as ``241.0 KiB``."""
    value = float(size)
    for unit in ("B", "KiB", "MiB", "GiB"):
        if value < _STEP:
            return f"{value:.0f} {unit}" if unit == "B" else f"{value:.1f} {unit}"
        value /= _STEP
    return f"{value:.1f} TiB"


def human_count(number: int) -> str:
    """Format a number of elements with three digits and K, M, B or T, such as ``61.7K``; below 1000 as it is."""
    if number < _THOUSAND:
        return str(number)
    value = float(number)
    for unit in ("K", "M", "B"):
        value /= _THOUSAND
        # What is rounded to 1000 is 1 of the next unit.
        if float(f"{value:.3g}") < _THOUSAND:
            return f"{float(f'{value:.3g}'):g}{unit}"
    return f"{value / _THOUSAND:.3g}T"


# -- control characters ---------------------------------------------------------------------------------------


def printable(text: str) -> str:
    """Escape characters that could control a terminal or hide text: controls, direction marks, lone surrogates."""
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode("ascii") for c in text)


def message(text: str) -> str:
    """Return a text of ours, which may quote others': its line breaks stay, other control characters and secrets go."""
    return "\n".join(map(printable, redacted(text).split("\n")))


def foreign(found: object) -> str:
    """Return a text of others, or an exception's, as part of a message: in one line, without secrets."""
    return printable(redacted(_without_values(str(found))))


def _without_values(text: str) -> str:
    """Return a text of others without values that may be keys: bytes, many digits, and quoted base64."""
    text = _DIGITS.sub(lambda digits: length(digits[0]), _BYTES.sub("bytes", text))
    return _QUOTED.sub(lambda quoted: length(quoted[1]) if may_be_key(quoted[1]) else quoted[0], text)


def cause(error: BaseException) -> BaseException | None:
    """Return an exception of others as the cause of ours; None if a traceback of it would show what ours does not."""
    link: BaseException | None = error
    seen: set[int] = set()
    while link is not None and id(link) not in seen:
        seen.add(id(link))
        said = str(link)
        name = getattr(link, "filename", None)
        if message(_without_values(said)) != said or (isinstance(name, str) and place(name) != name):
            return None
        link = link.__cause__ or (None if link.__suppress_context__ else link.__context__)
    return error


# -- passwords ------------------------------------------------------------------------------------------------


def place(path: str) -> str:
    """Return how a path or a URL is shown; a local path as it is.

    A URL loses its user, its password, its query and its fragment, in every link of a chain. A key that was given in
    place of a path is not shown.
    """
    if is_digits_of_key(given := _as_given(path)) and not os.path.lexists(path):
        return f"<{length(given)}>"
    return _URL.sub(_without_secrets, path) if ":/" in path else path


def label(path: str) -> str:
    """Return a path or a URL as part of a line, such as one of a log."""
    return printable(place(path))


def _as_given(path: str) -> str:
    """Return a path without the working directory, which was put before it."""
    try:
        return path.removeprefix(os.path.join(os.getcwd(), ""))  # noqa: PTH109, PTH118 -- a str, as it was given
    except OSError:
        return path


def redacted(text: str) -> str:
    """Return a text without the users, passwords, queries and fragments of the URLs in it."""
    return _URL_IN_TEXT.sub(_without_secrets, text) if ":/" in text else text


def without(text: str, url: str) -> str:
    """Return what another library says of a URL, without its secrets, also if only a part of one is quoted."""
    text = redacted(text.replace(url, place(url)))
    secrets = sorted(_secrets(url), key=len, reverse=True)
    # There are many ways to quote a character.
    plain = unquote(text)
    text = plain if any(secret in plain for secret in secrets) else text
    for secret in secrets:
        apart = len(secret) < _LONG
        word = rf"(?<![A-Za-z0-9]){re.escape(secret)}(?![A-Za-z0-9])" if apart else re.escape(secret)
        text = re.sub(word, _HIDDEN, text)
    return printable(text)


def _without_secrets(found: re.Match[str]) -> str:
    begin, rest = found["begin"], found["rest"]
    head, query = _split(rest)
    if _has_user(rest):
        if "@" in query:
            # A password may have any character: what is after it cannot be told.
            return f"{begin}{_HIDDEN}{CUT}"
        head = f"{_HIDDEN}@{head.rpartition('@')[2]}"
    return begin + head + (CUT if query else "")


def _split(rest: str) -> tuple[str, str]:
    """Return what is before and after the first ``?`` or ``#``, which belongs to what is after it."""
    at = min((place for place in (rest.find("?"), rest.find("#")) if place >= 0), default=len(rest))
    return rest[:at], rest[at:]


def _has_user(rest: str) -> bool:
    """Tell whether a URL has a user or a password, which may have slashes: AWS's often do."""
    authority = re.split(r"[/?#]", rest, maxsplit=1)[0]
    host, colon, port = authority.rpartition(":")
    return "@" in rest and ("@" in authority or bool(colon and host and not port.isdecimal() and port))


def _secrets(url: str) -> set[str]:
    """Return the parts of a URL that nothing may show, as they are and as other libraries quote them."""
    found: set[str] = set()
    for match in _URL.finditer(url):
        head, query = _split(match["rest"])
        if _has_user(match["rest"]):
            user = (match["rest"] if "@" in query else head).rpartition("@")[0]
            found.update((user, *re.split(r"[:/@?#]", user), *user.split(":", 1)))
        found.add(query[1:])
        for part in re.split(r"[?&;#]", query):
            found.update((part, part.rstrip("="), value := part.partition("=")[2], value.rstrip("=")))
    variants = {form(part) for part in found for form in (str, unquote, quote, lambda text: quote(text, safe=""))}
    return {part for part in variants if len(part) >= _SHORT}


# -- keys -----------------------------------------------------------------------------------------------------


def may_be_key(text: str) -> bool:
    """Tell whether a text looks like a key in hexadecimal digits or in base64."""
    stripped = text.strip()
    if len(stripped) < KEY_FROM:
        return False
    if _HEX.fullmatch(stripped):
        return True
    kinds = [any(map(kind, stripped)) for kind in (str.isdecimal, str.islower, str.isupper)]
    mixed = all(kinds) or (kinds[1] and kinds[2] and not set("_-/") & set(stripped))
    return _BASE64.fullmatch(stripped) is not None and (mixed or stripped.endswith("="))


def is_digits_of_key(text: str) -> bool:
    """Tell whether a text is nothing but the hexadecimal digits, the base64 or the representation of a key."""
    # A key that was read from a file may have its line break.
    return _DIGITS_OF_KEY.fullmatch(text.strip()) is not None


def length(text: str) -> str:
    """Return what is said of a text that is not shown."""
    return f"a text of {len(text)} characters"
