"""The fuzz targets over their seeds, cut and changed: what CI fuzzes for minutes holds here for a moment."""

from __future__ import annotations

import random
import re
from typing import TYPE_CHECKING

import pytest

from ckptload import open_checkpoint
from fuzz import targets
from places import DOCS, ROOT

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.slow


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


def test_seeds_of_shards_can_be_read(tmp_path: Path) -> None:
    """Two shards each, of which both are opened."""
    seeds = targets.seeds("shards")
    for data in seeds:
        index, _, shard = data.partition(b"\0")
        path = tmp_path / "model.safetensors.index.json"
        path.write_bytes(index)
        (tmp_path / targets.SHARDS[0]).write_bytes(shard)
        (tmp_path / targets.SHARDS[1]).write_bytes(targets.SECOND_SHARD)
        with open_checkpoint(path) as reader:
            assert len(reader.load()) > 1
            assert reader["b"].get_bytes() == b"xy"


def test_encrypted_seeds_can_be_read() -> None:
    """A seed that its key does not open would leave everything behind the cipher unfuzzed."""
    seeds = targets.seeds("encrypted")
    assert {data[0] - targets.LET_IN for data in seeds} == {0, 1, 2}
    for data in seeds:
        mode = targets.MODES[data[0] - targets.LET_IN]
        with open_checkpoint(data[1:], dec_key=targets.KEY, dec_mode=mode) as reader:
            assert reader.cipher == mode


@pytest.mark.parametrize("name", sorted(targets.TARGETS))
def test_what_was_found_before_is_a_seed(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """And so a test: the first one above runs every seed."""
    monkeypatch.setattr(targets, "HERE", tmp_path)
    (tmp_path / "found" / name).mkdir(parents=True)
    (tmp_path / "found" / name / "a crash").write_bytes(b"what was found")
    assert targets.seeds(name)[0] == b"what was found"


@pytest.mark.skipif(not DOCS.exists(), reason="the documentation is not here")
def test_the_page_on_security_names_every_target() -> None:
    section = (DOCS / "security.md").read_text("utf-8").partition("### Fuzzing for longer")[2].partition("\n### ")[0]
    (said,) = re.findall(r"^The targets are (.*?)\.", section, re.MULTILINE | re.DOTALL)
    assert set(re.findall(r"`(\w+)`", said)) == set(targets.TARGETS)
    (command,) = re.findall(r"^python (tests/fuzz/run\.py) (\w+) --seconds 3600 --corpus", section, re.MULTILINE)
    assert (ROOT / command[0]).exists()
    assert command[1] in targets.TARGETS
