"""A hostile file of a kilobyte takes no more than 64 MB and two seconds, and gives a result or one of our errors.

tests/hostile.py has the files, a hundred and fifty made by hand. Time is counted in calls of functions, as seconds
depend on what else a machine does.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from functools import cache
from typing import Any

import pytest

import hostile
from places import TESTS

#: At ten microseconds for each, which is several times what one takes, these are two seconds.
CALLS = 200_000


@cache
def outcome() -> dict[str, dict[str, Any]]:
    """Read all of them in a process that may take 64 MB more than it has."""
    done = subprocess.run(
        [sys.executable, str(TESTS / "hostile.py")],
        env={**os.environ, "PYTHONPATH": os.pathsep.join([str(TESTS), *filter(None, sys.path)])},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    rows = [json.loads(line) for line in done.stdout.splitlines()]
    return {row["file"]: row for row in rows}


CASES = {f"{case.format}: {case.words}": case for case in hostile.cases()}


def test_each_file_has_a_name_of_its_own_and_no_more_than_a_kilobyte() -> None:
    assert len(CASES) == len(hostile.cases())
    assert max(len(case.data) for case in CASES.values()) <= hostile.SIZE


@pytest.mark.skipif(sys.platform != "linux", reason="limits memory by what Linux tells about it")
@pytest.mark.parametrize("name", CASES)
def test_a_hostile_file_is_read_in_little_memory_and_few_steps(name: str) -> None:
    """Nothing is short of memory, and a pass over all entries in every way takes few calls."""
    found = outcome()[name]
    assert found["calls"] < CALLS
    assert found["bytes"] < hostile.MEMORY
    assert "memory" not in found["words"]
    if found["words"]:
        assert "hint: " in found["words"]
