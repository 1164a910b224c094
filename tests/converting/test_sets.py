"""Several files that a conversion replaces together: shards and their index, folders of ranks.

`Steps` sees the calls by which files change places. A process can be killed, and another can read, between any two of
them; each of them can fail.
"""

from __future__ import annotations

import errno
import json
import os
import random
import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from safetensors import safe_open
from safetensors.numpy import save_file

from ckptload import (
    ckpt_to_safetensors,
    convert_checkpoint,
    load_checkpoint,
    open_checkpoint,
    safetensors_to_ckpt,
    save_checkpoint,
)
from ckptload.errors import ArgumentError, ChangedFileError, CorruptCheckpointError, WriteError
from ckptload.formats.safetensors import shards

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

posix = pytest.mark.skipif(os.name != "posix", reason="needs a POSIX system")
linux = pytest.mark.skipif(sys.platform != "linux", reason="looks into /proc")

KILLS = int(os.environ.get("CKPTLOAD_KILLS", "7"))
INDEX = "model.safetensors.index.json"
SINGLE = "model.safetensors"
NAMES = "abcdef"
#: Sizes of shards, by the number of shards they make of six tensors of 40 bytes.
SIZES = {1: 1000, 2: 120, 3: 80, 6: 40}


@pytest.fixture(autouse=True)
def _no_syncs(monkeypatch: pytest.MonkeyPatch) -> None:
    """Syncing takes nearly all the time, and tells nothing here: no test stops the machine."""
    monkeypatch.setattr(os, "fsync", lambda _: None)


def values(value: int) -> dict[str, Any]:
    return {name: np.full(10, value, np.float32) for name in NAMES}


@pytest.fixture(scope="module")
def sources(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Return files that hold their own number everywhere."""
    folder = tmp_path_factory.mktemp("sources")
    for number in range(3):
        save_checkpoint(values(number), folder / f"{number}.ckpt")
    return [folder / f"{number}.ckpt" for number in range(3)]


def convert(source: Path, target: Path, number: int = 2, **options: Any) -> Any:
    with open_checkpoint(source) as reader:
        return convert_checkpoint(reader, target, max_shard_size=SIZES[number], **options)


def value_in(path: Path) -> int:
    """Return the number that a checkpoint holds everywhere."""
    kind = "ckpt" if path.suffix == ".ckpt" else "safetensors"
    found = load_checkpoint(str(path), format=kind)
    assert list(found) == list(NAMES)
    (value,) = {float(number) for each in found.values() for number in each.asnumpy()}
    return int(value)


def names(folder: Path) -> list[str]:
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())


def plain(number: int) -> list[str]:
    return [f"model-{one:05}-of-{number:05}.safetensors" for one in range(1, number + 1)]


class Steps:
    """Calls something after each step, or lets one step fail."""

    def __init__(self, patch: pytest.MonkeyPatch) -> None:
        self.count = 0
        self.fails: int | None = None
        self.after: Callable[[], None] = lambda: None
        for owner, name in ((Path, "replace"), (os, "link"), (Path, "unlink"), (os, "fsync")):
            patch.setattr(owner, name, self._counted(getattr(owner, name)))

    def _counted(self, call: Callable[..., Any]) -> Callable[..., Any]:
        def counted(*args: Any, **kwargs: Any) -> Any:
            self.count += 1
            if self.count == self.fails:
                raise OSError(errno.EIO, "this step fails")
            result = call(*args, **kwargs)
            self.after()
            return result

        return counted


@pytest.fixture
def steps() -> Iterator[Steps]:
    with pytest.MonkeyPatch.context() as patch:
        yield Steps(patch)


#: What there is before, and what is written: the number of shards and the target.
LAYOUTS = [
    *((old, new, target) for old in (2, 3, 6) for new, target in ((3, ""), (2, INDEX), (1, INDEX), (1, ""))),
    *((1, new, target) for new, target in ((3, INDEX), (1, INDEX))),
]
every_layout = pytest.mark.parametrize(
    ("old", "new", "target"),
    [pytest.param(*layout, marks=[pytest.mark.slow] if layout[0] > 2 else []) for layout in LAYOUTS],
)


# -- the index names a complete set -----------------------------------------------------------------------------


@every_layout
def test_there_is_a_complete_set_at_every_moment(
    sources: list[Path], tmp_path: Path, steps: Steps, old: int, new: int, target: str
) -> None:
    """Whoever loads the index finds the old set or the new one; once it is the new one, it stays that."""
    index = tmp_path / INDEX
    convert(sources[1], index, old)
    seen = []

    def look() -> None:
        # Where the result has no index, the old one goes, and only then its shards.
        seen.append(value_in(index if index.exists() else tmp_path / SINGLE))

    steps.after = look
    convert(sources[2], tmp_path / target, new)
    steps.after = lambda: None
    assert seen == sorted(seen)
    assert {1, 2} >= set(seen) > {1}
    shard_names = plain(new) if new > 1 else [SINGLE]
    assert names(tmp_path) == sorted([*shard_names, *([INDEX] if target or new > 1 else [])])


@pytest.mark.slow
@pytest.mark.once
@every_layout
def test_whichever_step_fails_the_old_set_or_the_new_one_is_there(
    sources: list[Path], tmp_path: Path, steps: Steps, old: int, new: int, target: str
) -> None:
    for number in range(1, 100):
        folder = tmp_path / str(number)
        index = folder / INDEX
        convert(sources[1], index, old)
        before = names(folder)
        steps.count, steps.fails = 0, number
        fine = {2}
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr("ckptload.writing.together.warn", lambda *_: None)
            try:
                convert(sources[2], folder / target, new)
            except WriteError as error:
                # A folder that cannot be synced is told when the new set is in its place.
                placed = "the new files are in their places" in str(error)
                fine = {2} if placed else {1} if names(folder) == before else {1, 2}
        reached, steps.fails = steps.count >= number, None
        assert value_in(index if index.exists() else folder / SINGLE) in fine
        # What got no plain name gets it by the next conversion.
        convert(sources[2], folder / target, new)
        assert value_in(index if index.exists() else folder / SINGLE) == 2
        assert not [name for name in names(folder) if name.startswith(".") or len(name) > len(plain(1)[0])]
        if not reached:
            break
    else:
        pytest.fail("there are too many steps")


@posix
def test_a_shard_that_cannot_be_replaced_leaves_the_new_set_under_other_names(
    sources: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    index = tmp_path / INDEX
    convert(sources[1], index, 2)

    def refuse(*_: Any, **__: Any) -> None:
        raise PermissionError(errno.EPERM, "no hard links here")

    with monkeypatch.context() as patch:
        patch.setattr(os, "link", refuse)
        with pytest.warns(UserWarning, match="complete and new, but could not get their plain names"):
            convert(sources[2], index, 2)
    assert value_in(index) == 2
    mark = json.loads(index.read_text())["metadata"]["ckptload.set"]
    assert names(tmp_path) == sorted([INDEX, *(name.replace("model-", f"model-{mark}-") for name in plain(2))])
    convert(sources[1], index, 3)
    assert names(tmp_path) == sorted([INDEX, *plain(3)])


def test_the_file_that_shards_are_made_from_stays(sources: list[Path], tmp_path: Path) -> None:
    """It is a file that its owner named, although another single file of the folder would go."""
    with open_checkpoint(sources[1]) as reader:
        convert_checkpoint(reader, tmp_path / SINGLE)
    done = convert(tmp_path / SINGLE, tmp_path)
    assert done.removed == []
    assert value_in(tmp_path / SINGLE) == value_in(tmp_path / INDEX) == 1
    assert convert(sources[2], tmp_path).removed == [str(tmp_path / SINGLE)]
    assert not (tmp_path / SINGLE).exists()


def test_shards_of_one_result_take_the_place_of_a_single_file(sources: list[Path], tmp_path: Path) -> None:
    """Hugging Face's loaders would prefer the old file. What no index named stays."""
    convert(sources[1], tmp_path, 1)
    (tmp_path / "other.safetensors").write_bytes(b"precious")
    (tmp_path / "model-00001-of-00009.safetensors").write_bytes(b"precious")
    convert(sources[2], tmp_path, 2)
    assert value_in(tmp_path / INDEX) == 2
    assert names(tmp_path) == sorted([INDEX, *plain(2), "model-00001-of-00009.safetensors", "other.safetensors"])


def test_only_files_that_conversions_write_are_removed_with_an_index(sources: list[Path], tmp_path: Path) -> None:
    save_file(values(1), tmp_path / "mine.safetensors")
    (tmp_path / INDEX).write_text(json.dumps({"weight_map": dict.fromkeys(NAMES, "mine.safetensors")}))
    convert(sources[2], tmp_path, 1)
    assert names(tmp_path) == ["mine.safetensors", SINGLE]


def test_an_old_index_that_is_damaged_is_replaced(sources: list[Path], tmp_path: Path) -> None:
    (tmp_path / INDEX).write_text("{")
    convert(sources[2], tmp_path, 3)
    assert value_in(tmp_path / INDEX) == 2


def test_the_path_of_an_index_loads_the_new_values_whatever_the_number_of_shards(
    sources: list[Path], tmp_path: Path
) -> None:
    index = tmp_path / INDEX
    convert(sources[1], index, 3)
    convert(sources[2], index, 1)
    assert value_in(index) == value_in(tmp_path / SINGLE) == 2
    assert names(tmp_path) == [SINGLE, INDEX]


def test_an_old_set_of_any_writer_is_replaced(sources: list[Path], tmp_path: Path) -> None:
    """It has no ID, and its shards have the same names."""
    for name, part in zip(plain(2), ("abc", "def"), strict=True):
        save_file({each: values(1)[each] for each in part}, tmp_path / name, {"format": "pt"})
    places = dict.fromkeys("abc", plain(2)[0]) | dict.fromkeys("def", plain(2)[1])
    (tmp_path / INDEX).write_text(json.dumps({"metadata": {"total_size": 240}, "weight_map": places}))
    assert value_in(tmp_path / INDEX) == 1
    convert(sources[2], tmp_path / INDEX, 2)
    assert value_in(tmp_path / INDEX) == 2
    assert names(tmp_path) == sorted([INDEX, *plain(2)])


# -- which set a shard belongs to -------------------------------------------------------------------------------


@pytest.mark.parametrize("mark", ["0123456789abcdef", None])
def test_a_shard_of_another_set_is_refused(sources: list[Path], tmp_path: Path, mark: str | None) -> None:
    convert(sources[1], tmp_path, 2)
    shard = tmp_path / plain(2)[1]
    own = json.loads((tmp_path / INDEX).read_text())["metadata"]["ckptload.set"]
    save_file({each: values(2)[each] for each in "def"}, shard, {"ckptload.set": mark} if mark else None)
    with pytest.raises(CorruptCheckpointError, match="of another set than its index") as caught:
        load_checkpoint(str(tmp_path / INDEX), format="safetensors")
    assert caught.value.path == str(shard)
    assert own in str(caught.value)
    assert (mark or "the file of none") in str(caught.value)
    assert caught.value.hint is not None
    # What is wanted of the other shard loads.
    assert list(load_checkpoint(str(tmp_path / INDEX), format="safetensors", specify_prefix=["a", "b"])) == ["a", "b"]


def test_without_an_id_in_the_index_shards_are_not_compared(sources: list[Path], tmp_path: Path) -> None:
    convert(sources[1], tmp_path / "one", 2)
    convert(sources[1], tmp_path / "other", 2)
    (tmp_path / "one" / plain(2)[1]).write_bytes((tmp_path / "other" / plain(2)[1]).read_bytes())
    index = tmp_path / "one" / INDEX
    content = json.loads(index.read_text())
    del content["metadata"]["ckptload.set"]
    index.write_text(json.dumps(content))
    assert value_in(index) == 1


def test_the_id_is_not_copied(sources: list[Path], tmp_path: Path) -> None:
    convert(sources[1], tmp_path, 2)
    for source, target in ((INDEX, "a.safetensors"), (plain(2)[0], "b.safetensors")):
        with open_checkpoint(tmp_path / source) as reader:
            assert "ckptload.set" in reader.metadata
            convert_checkpoint(reader, tmp_path / target)
        with safe_open(tmp_path / target, "np") as opened:
            assert "ckptload.set" not in opened.metadata()


# -- reading while a set is replaced ----------------------------------------------------------------------------


@pytest.mark.parametrize("new", [1, 2, 3])
def test_a_load_begins_again_when_the_set_is_replaced_meanwhile(sources: list[Path], tmp_path: Path, new: int) -> None:
    index = tmp_path / INDEX
    convert(sources[1], index, 2)
    asked: list[str] = []

    def choose(name: str) -> bool:
        if not asked:
            convert(sources[2], index, new)
        asked.append(name)
        return True

    found = load_checkpoint(str(index), format="safetensors", choice_func=choose)
    assert {float(number) for each in found.values() for number in each.asnumpy()} == {2}
    # The first reading has asked about all names; the second one remembers.
    assert asked == list(NAMES)


@pytest.mark.parametrize("has_id", [True, False])
@pytest.mark.parametrize("new", [1, 2, 3])
def test_a_lazy_reader_does_not_open_shards_of_another_set(
    sources: list[Path], tmp_path: Path, new: int, has_id: bool
) -> None:
    index = tmp_path / INDEX
    convert(sources[1], index, 2)
    if not has_id:
        content = json.loads(index.read_text())
        del content["metadata"]["ckptload.set"]
        index.write_text(json.dumps(content))
    with open_checkpoint(index) as reader:
        assert reader["a"].asnumpy()[0] == 1
        convert(sources[2], index, new)
        with pytest.raises(ChangedFileError, match="index was replaced") as caught:
            _ = reader["f"]
        assert caught.value.hint == "open it again"
    with open_checkpoint(index) as reader:
        assert reader["f"].asnumpy()[0] == 2


def test_the_id_proves_that_a_shard_is_of_the_set_though_the_index_was_replaced(
    sources: list[Path], tmp_path: Path
) -> None:
    """As in the moment when the index already names the shards by other names."""
    index = tmp_path / INDEX
    convert(sources[1], index, 2)
    with open_checkpoint(index) as reader:
        index.write_text(json.dumps(json.loads(index.read_text()) | {"more": 1}))
        assert reader["f"].asnumpy()[0] == 1


def test_a_load_whose_shards_are_open_keeps_to_the_old_set(
    sources: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    index = tmp_path / INDEX
    convert(sources[1], index, 2)
    read_many = shards.ShardedSource.read_many

    def replaced_first(source: Any, requests: Any) -> None:
        monkeypatch.undo()
        convert(sources[2], index, 3)
        read_many(source, requests)

    monkeypatch.setattr(shards.ShardedSource, "read_many", replaced_first)
    assert value_in(index) == 1
    assert value_in(index) == 2


def test_a_set_that_is_replaced_all_the_time_is_given_up(
    sources: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    convert(sources[1], tmp_path, 2)
    stamps = iter(range(1000))
    monkeypatch.setattr("ckptload.formats.safetensors.shards.stamp", lambda _: (next(stamps),))
    with pytest.raises(ChangedFileError, match="index was replaced"):
        open_checkpoint(tmp_path / INDEX)
    assert next(stamps) <= 100


#: Replaces a set again and again, by sets of other numbers of shards.
WRITER = """
import random, sys
from pathlib import Path
from ckptload import convert_checkpoint, open_checkpoint
folder, index = Path(sys.argv[1]), Path(sys.argv[2])
chance = random.Random(1)
for turn in range(100_000):
    with open_checkpoint(folder / f"{1 + turn % 2}.ckpt") as reader:
        convert_checkpoint(reader, index, max_shard_size=chance.choice([40, 80, 120, 1000]))
    if not turn:
        print("begun", flush=True)
"""


def begun(code: str, *arguments: Path) -> subprocess.Popen[str]:
    """Start a process, and wait until it says that it has begun."""
    command = [sys.executable, "-c", textwrap.dedent(code), *map(str, arguments)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert process.stdout.readline() == "begun\n"
    return process


@pytest.mark.slow
@pytest.mark.once
@posix
def test_loads_beside_a_writer_find_one_set_or_the_other(sources: list[Path], tmp_path: Path) -> None:
    index = tmp_path / INDEX
    process = begun(WRITER, sources[0].parent, index)
    try:
        assert {value_in(index) for _ in range(300)} == {1, 2}
    finally:
        process.kill()
        process.communicate()


# -- which files a job writes -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("old", "target", "new", "written", "removed"),
    [
        (2, "", 3, [*plain(3), INDEX], plain(2)),
        (2, "", 2, [*plain(2), INDEX], []),
        (2, INDEX, 1, [SINGLE, INDEX], plain(2)),
        (2, "", 1, [SINGLE], [INDEX, *plain(2)]),
        (1, "", 2, [*plain(2), INDEX], [SINGLE]),
        (1, INDEX, 1, [SINGLE, INDEX], []),
    ],
)
def test_all_files_are_known_before_anything_is_written(
    sources: list[Path], tmp_path: Path, old: int, target: str, new: int, written: list[str], removed: list[str]
) -> None:
    convert(sources[1], tmp_path / INDEX, old)
    before = {name: (tmp_path / name).read_bytes() for name in names(tmp_path)}
    moves = convert(sources[2], tmp_path / target, new, dry_run=True)
    assert [Path(path).name for path in moves.written] == written
    assert [Path(path).name for path in moves.removed] == removed
    with pytest.raises(ArgumentError, match=r"already exist") as caught:
        convert(sources[2], tmp_path / target, new, replace=False)
    for name in before.keys() & {*written, *removed}:
        assert name in str(caught.value)
    assert {name: (tmp_path / name).read_bytes() for name in names(tmp_path)} == before
    convert(sources[2], tmp_path / target, new)
    assert names(tmp_path) == sorted(written)
    convert(sources[2], tmp_path / "elsewhere" / target, new, replace=False)


# -- folders of ranks -------------------------------------------------------------------------------------------


def ranks(folder: Path, value: int, number: int = 3) -> Path:
    """Make rank folders whose files hold a value everywhere."""
    for rank in range(number):
        path = folder / f"rank_{rank}" / "t.ckpt"
        path.parent.mkdir(parents=True)
        save_checkpoint(values(value), path)
    return folder


@pytest.fixture
def runs(tmp_path: Path) -> list[Path]:
    return [ranks(tmp_path / str(value), value) for value in range(3)]


TARGETS = {None: "t.safetensors", 120: INDEX}
every_kind = pytest.mark.parametrize("limit", [None, pytest.param(120, marks=pytest.mark.slow)])


@every_kind
@pytest.mark.parametrize("processes_num", [1, 2])
def test_no_rank_is_new_before_all_are_complete(
    runs: list[Path], tmp_path: Path, limit: int | None, processes_num: int
) -> None:
    out = tmp_path / "out"
    ckpt_to_safetensors(runs[1], out, max_shard_size=limit)
    before = {name: (out / name).read_bytes() for name in names(out)}
    path = runs[2] / "rank_2" / "t.ckpt"
    path.chmod(0o600)
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(CorruptCheckpointError) as caught:
        ckpt_to_safetensors(runs[2], out, max_shard_size=limit, processes_num=processes_num)
    assert caught.value.path == str(path)
    assert {name: (out / name).read_bytes() for name in names(out)} == before


@every_kind
@pytest.mark.parametrize("fails", ["first", "second", "third", "none before"])
@posix
def test_ranks_are_taken_back_if_a_file_cannot_be_replaced(
    runs: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, limit: int | None, fails: str
) -> None:
    out = tmp_path / "out"
    if fails != "none before":
        ckpt_to_safetensors(runs[1], out, max_shard_size=limit)
    before = {name: (out / name).read_bytes() for name in names(out)}
    rank = {"first": "rank_0", "second": "rank_1"}.get(fails, "rank_2")
    replace = Path.replace

    def refuse(self: Path, target: Path) -> Path:
        if target == out / rank / TARGETS[limit] and "failed" not in done:
            done.append("failed")
            raise PermissionError(errno.EPERM, "it may not be replaced")
        return replace(self, target)

    done: list[str] = []
    monkeypatch.setattr(Path, "replace", refuse)
    with pytest.raises(WriteError, match="it may not be replaced") as caught:
        ckpt_to_safetensors(runs[2], out, max_shard_size=limit)
    assert caught.value.path == str(out / rank / TARGETS[limit])
    assert {name: (out / name).read_bytes() for name in names(out)} == before
    assert out.exists() == bool(before)
    ckpt_to_safetensors(runs[2], out, max_shard_size=limit)
    assert {value_in(out / f"rank_{rank}" / TARGETS[limit]) for rank in range(3)} == {2}


@posix
def test_what_cannot_be_taken_back_is_replaced_first(
    runs: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A file that may not be linked may often not be replaced either, as one that is immutable."""
    out = tmp_path / "out"
    ckpt_to_safetensors(runs[1], out)
    fixed = out / "rank_2" / "t.safetensors"
    link, replace = os.link, Path.replace
    tried: list[Path] = []

    def no_link(source: Any, target: Any, **how: Any) -> None:
        if Path(source) == fixed:
            raise PermissionError(errno.EPERM, "immutable")
        link(source, target, **how)

    def no_replace(self: Path, target: Path) -> Path:
        if ".ckptload" not in target.name:
            tried.append(target)
        if target == fixed:
            raise PermissionError(errno.EPERM, "immutable")
        return replace(self, target)

    monkeypatch.setattr(os, "link", no_link)
    monkeypatch.setattr(Path, "replace", no_replace)
    with pytest.raises(WriteError, match="immutable"):
        ckpt_to_safetensors(runs[2], out)
    assert tried == [fixed]
    assert {value_in(out / f"rank_{rank}" / "t.safetensors") for rank in range(3)} == {1}
    assert names(out) == [f"rank_{rank}/t.safetensors" for rank in range(3)]


@linux
@every_kind
def test_the_number_of_ranks_is_not_limited_by_descriptors(tmp_path: Path, limit: int | None) -> None:
    opened: dict[int, set[int]] = {}
    for number in (3, 12):
        source = ranks(tmp_path / str(number), 1, number)
        ckpt_to_safetensors(
            source,
            max_shard_size=limit,
            progress=lambda *_, at=number: opened.setdefault(at, set()).add(len([*Path("/proc/self/fd").iterdir()])),
        )
    assert max(opened[3]) == max(opened[12])


def test_folders_that_were_made_for_nothing_are_removed(runs: list[Path], tmp_path: Path) -> None:
    (tmp_path / "there").mkdir()

    def stop(done: int, total: int) -> None:
        if done == total:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        ckpt_to_safetensors(runs[1], tmp_path / "there" / "deep" / "out", progress=stop)
    assert list((tmp_path / "there").iterdir()) == []


@posix
def test_a_handler_that_converts_into_the_same_folder_does_not_hang(
    sources: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It interrupts the moment in which files get their names, and cannot wait for its end."""
    caught: list[BaseException] = []
    replace = Path.replace

    def handler(self: Path, target: Path) -> Path:
        if not caught:
            caught.append(KeyError())
            try:
                convert(sources[2], tmp_path, 2)
            except WriteError as error:
                caught.append(error)
            convert(sources[2], tmp_path / "elsewhere", 2)
        return replace(self, target)

    monkeypatch.setattr(Path, "replace", handler)
    convert(sources[1], tmp_path, 2)
    assert "in the middle of a conversion into the same folder" in str(caught[1])
    assert value_in(tmp_path / INDEX) == 1
    assert value_in(tmp_path / "elsewhere" / INDEX) == 2
    assert not sys.modules["ckptload.writing.locks"]._held


# -- kills ------------------------------------------------------------------------------------------------------

#: Converts into one place, each time another run, until it is killed.
CONVERTER = """
import random, sys
from pathlib import Path
from ckptload import ckpt_to_safetensors, convert_checkpoint, open_checkpoint, safetensors_to_ckpt
folder, out, kind = Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3]
chance = random.Random(1)
for turn in range(100_000):
    run = folder / str(1 + turn % 2)
    if kind == "ranks":
        ckpt_to_safetensors(run, out, processes_num=1 + turn % 2)
    elif kind == "ranks with shards":
        ckpt_to_safetensors(run, out, max_shard_size=80)
    else:
        with open_checkpoint(run / "rank_0" / "t.ckpt") as reader:
            index = out / "model.safetensors.index.json"
            convert_checkpoint(reader, index, max_shard_size=chance.choice([80, 120, 1000]))
    if not turn:
        print("begun", flush=True)
"""


@pytest.mark.slow
@pytest.mark.once
@posix
@pytest.mark.parametrize("kind", ["shards", "ranks", "ranks with shards"])
def test_a_conversion_that_is_killed_at_any_moment(runs: list[Path], tmp_path: Path, kind: str) -> None:
    out = tmp_path / "out"
    paths = {
        "shards": [out / INDEX],
        "ranks": [out / f"rank_{rank}" / "t.safetensors" for rank in range(3)],
        "ranks with shards": [out / f"rank_{rank}" / INDEX for rank in range(3)],
    }[kind]
    chance = random.Random(kind)
    for _ in range(KILLS):
        process = begun(CONVERTER, tmp_path, out, Path(kind))
        time.sleep(chance.uniform(0, 0.05))
        process.send_signal(signal.SIGKILL)
        process.communicate()
        # Between the renames of two ranks there are microseconds; the journal finishes what was killed in them.
        assert {value_in(path) for path in paths} <= {1, 2}
    if kind == "shards":
        convert(runs[1] / "rank_0" / "t.ckpt", out / INDEX, 2)
    else:
        ckpt_to_safetensors(runs[1], out, max_shard_size=None if kind == "ranks" else 80)
    assert {value_in(path) for path in paths} == {1}
    assert not [name for name in names(out) if ".ckptload-" in name or len(Path(name).name) > len(plain(1)[0])]


def test_both_ways_of_a_folder_are_whole(runs: list[Path], tmp_path: Path) -> None:
    ckpt_to_safetensors(runs[1], tmp_path / "there")
    safetensors_to_ckpt(tmp_path / "there", tmp_path / "back", processes_num=3)
    assert {value_in(tmp_path / "back" / f"rank_{rank}" / "t.ckpt") for rank in range(3)} == {1}
    assert names(tmp_path / "back") == [f"rank_{rank}/t.ckpt" for rank in range(3)]


def _convert_and_die(source: Path, target: Path, shards_: int, step: int) -> None:
    """End this process after a step, with a status, or after the conversion without one."""
    status = 1
    try:
        with pytest.MonkeyPatch.context() as patch:
            steps = Steps(patch)
            steps.after = lambda: os._exit(9) if steps.count >= step else None
            convert(source, target, shards_)
            status = 0
    finally:
        os._exit(status)


@posix
@pytest.mark.slow
@pytest.mark.once
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
@pytest.mark.parametrize(("old", "new"), [(0, 3), (3, 3), (3, 6), (1, 3), (3, 1)])
def test_a_process_killed_at_any_step_leaves_nothing_after_the_next(
    sources: list[Path], tmp_path: Path, old: int, new: int
) -> None:
    """Neither shards of the old set nor of the one that was not finished stay, whatever the next set is called."""
    for number in range(1, 100):
        folder = tmp_path / str(number)
        if old:
            convert(sources[0], folder, old)
        child = os.fork()
        if not child:
            _convert_and_die(sources[1], folder / INDEX, new, number)
        _, status = os.waitpid(child, 0)
        convert(sources[2], folder, 2)
        assert value_in(folder / INDEX) == 2
        assert names(folder) == sorted([*plain(2), INDEX])
        if not status:
            break
    else:
        pytest.fail("there are too many steps")


# -- what is not a file -----------------------------------------------------------------------------------------


@posix
@pytest.mark.parametrize("number", [1, 2, 3])
@pytest.mark.parametrize("name", ["model-00001-of-00003.safetensors", INDEX, SINGLE])
@pytest.mark.parametrize("make", [os.mkfifo, os.mkdir], ids=["pipe", "folder"])
def test_what_is_no_file_is_neither_replaced_nor_removed(
    sources: list[Path], tmp_path: Path, make: Callable[[Path], None], name: str, number: int
) -> None:
    out = tmp_path / "out"
    convert(sources[0], out, 3)
    (out / name).unlink(missing_ok=True)
    make(out / name)
    before = {path.name: (path.lstat().st_ino, path.lstat().st_mtime_ns) for path in out.iterdir()}
    with pytest.raises(WriteError):
        convert(sources[1], out, number)
    assert {path.name: (path.lstat().st_ino, path.lstat().st_mtime_ns) for path in out.iterdir()} == before


@posix
@pytest.mark.parametrize("wrong", [AttributeError, NotImplementedError, PermissionError])
def test_without_hard_links_a_set_keeps_the_names_in_between(
    sources: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, wrong: type[Exception]
) -> None:
    def no_link(*_: object, **__: object) -> None:
        raise wrong("no hard links")

    convert(sources[0], tmp_path / "out")
    monkeypatch.setattr(os, "link", no_link)
    with pytest.warns(UserWarning, match="could not get their plain names"):
        convert(sources[1], tmp_path / "out")
    assert value_in(tmp_path / "out" / INDEX) == 1
    assert len(list((tmp_path / "out").iterdir())) == 3
