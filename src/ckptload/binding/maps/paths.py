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
#: Words for layers of which a block may have several, numbered in any way.
_LEAVES: Final = frozenset(
    (word,)
    for group in _ALIKE
    for word in group.split()
    if group.split()[0] in ("norm", "fc", "conv", "proj", "dw", "pw")
)
#: Words beside which another may mean the opposite: ``post_attention_norm`` is not the norm of the attention.
_TURNING: Final = frozenset(
    ("post", "pre", "after", "before", "input", "output", "in", "out", "final", "first", "last"),
)
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
    """

    text: str
    tokens: Tokens
    template: Tokens
    numbers: tuple[int, ...]
    parent: str

    def beginnings(self) -> list[tuple[Tokens, Tokens]]:
        """Return the beginnings that end in a number, each as a template and as it is."""
        ends = [at + 1 for at, token in enumerate(self.tokens) if is_number(token)]
        return [(self.template[:end], self.tokens[:end]) for end in ends]


def is_number(token: str) -> bool:
    """Tell whether a part of a name is a number, of which Python can make one."""
    return token[0] in "0123456789" and len(token) <= _DIGITS


def path_of(text: str) -> Path:
    """Return the name of a layer, taken apart."""
    tokens = tuple(match[0].lower() for match in islice(_TOKEN.finditer(text), _PARTS))
    if len(tokens) == _PARTS:
        tokens = (*tokens[:-1], f".{text}")
    template = tuple(_NUMBER if is_number(token) else token for token in tokens)
    numbers = tuple(int(token) for token in tokens if is_number(token))
    return Path(text, tokens, template, numbers, text.rpartition(".")[0])


class Verdict(NamedTuple):
    """What names say of two pairs of layers, against the same pairs exchanged.

    Attributes:
        sign: 1 if they exclude the exchange, -1 if they speak for it, 0 if they say nothing.
        needs_order: whether they exclude it only if other layers stand between the two, on both sides.
    """

    sign: int
    needs_order: bool = False


_KEPT: Final = Verdict(1)
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
    mine, theirs = _rests(a1.tokens, a2.tokens), _rests(b1.tokens, b2.tokens)
    said = _compared(*mine, *theirs)
    if said.sign <= 0 or not _counts_layers((a1, *mine), (b1, *theirs)):
        return said
    # Unless the numbers are the same, only the order can say which of the layers is which.
    return said if (mine[0][0], mine[1][0]) == (theirs[0][0], theirs[1][0]) else Verdict(1, needs_order=True)


def _counts_layers(mine: tuple[Path, Tokens, Tokens], theirs: tuple[Path, Tokens, Tokens]) -> bool:
    """Tell whether it is only numbers of layers of one kind that differ, such as those of norm1 and norm2."""
    sides = (mine, theirs)
    if any(not one or not other or _words(one) != _words(other) for _, one, other in sides):
        return False
    return any(
        is_number(one[0]) and path.tokens[: len(path.tokens) - len(one)][-1:] in _LEAVES for path, one, _ in sides
    )


@lru_cache(1 << 14)
def _compared(a1: Tokens, a2: Tokens, b1: Tokens, b2: Tokens) -> Verdict:
    """Compare what is behind the common beginning of the names of each side."""
    mine, theirs = _without_end(a1, a2), _without_end(b1, b2)
    if mine == theirs:
        return _KEPT
    if mine == theirs[::-1]:
        return _EXCHANGED
    words = _by_words(*map(_words, (*mine, *theirs)))
    numbers = _direction(a1, a2) * _direction(b1, b2)
    if numbers < 0:
        return _EXCHANGED if words < 0 else _OPEN
    if numbers > 0:
        # The last number of a name may tell things apart in any way, such as norm1 and norm2.
        is_last = len(a1) == len(a2) == 1 and len(b1) == len(b2) == 1
        return _OPEN if words < 0 else Verdict(1, needs_order=is_last)
    return Verdict(words)


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
