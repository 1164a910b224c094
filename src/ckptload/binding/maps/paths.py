"""Names of layers as words and numbers, and what two names of one side say about two of the other."""

from __future__ import annotations

import re
from collections import defaultdict
from functools import lru_cache
from itertools import islice
from typing import TYPE_CHECKING, Final, NamedTuple

if TYPE_CHECKING:
    Tokens = tuple[str, ...]

_TOKEN: Final = re.compile(r"[A-Z]?[a-z]+|[A-Z]+(?![a-z])|[0-9]+|[^\W_A-Za-z0-9]+")
#: In the place of a number in a template.
_NUMBER: Final = "#"
_FIGURES: Final = frozenset("0123456789")
#: Digits of a number; what is longer is a word.
_DIGITS: Final = 18
#: Words and numbers of a name; what follows is one more word.
_PARTS: Final = 64

#: Words for the same thing.
_ALIKE: Final = (
    "q query wq", "k key wk", "v value wv", "o out output wo", "norm ln layernorm bn batchnorm gn groupnorm norms",
    "embed embedding embeddings embedder emb wte", "dw depthwise", "pw pointwise", "cls class",
    "pos position positional", "proj projection", "fc dense linear", "down downsample", "conv convs convolution",
    "head heads classifier fc", "attn attention attentions", "mlp ffn feed", "reduce squeeze", "expand excite",
    "block blocks blk", "layer layers", "stage stages", "feature features", "token tokens",
)  # fmt: skip
#: Words beside which another may mean the opposite: ``post_attention_norm`` is not the norm of the attention.
_TURNING: Final = frozenset(
    ("post", "pre", "after", "before", "input", "output", "in", "out", "final", "first", "last"),
)
#: What nets have in rows, in the order in which they compute.
#: Decoders are not among it: some count from the end.
_ROWS: Final = frozenset((
    "block", "blocks", "layer", "layers", "stage", "stages", "feature", "features", "cell", "cells", "list", "group",
    "groups", "network", "net", "sequential", "encoder", "transformer", "transformers", "denseblock", "denselayer",
    "resblock", "resblocks", "resnets", "unit", "units", "trunk", "body", "backbone", "mixer", "mixers", "h", "",
))  # fmt: skip
#: What two words have in common that are equal, that mean the same, and of which one begins or ends like the other.
_EQUAL, _SAME, _CLOSE = 1.0, 0.9, 0.7
_LEAST: Final = 3
#: How much better one way must be than the other, and how good it must be in itself.
_MARGIN: Final = 0.5
_GOOD: Final = 0.45


def _groups() -> dict[str, set[int]]:
    found: defaultdict[str, set[int]] = defaultdict(set)
    for number, words in enumerate(_ALIKE):
        for word in words.split():
            found[word].add(number)
    return dict(found)


_MEANINGS: Final = _groups()


class Path(NamedTuple):
    """The name of a layer.

    Attributes:
        text: it.
        tokens: its words and numbers, in small letters.
        template: the same with a mark in the place of each number.
        numbers: the numbers.
        parent: the name without its last part.
        leaf: how many words and numbers the parent has.
    """

    text: str
    tokens: Tokens
    template: Tokens
    numbers: tuple[int, ...]
    parent: str
    leaf: int

    def beginnings(self) -> list[tuple[Tokens, Tokens]]:
        """Return the beginnings that end in a number, each as a template and as it is."""
        ends = [at + 1 for at, token in enumerate(self.tokens) if is_number(token)]
        return [(self.template[:end], self.tokens[:end]) for end in ends]


def is_number(token: str) -> bool:
    """Tell whether a part of a name is a number, of which Python can make one."""
    return token[:1] in _FIGURES and len(token) <= _DIGITS


def path_of(text: str) -> Path:
    """Return the name of a layer, taken apart."""
    tokens = _tokens(text)
    if len(tokens) == _PARTS:
        tokens = (*tokens[:-1], f".{text}")
    template = tuple(_NUMBER if is_number(token) else token for token in tokens)
    numbers = tuple(int(token) for token in tokens if is_number(token))
    parent = text.rpartition(".")[0]
    return Path(text, tokens, template, numbers, parent, len(_tokens(parent)))


def _tokens(text: str) -> Tokens:
    return tuple(match[0].lower() for match in islice(_TOKEN.finditer(text), _PARTS))


class Verdict(NamedTuple):
    """What names say of two pairs of layers, against the same pairs exchanged.

    Attributes:
        sign: 1 if they exclude the exchange, -1 if they speak for it, 0 if they say nothing.
        needs_order: whether they exclude it only if other layers stand between the two, on both sides.
        by_numbers: whether only numbers exclude it.
    """

    sign: int
    needs_order: bool = False
    by_numbers: bool = False


_KEPT: Final = Verdict(1)
_SEPARATE: Final = Verdict(1, needs_order=True)
_RISING: Final = Verdict(1, by_numbers=True)
_EXCHANGED: Final = Verdict(-1)
_OPEN: Final = Verdict(0)


def verdict(a1: Path, b1: Path, a2: Path, b2: Path) -> Verdict:
    """Return what names say of ``a1 -> b1`` and ``a2 -> b2``, against ``a1 -> b2`` and ``a2 -> b1``.

    Identical names are trusted: with two names exchanged nobody could know.
    """
    if a1.tokens == b1.tokens or a2.tokens == b2.tokens:
        return _KEPT
    if a1.tokens == b2.tokens or a2.tokens == b1.tokens:
        return _EXCHANGED
    said = _compared(*_rests(a1.tokens, a2.tokens), *_rests(b1.tokens, b2.tokens))
    if said.by_numbers and not _is_counted(a1, b1, a2, b2):
        # Two of a kind may be numbered in any way, such as norm1 and norm2: in one net norm1 comes first, in another
        # it stands behind what norm2 does.
        return _SEPARATE
    return said


def _is_counted(a1: Path, b1: Path, a2: Path, b2: Path) -> bool:
    """Tell whether the first numbers that differ count the same things on both sides.

    They do if the same word stands in front of equal numbers, or if they number what nets have in a row.
    """
    at, to = _start(a1.tokens, a2.tokens), _start(b1.tokens, b2.tokens)
    before = a1.tokens[at - 1] if at else "", b1.tokens[to - 1] if to else ""
    is_same = (a1.tokens[at], a2.tokens[at]) == (b1.tokens[to], b2.tokens[to]) and before[0] == before[1] != ""
    if is_same and not is_number(before[0]):
        return True
    is_inside = at < a1.leaf and at < a2.leaf and to < b1.leaf and to < b2.leaf
    return is_inside and all(is_number(word) or word in _ROWS for word in before)


def _start(one: Tokens, other: Tokens) -> int:
    """Return with how many equal tokens two names begin."""
    return len(one) - len(_rests(one, other)[0])


@lru_cache(1 << 14)
def _compared(a1: Tokens, a2: Tokens, b1: Tokens, b2: Tokens) -> Verdict:
    """Compare what is behind the common beginning of the names of each side."""
    mine, theirs = _without_end(a1, a2), _without_end(b1, b2)
    if mine == theirs[::-1]:
        return _EXCHANGED
    words = _by_words(*map(_words, (*mine, *theirs)))
    numbers = _direction(a1, a2) * _direction(b1, b2)
    if words > 0 and numbers >= 0:
        return _KEPT
    if numbers < 0:
        return _EXCHANGED if words < 0 else _OPEN
    if numbers > 0:
        return _OPEN if words < 0 else _RISING if _is_numbered(a1, a2) and _is_numbered(b1, b2) else _SEPARATE
    return _KEPT if mine == theirs else Verdict(words)


def _is_numbered(one: Tokens, other: Tokens) -> bool:
    """Tell whether it is a number in which two names differ first."""
    return bool(one and other) and is_number(one[0]) and is_number(other[0])


def _rests(one: Tokens, other: Tokens) -> tuple[Tokens, Tokens]:
    at = 0
    while at < min(len(one), len(other)) and one[at] == other[at]:
        at += 1
    return one[at:], other[at:]


def _without_end(one: Tokens, other: Tokens) -> tuple[Tokens, Tokens]:
    one, other = _rests(one[::-1], other[::-1])
    return one[::-1], other[::-1]


def _words(tokens: Tokens) -> Tokens:
    return tuple(token for token in tokens if not is_number(token))


def _direction(one: Tokens, other: Tokens) -> int:
    """Return 1 if the numbers of the first are larger, -1 if smaller, and 0 if it is not numbers that differ."""
    if one and other and is_number(one[0]) and is_number(other[0]):
        return 1 if int(one[0]) > int(other[0]) else -1
    if [is_number(token) or token for token in one] != [is_number(token) or token for token in other]:
        return 0
    mine, theirs = ([int(token) for token in side if is_number(token)] for side in (one, other))
    return (mine > theirs) - (mine < theirs)


def _by_words(a1: Tokens, a2: Tokens, b1: Tokens, b2: Tokens) -> int:
    """Return what words say: 1 for ``a1 -> b1`` and ``a2 -> b2``, -1 for the exchange, and 0 for nothing."""
    if a1 == a2 or b1 == b2:
        return 0
    kept, crossed = (likeness(a1, b1), likeness(a2, b2)), (likeness(a1, b2), likeness(a2, b1))
    if kept == (1, 1) or crossed == (1, 1):
        return (kept == (1, 1)) - (crossed == (1, 1))
    if _TURNING.intersection(a1 + a2 + b1 + b2):
        return 0
    return _is_better(kept, crossed) - _is_better(crossed, kept)


def _is_better(these: tuple[float, float], those: tuple[float, float]) -> bool:
    exact = max(these) == 1 > max(those)
    return sum(these) - sum(those) >= _MARGIN and (exact or min(these) >= _GOOD)


@lru_cache(1 << 14)
def likeness(one: Tokens, other: Tokens) -> float:
    """Return how much two lists of words have in common, from 0 to 1."""
    if "".join(one) == "".join(other):
        return 1.0
    if not one or not other:
        return 0.0
    return min((_covered(one, other) + _covered(other, one)) / 2, 0.95)


def _covered(words: Tokens, others: Tokens) -> float:
    return sum(max(_alike(word, other) for other in others) for word in words) / len(words)


def _alike(one: str, other: str) -> float:
    if one == other:
        return _EQUAL
    if _MEANINGS.get(one, set()) & _MEANINGS.get(other, set()):
        return _SAME
    short, long = sorted((one, other), key=len)
    return _CLOSE if len(short) >= _LEAST and (long.startswith(short) or long.endswith(short)) else 0.0
