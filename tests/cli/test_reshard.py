"""`ckptload reshard`: a file for each rank of the target."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

pytest.importorskip("click")

from ckptload.__main__ import main
from ckptload.cli.reshard import chosen_ranks
from ckptload.errors import ArgumentError
from cli_program import check_schema
from rank_sets import is_slice, ranks, source, strategy

if TYPE_CHECKING:
    from pathlib import Path

CAPTURE = pytest.CaptureFixture[str]
KEY = b"0123456789abcdef"


class Job:
    """A command, its arguments and where it writes."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.out = folder, folder / "out"
        source(folder / "run")
        self.options = ("--strategy", strategy(folder / "old.json", "dp2tp2"))
        self.to = ("--to", strategy(folder / "new.json", "tp4"))

    def run(self, *more: object, source: str = "run") -> int:
        words = ("reshard", self.folder / source, self.out, *self.options, *self.to, *more)
        return main([str(word) for word in words])

    def files(self) -> list[str]:
        return sorted(path.relative_to(self.out).as_posix() for path in self.out.rglob("*") if path.is_file())


@pytest.fixture
def job(tmp_path: Path) -> Job:
    return Job(tmp_path)


def test_each_rank_gets_its_file(job: Job, capsys: CAPTURE) -> None:
    assert job.run() == 0
    assert job.files() == [f"rank_{rank}/{rank}.ckpt" for rank in ranks("tp4")]
    assert all(is_slice(job.out / f"rank_{rank}/{rank}.ckpt", "tp4", rank) for rank in ranks("tp4"))
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.endswith("out/rank_0/0.ckpt ... 4 files, 20 entries, 624 bytes written\n")


def test_ranks_format_and_names_are_chosen(job: Job) -> None:
    assert job.run("--ranks", "0-1,3", "--part", "2/2", "--format", "safetensors", "--prefix", "net_") == 0
    assert job.files() == ["rank_3/net_3.safetensors"]
    assert is_slice(job.out / "rank_3/net_3.safetensors", "tp4", 3)


def test_files_that_are_there(job: Job, capsys: CAPTURE) -> None:
    assert job.run("--part", "1/2") == 0
    assert job.run() == 2
    assert "--existing skip" in capsys.readouterr().err
    assert job.run("--existing", "skip") == 0
    assert "2 files, 10 entries, 312 bytes written, 2 are there already" in capsys.readouterr().err
    assert job.run("--existing", "replace") == 0
    assert len(job.files()) == 4


def test_a_dry_run_and_json_say_what_would_be_written(job: Job, capsys: CAPTURE) -> None:
    assert job.run("--ranks", "2", "--dry-run") == 0
    captured = capsys.readouterr()
    assert captured.out.splitlines()[1].split() == ["2", str(job.out / "rank_2" / "2.ckpt"), "5", "156"]
    assert captured.err.endswith("out/rank_2/2.ckpt: 5 entries, 156 bytes would be written\n")
    assert not job.out.exists()
    assert job.run("--json") == 0
    told = json.loads(capsys.readouterr().out)
    check_schema(told, "reshard")
    assert [file["rank"] for file in told["files"]] == list(ranks("tp4"))
    assert (told["bytes"], told["dry_run"], told["notes"]) == (624, False, [])


def test_encrypted_ranks_need_their_key(job: Job) -> None:
    source(job.folder / "secret", enc_key=KEY)
    (job.folder / "key").write_bytes(KEY)
    assert job.run(source="secret") == 3
    assert job.run("--key-file", job.folder / "key", "--key-format", "raw", source="secret") == 0
    assert is_slice(job.out / "rank_1/1.ckpt", "tp4", 1)


@pytest.mark.parametrize(
    ("listed", "part", "wanted"),
    [
        (None, None, [0, 1, 2, 3, 4]),
        ("3,0-1, 1", None, [0, 1, 3]),
        (None, "1/2", [0, 1, 2]),
        (None, "2/2", [3, 4]),
        ("1-4", "4/4", [4]),
    ],
)
def test_ranks_are_listed_and_shared(listed: str | None, part: str | None, wanted: list[int]) -> None:
    assert chosen_ranks(listed, part, 5) == wanted


@pytest.mark.parametrize(
    ("listed", "part"),
    [("", None), ("a", None), ("3-1", None), ("-1", None), ("0-9999999", None), ("0", "2/2"), (None, "0/2"),
     (None, "3/2"), (None, "1")],
)  # fmt: skip
def test_other_words_are_no_ranks(listed: str | None, part: str | None) -> None:
    with pytest.raises(ArgumentError):
        chosen_ranks(listed, part, 5)


def test_a_rank_that_the_target_does_not_have(job: Job, capsys: CAPTURE) -> None:
    assert job.run("--ranks", "4") == 2
    assert "no rank 4: the target has 4 ranks" in capsys.readouterr().err
