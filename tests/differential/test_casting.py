"""Rounding against MindSpore itself, value by value: all patterns of 16 bits, millions of others."""

from __future__ import annotations

import json

import numpy as np
import pytest

from ckptload.dtypes import BY_NAME
from ckptload.tensors import casting
from fixtures import make_rounding as recorded

pytest.importorskip("mindspore")

pytestmark = pytest.mark.mindspore


@pytest.mark.parametrize(("old", "new"), recorded.PAIRS)
@pytest.mark.parametrize("seed", [1, 2])
def test_every_value_becomes_what_mindspore_makes_of_it(old: str, new: str, seed: int) -> None:
    bits = recorded.patterns(old, seed)
    source, target = BY_NAME[old], BY_NAME[new]
    ours = casting.cast(bits.view(source.numpy), source, target).view(f"<u{target.itemsize}")
    theirs = np.frombuffer(recorded.convert(bits, old, new), ours.dtype)
    differ = np.flatnonzero(ours != theirs)
    assert not differ.size, [(hex(bits[at]), hex(ours[at]), hex(theirs[at])) for at in differ[:5]]


def test_the_record_is_what_mindspore_does() -> None:
    about = json.loads(recorded.RECORD.read_text("utf-8"))
    for old, new in recorded.PAIRS:
        data = recorded.convert(recorded.patterns(old), old, new)
        assert recorded.digest(data) == about["results"][f"{old} to {new}"]["sha256"]
