"""Numbers in readable units."""

from __future__ import annotations

import pytest

from ckptload.shown import human_bytes, human_count


@pytest.mark.parametrize(
    ("size", "said"),
    [
        *((0, "0 B"), (1023, "1023 B"), (1024, "1.0 KiB"), (247012, "241.2 KiB")),
        *((5 << 20, "5.0 MiB"), (3 << 30, "3.0 GiB"), (1 << 41, "2.0 TiB"), (1 << 51, "2048.0 TiB")),
    ],
)
def test_bytes(size: int, said: str) -> None:
    assert human_bytes(size) == said


@pytest.mark.parametrize(
    ("number", "said"),
    [
        *((0, "0"), (999, "999"), (1000, "1K"), (61_706, "61.7K"), (999_499, "999K"), (999_500, "1M")),
        *((7_615_616_512, "7.62B"), (999_600_000_000, "1T"), (3_100_000_000_000, "3.1T")),
    ],
)
def test_counts(number: int, said: str) -> None:
    assert human_count(number) == said
