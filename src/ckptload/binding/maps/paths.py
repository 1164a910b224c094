"""Names as words and numbers, and what the difference of two names says about the difference of two others."""

from __future__ import annotations

import re
from functools import lru_cache
from typing import Final, NamedTuple

#: A number at the end of a part of a name counts things: ``conv1``, ``layer_3``, ``blocks.7``. Any other is a word.
_PART: Final = re.compile(r"(.*?)_?([0-9]{1,9})", re.DOTALL)
#: Sizes such as ``3x3`` are words.
_SIZE: Final = re.compile(r"[0-9]x[0-9]+$")
_CAMEL: Final = re.compile(r"(?<=[a-z])(?=[A-Z])")

#: Words of the same meaning.
_SYNONYMS: Final = {
    **dict.fromkeys(("bn", "ln", "gn", "layernorm", "batchnorm", "groupnorm", "norms"), "norm"),
    **dict.fromkeys(("blk", "blocks"), "block"),
    **dict.fromkeys(("embed", "embeddings", "embedder"), "embedding"),
    **dict.fromkeys(("pos", "positional"), "position"),
    **dict.fromkeys(("attn", "attentions"), "attention"),
    "layers": "layer",
    "stages": "stage",
    "features": "feature",
    "heads": "head",
    "cls": "class",
    "tokens": "token",
    "convs": "conv",
    "projection": "proj",
}
#: Words that are written as two.
_TOGETHER: Final = {("down", "sample"): "downsample", ("layer", "norm"): "norm", ("batch", "norm"): "norm"}
#: What is numbered in the order in which it computes.
_SEQUENCES: Final = frozenset(
    ("block", "layer", "stage", "feature", "cell", "list", "group", "denselayer", "denseblock", "resblock", "h", "")
)
#: A word beside which another says the opposite: ``post_attention_norm`` is not the norm of the attention.
_TURNS: Final = frozenset(
    ("post", "pre", "after", "before", "input", "output", "in", "out", "final", "first", "last", "ffn", "up", "gate")
)

Token = str | int


class Path(NamedTuple):
    """The name of a layer.

    Attributes:
        text: it.
        tokens: its words and numbers.
        leaf: how many tokens stand before its last part.
        words: its words.
        template: its text with a mark in the place of each counting number.
    """

    text: str
    tokens: tuple[Token, ...]
    leaf: int
    words: frozenset[str]
    template: str

    @property
    def indexes(self) -> int:
        """How many numbers it has before its last part."""
        return sum(isinstance(token, int) for token in self.tokens[: self.leaf])


def path_of(text: str) -> Path:
    """Return the name of a layer, taken apart."""
    tokens: list[Token] = []
    leaf = 0
    template = []
    for part in text.split("."):
        leaf = len(tokens)
        word, number = _taken_apart(part)
        tokens.extend(word)
        if number is not None:
            tokens.append(number)
        template.append("_".join(word) + ("#" if number is not None else ""))
    words = frozenset(token for token in tokens if isinstance(token, str))
    return Path(text, tuple(tokens), leaf, words, ".".join(template))


@lru_cache(1 << 16)
def _taken_apart(part: str) -> tuple[tuple[str, ...], int | None]:
    found = None if _SIZE.search(part) else _PART.fullmatch(part)
    word, number = (found[1], int(found[2])) if found else (part, None)
    words = [each for each in _CAMEL.sub("_", word).lower().split("_") if each]
    kept: list[str] = []
    for each in words:
        both = _TOGETHER.get((kept[-1], each)) if kept else None
        if both:
            kept[-1] = both
        else:
            kept.append(_SYNONYMS.get(each, each))
    return tuple(kept), number


def difference(one: Path, other: Path) -> tuple[tuple[Token, ...], tuple[Token, ...], int]:
    """Return the tokens of two names without those that both begin and end with, and how many both begin with."""
    mine, theirs = one.tokens, other.tokens
    most = min(len(mine), len(theirs))
    start = 0
    while start < most and mine[start] == theirs[start]:
        start += 1
    end = 0
    while end < most - start and mine[-1 - end] == theirs[-1 - end]:
        end += 1
    return mine[start : len(mine) - end], theirs[start : len(theirs) - end], start


class Verdict(NamedTuple):
    """What the names of two pairs say about exchanging them.

    Attributes:
        is_decided: whether they exclude the exchange.
        is_against: whether they speak for the exchange.
        is_likely: whether they exclude it if the order of computation agrees.
    """

    is_decided: bool
    is_against: bool = False
    is_likely: bool = False


_DECIDED: Final = Verdict(True)
_OPEN: Final = Verdict(False)
_LIKELY: Final = Verdict(False, is_likely=True)
_AGAINST: Final = Verdict(False, is_against=True)


def compared(a1: Path, a2: Path, b1: Path, b2: Path) -> Verdict:
    """Return what the names say about ``a1 -> b1, a2 -> b2`` against ``a1 -> b2, a2 -> b1``."""
    left1, left2, start = difference(a1, a2)
    right1, right2, begin = difference(b1, b2)
    words = _by_words(left1, left2, right1, right2)
    if words.is_against:
        return words
    numbers = _by_numbers((a1, left1, left2, start), (b1, right1, right2, begin))
    if numbers is not None:
        return numbers
    if words.is_decided:
        return words
    if _is_outside(a1, a2) == _is_outside(b1, b2) != 0:
        return _DECIDED
    return _LIKELY


def _is_outside(one: Path, other: Path) -> int:
    """Return 1 if only the first stands in something numbered, -1 if only the second, else 0."""
    return (one.indexes > 0) - (other.indexes > 0)


_Side = tuple[Path, tuple[Token, ...], tuple[Token, ...], int]


def _by_numbers(left: _Side, right: _Side) -> Verdict | None:
    """Return what the first numbers that differ say; None if it is not numbers in which they differ first."""
    (a, left1, left2, start), (b, right1, right2, begin) = left, right
    firsts = [each[0] if each else None for each in (left1, left2, right1, right2)]
    if not all(isinstance(each, int) for each in firsts):
        return None
    x1, x2, y1, y2 = (each if isinstance(each, int) else 0 for each in firsts)
    if (x1 < x2) != (y1 < y2):
        return _AGAINST
    before = (a.tokens[start - 1] if start else "", b.tokens[begin - 1] if begin else "")
    same = before[0] == before[1] and isinstance(before[0], str)
    if start >= a.leaf or begin >= b.leaf:
        # The last number tells things apart that may be numbered in any way, such as norm1 and norm2.
        same_raw = a.text.split(".")[-1].rstrip("0123456789_") == b.text.split(".")[-1].rstrip("0123456789_")
        return _DECIDED if same and same_raw else _LIKELY
    if same or all(_is_sequence(a, b, each) for each in before):
        return _DECIDED
    return _LIKELY


def _is_sequence(a: Path, b: Path, before: Token) -> bool:
    return isinstance(before, int) or before in _SEQUENCES


def _by_words(
    left1: tuple[Token, ...], left2: tuple[Token, ...], right1: tuple[Token, ...], right2: tuple[Token, ...]
) -> Verdict:
    a1, a2, b1, b2 = ({each for each in side if isinstance(each, str)} for side in (left1, left2, right1, right2))
    a1, a2 = a1 - a2, a2 - a1
    b1, b2 = b1 - b2, b2 - b1
    straight, cross = (len(a1 & b1), len(a2 & b2)), (len(a1 & b2), len(a2 & b1))
    if any(cross):
        return _OPEN if any(straight) else _AGAINST
    exact = (a1 == b1 and a1), (a2 == b2 and a2)
    if all(exact):
        return _DECIDED
    if (a1 | a2 | b1 | b2) & _TURNS:
        return _OPEN
    return _DECIDED if any(exact) or all(straight) else _OPEN
