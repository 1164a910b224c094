"""Files that are replaced together: locks, and what the journal of a killed process leads to."""

from __future__ import annotations

import json
import os
import threading
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from ckptload.errors import WriteError
from ckptload.writing import atomic, temporary_files
from ckptload.writing.atomic import Replacement
from ckptload.writing.journal import Journal, Move, recover
from ckptload.writing.locks import locked
from ckptload.writing.together import Together

if TYPE_CHECKING:
    from collections.abc import Iterator

posix = pytest.mark.skipif(os.name != "posix", reason="locks of POSIX")
ID = "0123456789abcdef"


def contents(folder: Path) -> dict[str, str]:
    return {path.relative_to(folder).as_posix(): path.read_text() for path in folder.rglob("*") if path.is_file()}


def replace(targets: list[Path], text: str) -> None:
    with Together({target.parent for target in targets}, synced=True) as together:
        for target in targets:
            staged = together.stage(target)
            with Replacement(str(target), staged=staged) as file:
                file.write(text.encode())
            together.add(staged, target)


def test_files_appear_together_in_folders_that_are_made(tmp_path: Path) -> None:
    targets = [tmp_path / "a" / "x", tmp_path / "b" / "c" / "x"]
    for text in ("old", "new"):
        replace(targets, text)
        assert contents(tmp_path) == {"a/x": text, "b/c/x": text}


def test_without_hard_links_files_are_replaced_all_the_same(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    targets = [tmp_path / "a" / "x", tmp_path / "b" / "x"]
    replace(targets, "old")
    monkeypatch.delattr(os, "link")
    replace(targets, "new")
    assert contents(tmp_path) == {"a/x": "new", "b/x": "new"}


def test_what_cannot_be_taken_back_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    targets = [tmp_path / "a" / "x", tmp_path / "b" / "x"]
    replace(targets, "old")
    move = Path.replace

    def refuse(self: Path, target: Path) -> Path:
        if target == targets[1]:
            raise PermissionError(13, "not this one")
        return move(self, target)

    monkeypatch.setattr(Path, "replace", refuse)
    monkeypatch.delattr(os, "link")
    with pytest.raises(WriteError, match="not this one; 1 other file is new already"):
        replace(targets, "new")
    assert contents(tmp_path) == {"a/x": "new", "b/x": "old"}


def test_nothing_is_made_before_the_first_file(tmp_path: Path) -> None:
    with Together([tmp_path / "a", tmp_path / "b"], synced=False):
        assert list(tmp_path.iterdir()) == []
    assert list(tmp_path.iterdir()) == []


def test_a_target_whose_folder_is_a_file_is_an_error_of_ours(tmp_path: Path) -> None:
    (tmp_path / "a").write_text("x")
    with pytest.raises(WriteError) as caught:
        replace([tmp_path / "a" / "x", tmp_path / "b" / "x"], "new")
    assert caught.value.path == str(tmp_path / "a" / "x")
    assert contents(tmp_path) == {"a": "x"}


# -- journals ---------------------------------------------------------------------------------------------------


class Killed:
    """What a process leaves that was killed between two moves: the first file is new, the second is not."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.targets = [folder / name / "x" for name in "ab"]
        self.staged = [target.with_name(f".ckptload-{ID}-{number}.tmp") for number, target in enumerate(self.targets)]
        replace(self.targets, "old")
        for path in self.staged:
            path.write_text("new")
        (folder / "a" / f".ckptload-{ID}-7.tmp").write_text("kept")
        self.moves = [Move(path, target) for path, target in zip(self.staged, self.targets, strict=True)]
        self.journal = Journal(ID, folder, [target.parent for target in self.targets])

    @property
    def path(self) -> Path:
        return self.folder / f".ckptload-{ID}.journal"

    def dies(self) -> None:
        os.close(self.journal._number)

    def moves_one(self) -> None:
        self.journal.begin(self.moves, synced=True)
        self.staged[0].replace(self.targets[0])


@pytest.fixture
def killed(tmp_path: Path) -> Killed:
    return Killed(tmp_path)


@posix
def test_moves_that_a_killed_process_began_are_finished(killed: Killed, tmp_path: Path) -> None:
    killed.moves_one()
    killed.dies()
    recover([tmp_path])
    assert contents(tmp_path) == {"a/x": "new", "b/x": "new"}


@posix
def test_the_next_group_in_a_folder_finishes_them(killed: Killed, tmp_path: Path) -> None:
    killed.moves_one()
    killed.dies()
    replace([tmp_path / "c" / "x", tmp_path / "d" / "x"], "other")
    assert contents(tmp_path) == {"a/x": "new", "b/x": "new", "c/x": "other", "d/x": "other"}


@posix
def test_what_a_process_left_that_was_killed_before_is_removed(killed: Killed, tmp_path: Path) -> None:
    killed.dies()
    recover([tmp_path])
    assert contents(tmp_path) == {"a/x": "old", "b/x": "old"}


@posix
def test_files_that_others_replaced_since_are_left_alone(killed: Killed, tmp_path: Path) -> None:
    killed.moves_one()
    killed.dies()
    with Replacement(str(killed.targets[1])) as file:
        file.write(b"later")
    recover([tmp_path])
    assert contents(tmp_path) == {"a/x": "new", "b/x": "later"}


@posix
def test_a_temporary_file_that_is_gone_ends_it(killed: Killed, tmp_path: Path) -> None:
    killed.moves_one()
    killed.dies()
    killed.staged[1].unlink()
    recover([tmp_path])
    assert contents(tmp_path) == {"a/x": "new", "b/x": "old"}


@posix
def test_a_line_that_is_not_complete_does_not_count(killed: Killed, tmp_path: Path) -> None:
    killed.journal.begin(killed.moves, synced=False)
    killed.dies()
    os.truncate(killed.path, killed.path.stat().st_size - 1)
    recover([tmp_path])
    assert contents(tmp_path) == {"a/x": "old", "b/x": "old"}


@posix
def test_a_running_process_keeps_its_files(killed: Killed, tmp_path: Path) -> None:
    killed.moves_one()
    before = contents(tmp_path)
    recover([tmp_path])
    assert contents(tmp_path) == before
    killed.dies()


@posix
def test_obsolete_files_are_removed_unless_they_are_other_files_by_now(killed: Killed, tmp_path: Path) -> None:
    shards = [tmp_path / "a" / f"model-0000{number}-of-00002.safetensors" for number in (1, 2)]
    other = tmp_path / "a" / "other.safetensors"
    for path in (*shards, other):
        path.write_text("old")
    killed.moves_one()
    killed.journal.note([*shards, other, tmp_path / "a" / "model.safetensors"])
    killed.dies()
    shards[0].unlink()
    shards[0].write_text("later")
    recover([tmp_path])
    assert contents(tmp_path) == {
        "a/x": "new",
        "b/x": "new",
        "a/model-00001-of-00002.safetensors": "later",
        "a/other.safetensors": "old",
    }


def _line(**said: Any) -> str:
    return json.dumps(said) + "\n"


#: What others may have written under the name of a journal; ELSEWHERE is a folder beside that of the journal.
FORGED = {
    "no JSON": "{\n",
    "no objects": "[1]\n",
    "deep": "[" * 100_000 + "\n",
    "numbers": _line(folders=[1, 2], moves=[[1, 2, 3, 4]]),
    "no list": _line(folders=3),
    "short": _line(moves=[["a"]]),
    "above": _line(folders=["../ELSEWHERE"], moves=[], obsolete=[["../ELSEWHERE/model.safetensors", "STAMP"]]),
    "absolute": _line(folders=["/ELSEWHERE"], obsolete=[["/ELSEWHERE/model.safetensors", "STAMP"]]),
    "a link": _line(folders=["link"], obsolete=[["link/model.safetensors", "STAMP"]]),
    "moves above": _line(
        moves=[[f"../ELSEWHERE/.ckptload-{ID}-1.tmp", "../ELSEWHERE/model.safetensors", "NEW", "STAMP"]]
    ),
    "moves of a link": _line(moves=[[f"link/.ckptload-{ID}-1.tmp", "link/model.safetensors", "NEW", "STAMP"]]),
    "into another folder": _line(moves=[["mine", "../ELSEWHERE/model.safetensors", "MINE", "STAMP"]]),
}


@posix
@pytest.mark.parametrize("forged", FORGED)
def test_a_journal_does_not_lead_out_of_its_folder(tmp_path: Path, forged: str) -> None:
    folder, elsewhere = tmp_path / "folder", tmp_path / "elsewhere"
    folder.mkdir()
    elsewhere.mkdir()
    precious = [elsewhere / "model.safetensors", elsewhere / f".ckptload-{ID}-1.tmp"]
    for path in precious:
        path.write_text(path.name)
    (folder / "mine").write_text("mine")
    (folder / "link").symlink_to(elsewhere)
    text = FORGED[forged].replace("/ELSEWHERE", str(elsewhere)) if forged == "absolute" else FORGED[forged]
    for word, path in (("STAMP", precious[0]), ("NEW", precious[1]), ("MINE", folder / "mine")):
        found = path.stat()
        text = text.replace(f'"{word}"', json.dumps([found.st_ino, found.st_size, found.st_mtime_ns]))
    (folder / f".ckptload-{ID}.journal").write_text(text.replace("ELSEWHERE", "elsewhere"))
    recover([folder])
    assert contents(elsewhere) == {path.name: path.name for path in precious}
    assert (folder / "mine").read_text() == "mine"


@posix
def test_what_is_no_file_is_no_journal(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / f".ckptload-{ID}.journal")
    (tmp_path / f".ckptload-{ID[::-1]}.journal").symlink_to("nowhere")
    recover([tmp_path, tmp_path / "missing"])
    assert len(list(tmp_path.iterdir())) == 2


@posix
def test_a_pipe_in_place_of_a_journal_that_was_looked_at_is_left_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Reading it would wait for a writer."""
    path = tmp_path / f".ckptload-{ID}.journal"
    path.write_text("{}\n")
    abandoned = temporary_files.abandoned

    @contextmanager
    def exchanging(place: Path) -> Iterator[bool]:
        with abandoned(place) as is_left:
            path.unlink()
            os.mkfifo(path)
            yield is_left

    monkeypatch.setattr(temporary_files, "abandoned", exchanging)
    recover([tmp_path])
    assert path.is_fifo()


def test_without_locks_a_journal_is_left_behind_once_it_is_a_day_old(
    killed: Killed, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    killed.moves_one()
    killed.dies()
    monkeypatch.setattr(temporary_files, "fcntl", None)
    recover([tmp_path])
    assert contents(tmp_path)["b/x"] == "old"
    os.utime(killed.path, (0, 0))
    recover([tmp_path])
    assert contents(tmp_path) == {"a/x": "new", "b/x": "new"}


# -- locks ------------------------------------------------------------------------------------------------------


@posix
def test_two_paths_of_one_folder_are_locked_once(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "b").symlink_to("a")
    with locked([tmp_path / "a", tmp_path / "b"]) as alone:
        assert not alone
    with locked([tmp_path / "a"]) as alone:
        assert alone


@posix
def test_another_thread_waits(tmp_path: Path) -> None:
    steps: list[str] = []

    def work() -> None:
        with locked([tmp_path]):
            steps.append("thread")

    thread = threading.Thread(target=work)
    with locked([tmp_path]):
        thread.start()
        thread.join(0.05)
        steps.append("first")
    thread.join()
    assert steps == ["first", "thread"]


@posix
def test_this_thread_does_not_wait_for_itself(tmp_path: Path) -> None:
    with locked([tmp_path]):
        for _ in range(2):
            with pytest.raises(OSError, match="in the middle"), locked([tmp_path]):
                pass
    with locked([tmp_path]):
        pass


def test_a_folder_that_is_not_there_is_left_out(tmp_path: Path) -> None:
    with locked([tmp_path / "missing"]) as alone:
        assert not alone


# -- others in the same folder ----------------------------------------------------------------------------------


@posix
def test_a_journal_of_another_user_is_left_alone(
    killed: Killed, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    old = tmp_path / "a" / "model.safetensors"
    old.write_text("kept")
    killed.moves_one()
    killed.journal.note([old])
    killed.dies()
    before = contents(tmp_path)
    monkeypatch.setattr(os, "geteuid", lambda: killed.path.stat().st_uid + 1)
    recover([tmp_path])
    assert contents(tmp_path) == before


@posix
@pytest.mark.parametrize("where", ["nowhere", "somewhere"])
def test_a_link_under_the_next_temporary_name_is_not_followed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, where: str
) -> None:
    (tmp_path / "somewhere").write_text("kept")
    os.utime(tmp_path / "somewhere", (1, 1))
    link = tmp_path / "link"
    link.symlink_to(tmp_path / where)
    with Together([tmp_path], synced=False) as together:
        (tmp_path / "x").write_text("old")
        staged = together.stage(tmp_path / "x")
        staged.write_text("new")
        with monkeypatch.context() as patch:
            patch.setattr(together, "stage", lambda _: link)
            with pytest.raises(FileExistsError):
                together.add(staged, tmp_path / "x")
    assert not (tmp_path / "nowhere").exists()
    assert (tmp_path / "somewhere").stat().st_mtime == 1


def test_temporary_names_cannot_be_guessed_from_each_other(tmp_path: Path) -> None:
    with Together([tmp_path], synced=False) as together:
        first, second = (together.stage(tmp_path / "x").name.split("-") for _ in range(2))
    assert len(first[-1]) == len("0123456789abcdef.tmp")
    assert first[-1] != second[-1]


@posix
def test_a_folder_that_somebody_keeps_locked_is_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    target = tmp_path / "x"
    target.write_text("old")
    fcntl = pytest.importorskip("fcntl")
    number = os.open(tmp_path, os.O_RDONLY)
    fcntl.flock(number, fcntl.LOCK_SH)
    monkeypatch.setattr("ckptload.writing.locks.PATIENCE", 0)
    try:
        with pytest.raises(WriteError, match="another process has locked the folder"):
            replace([target], "new")
    finally:
        os.close(number)
    assert contents(tmp_path) == {"x": "old"}
    replace([target], "new")
    assert contents(tmp_path) == {"x": "new"}


@posix
def test_a_folder_that_cannot_be_synced_is_told_and_the_files_are_new(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    targets = [tmp_path / "a" / "x", tmp_path / "b" / "x"]
    replace(targets, "old")

    def refuse(_: Path) -> None:
        raise OSError(5, "the disk fails")

    monkeypatch.setattr(atomic, "sync_folder", refuse)
    with pytest.raises(WriteError, match="the new files are in their places, but may not survive a crash") as caught:
        replace(targets, "new")
    assert caught.value.errno == 5
    assert contents(tmp_path) == {"a/x": "new", "b/x": "new"}


@posix
def test_an_interrupt_while_it_tidies_up_leaves_nothing_locked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    target = tmp_path / "x"

    def interrupt(_: Path) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        together = Together([tmp_path], synced=False)
        together.stage(target).write_text("new")
        patch.setattr(temporary_files, "unlink", interrupt)
        with pytest.raises(KeyboardInterrupt):
            together.__exit__(None, None, None)
    assert len(list(tmp_path.iterdir())) == 2
    replace([target], "newer")
    assert contents(tmp_path) == {"x": "newer"}
