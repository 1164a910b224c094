"""The fixtures: README.md beside them is a complete and true list."""

from __future__ import annotations

import hashlib
import json
import re

import pytest

from places import FIXTURES

#: What is in the folder without being test data.
ABOUT = {
    "README.md",
    *(f"make_{what}.py" for what in ("fixtures", "networks", "optimizers", "recorded", "rounding")),
}
#: A row of one of its tables: the name first, the checksum last.
ROW = re.compile(r"^\| `(?P<name>[^`]+)` \|.*\| `(?P<sha256>[0-9a-f]{64})` \|$", re.MULTILINE)

LISTED = [(row["name"], row["sha256"]) for row in ROW.finditer((FIXTURES / "README.md").read_text("utf-8"))]
#: `samples.json` and its like are descriptions of the files beside them.
DATA = sorted(
    path.relative_to(FIXTURES).as_posix()
    for path in FIXTURES.rglob("*")
    if path.is_file() and "__pycache__" not in path.parts and path.suffix != ".json"
)


def test_every_fixture_has_one_line_and_every_line_a_fixture() -> None:
    assert sorted(name for name, _ in LISTED) == [name for name in DATA if name not in ABOUT]


@pytest.mark.parametrize(("name", "sha256"), LISTED)
def test_a_fixture_has_the_checksum_of_its_line(name: str, sha256: str) -> None:
    assert hashlib.sha256((FIXTURES / name).read_bytes()).hexdigest() == sha256


def test_the_samples_are_those_their_description_was_made_for() -> None:
    rows = json.loads((FIXTURES / "samples.json").read_text("utf-8"))["samples"]
    assert rows
    for row in rows:
        data = (FIXTURES / row["file"]).read_bytes()
        assert (len(data), hashlib.sha256(data).hexdigest()) == (row["size"], row["sha256"])
