"""The fuzz targets over their seeds, cut and changed: what CI fuzzes for minutes holds here for a moment."""

from __future__ import annotations

import random

import pytest

from ckptload import open_checkpoint
from fuzz import targets


@pytest.mark.parametrize("name", sorted(targets.TARGETS))
def test_only_our_errors_come_out_of_a_target(name: str) -> None:
    """Each seed whole, cut short, and with some bytes changed: an answer or a CheckpointError."""
    rng = random.Random(name)
    seeds = targets.seeds(name)
    assert seeds
    for data in seeds:
        targets.run(name, data)
        for _ in range(3):
            targets.run(name, data[: rng.randrange(len(data) + 1)])
            changed = bytearray(data)
            for _ in range(rng.randrange(1, 4)):
                if changed:
                    changed[rng.randrange(len(changed))] ^= 1 << rng.randrange(8)
            targets.run(name, bytes(changed))


def test_encrypted_seeds_can_be_read() -> None:
    """A seed that its key does not open would leave everything behind the cipher unfuzzed."""
    seeds = targets.seeds("encrypted")
    assert {data[0] - targets.LET_IN for data in seeds} == {0, 1, 2}
    for data in seeds:
        mode = targets.MODES[data[0] - targets.LET_IN]
        with open_checkpoint(data[1:], dec_key=targets.KEY, dec_mode=mode) as reader:
            assert reader.cipher == mode
