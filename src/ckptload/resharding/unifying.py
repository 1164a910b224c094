"""`unified_safetensors`: the whole tensors of a set in parts, with a map of names, as MindSpore lays them out."""

from __future__ import annotations

import json
from functools import partial
from heapq import heapreplace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from ckptload.binding.maps.recipes import Recipe
from ckptload.converting.entries import EntriesTask, write_entries, write_from
from ckptload.converting.executors import check_executor, run
from ckptload.converting.jobs import Meter, Total, check_progress, path_of
from ckptload.converting.results import Result, Target
from ckptload.converting.rewriting import check_new_names
from ckptload.encryption.ciphers import AES_GCM
from ckptload.encryption.keys import hidden
from ckptload.errors import ArgumentError, ArgumentTypeError, CheckpointError
from ckptload.filters import check_choice
from ckptload.formats.entry import SAFETENSORS, TENSOR
from ckptload.messages import shown_value, type_name
from ckptload.ranks.folders import HYPER, UNIFIED_MAP
from ckptload.ranks.strategy_files import read_strategy
from ckptload.resharding.rank_files import items_of
from ckptload.resharding.rank_sets import RankSet
from ckptload.writing.output import write_file
from ckptload.writing.targets import check_local
from ckptload.writing.together import Together

if TYPE_CHECKING:
    import os
    from collections.abc import Callable, Mapping, Sequence

    from ckptload.converting.jobs import Progress
    from ckptload.formats.item import Item
    from ckptload.reading.reader import Reader

#: Size of a part, in bytes (MindSpore 2.10.0, parallel/transform_safetensors.py, unified_safetensors).
_PART: Final = 3 << 30
#: Gradients that are summed over steps are left out (the same).
_LEFT_OUT: Final = "accu_grads"
_METADATA: Final = (("format", "ms"),)
#: Notes on names that got the layout of their weight.
_BORROWED: Final = "layout"


def unified_safetensors(
    src_dir: Any,
    src_strategy_file: Any,
    dst_dir: str | os.PathLike[str],
    merge_with_redundancy: bool = True,
    file_suffix: str | None = None,
    max_process_num: int = 64,
    choice_func: Callable[[str], Any] | None = None,
    split_dst_file: tuple[int, int] | tuple[()] = (),
    *,
    executor: Any = None,
    copies: str | None = None,
    dec_key: bytes | None = None,
    dec_mode: str = AES_GCM,
    progress: Progress | None = None,
) -> None:
    """Merge a set of rank files into parts of about 3 GiB, in little memory whatever its size.

    Writes ``part0.safetensors`` and so on, ``param_name_map.json``, which says where each tensor is, and
    ``hyper_param.safetensors`` with what has no layout, such as ``global_step`` (MindSpore 2.10.0,
    parallel/transform_safetensors.py:1273). Hyper parameters of every stage are there, and no slices.
    Gradients (``accu_grads``) are left out. The files get their names together when all are complete.

    Args:
        src_dir: whatever `open_distributed` accepts, such as a folder of rank folders, of either format.
        src_strategy_file: the strategy of the source, as a path or a `Strategy`; None if nothing is cut.
        dst_dir: folder for the files; it is made if it is not there.
        merge_with_redundancy: accepted but not used: what the files hold tells.
        file_suffix: which of several files in a rank folder, by the end of its name.
        max_process_num: number of parts that are written at a time, in at most two threads.
        choice_func: called once with each name that has a layout; False leaves the tensor out, and a str is its new
            name.
        split_dst_file: ``(i, n)``: write the i-th (from 1) of n shares of the parts; the map and the hyper parameters
            belong to the first. So n machines can share the work.
        executor: does a task for each part; see `merge_checkpoints`.
        copies: what happens to copies that differ; see `open_distributed`.
        dec_key: key of encrypted files; results are not encrypted.
        dec_mode: ``"AES-GCM"``, ``"AES-CBC"`` or ``"SM4-CBC"``.
        progress: called with the bytes done and the total; an exception from it ends the job.

    Raises:
        ArgumentTypeError: an argument is of the wrong type (also a TypeError).
        ArgumentError: an argument has an invalid value, or two tensors would have the same name.
        CheckpointError: the source cannot be read, does not fit its strategy or has parts that no file holds; or a
            file cannot be written.
    """
    dec_key = hidden(dec_key)
    del merge_with_redundancy
    share = _share(split_dst_file)
    if isinstance(max_process_num, bool) or not isinstance(max_process_num, int):
        raise ArgumentTypeError(f"max_process_num must be an int, not {type_name(max_process_num)}")
    check_choice(choice_func)
    check_executor(executor)
    check_progress(progress)
    check_local(given := path_of("dst_dir", dst_dir))
    set_ = RankSet.of(
        src_dir, src_strategy_file, file_suffix=file_suffix, copies=copies, dec_key=dec_key, dec_mode=dec_mode
    )
    with set_.open() as reader_of:
        job = _Unified(set_, reader_of(0), Path(given).absolute(), choice_func)
        job.write(share, executor, progress, workers=min(max(max_process_num, 1), 2))


class _Unified:
    """The parts of a set, planned.

    Args:
        set_: how the set is opened.
        reader: the set.
        folder: where the files go.
        choice_func: see `unified_safetensors`.
    """

    def __init__(self, set_: RankSet, reader: Reader, folder: Path, choice_func: Callable[[str], Any] | None) -> None:
        self._set = set_
        self._reader = reader
        self._folder = folder
        items = [item for item in items_of(reader) if not item.name.startswith(_LEFT_OUT)]
        cut = _with_layout(set_, reader, items)
        self._hyper = [item for item in items if item.name not in cut]
        self._names = _renamed([item.name for item in items if item.name in cut], choice_func)
        self._sizes = {item.name: item.nbytes for item in items if item.name in self._names}
        self._parts = _balanced(self._sizes)

    def write(self, share: tuple[int, int], executor: Any, progress: Progress | None, *, workers: int) -> None:
        """Write a share of the parts: the number of the share, from 1 on, and the number of shares."""
        turn, shares = share
        mine = _slice_of(len(self._parts), turn - 1, shares)
        hyper = [] if turn > 1 else self._hyper
        total = Total(
            sum(self._sizes[name] for part in mine for name in self._parts[part]) + sum(i.nbytes for i in hyper),
            progress,
        )
        if not mine and turn > 1:
            return
        with Together([self._folder], synced=False) as together:
            tasks = [self._task(part, together) for part in mine]
            if executor is None:
                run(partial(write_from, self._reader, total=total), tasks, workers=workers)
            else:
                run(write_entries, tasks, executor, done=lambda written: total.add(written.nbytes))
            for task in tasks:
                together.add(Path(task.staged), Path(task.path))
            if hyper:
                target = Target(self._folder / HYPER, SAFETENSORS, synced=False)
                Result(self._reader, hyper, target).write(Meter(sum(i.nbytes for i in hyper), total=total), together)
            if turn == 1:
                self._write_map(together)

    def _task(self, part: int, together: Together) -> EntriesTask:
        path = self._folder / f"part{part}.{SAFETENSORS}"
        names = self._parts[part]
        return EntriesTask(
            self._set,
            tuple(Recipe(self._names[name], (name,)) for name in names),
            None,
            sum(self._sizes[name] for name in names),
            str(path),
            str(together.stage(path)),
            _METADATA,
            synced=False,
        )

    def _write_map(self, together: Together) -> None:
        path = self._folder / UNIFIED_MAP
        found = {self._names[name]: f"part{at}.{SAFETENSORS}" for at, part in enumerate(self._parts) for name in part}
        content = {"metadata": {"total_size": sum(self._sizes.values())}, "weight_map": found}
        staged = together.stage(path)
        write_file(
            str(path),
            [json.dumps(content, indent=4).encode()],
            synced=False,
            staged=staged,
            reveals=self._reader.statuses(),
        )
        together.add(staged, path)


def _share(given: object) -> tuple[int, int]:
    """Return which share of the parts is written, from 1 on, and the number of shares."""
    if given is None or given in ((), []):
        return 1, 1
    if not isinstance(given, (tuple, list)) or len(given) != len(("i", "n")):
        raise ArgumentTypeError(f"split_dst_file must be a tuple (i, n) or empty, not {shown_value(given)}")
    for number in given:
        if isinstance(number, bool) or not isinstance(number, int):
            raise ArgumentTypeError(f"split_dst_file must hold two ints, not {shown_value(given)}")
    turn, shares = given
    if not 1 <= turn <= shares:
        raise ArgumentError(f"split_dst_file must be (i, n) with i from 1 to n, not {shown_value(given)}")
    return turn, shares


def _slice_of(parts: int, at: int, shares: int) -> range:
    """Return the parts of a share, counted from 0; the first shares have one more if it does not come out even."""
    each, more = divmod(parts, shares)
    first = each * at + min(at, more)
    return range(first, first + each + (at < more))


def _with_layout(set_: RankSet, reader: Reader, items: Sequence[Item]) -> set[str]:
    """Return the names of the tensors that have a layout, or the layout of their weight; of all tensors without one."""
    tensors = {item.name for item in items if item.kind == TENSOR}
    if set_.strategy is None:
        return tensors
    borrowed = {name for note in reader.notes if note.kind == _BORROWED for name in note.names}
    return tensors & ({*read_strategy(set_.strategy).names()} | borrowed)


def _renamed(names: Sequence[str], choice_func: Callable[[str], Any] | None) -> dict[str, str]:
    """Return the new name of each name that is kept.

    Raises:
        CheckpointError: `choice_func` raised an exception.
        ArgumentTypeError: it returned neither a bool nor a str.
        ArgumentError: two tensors would have the same name.
    """
    found: dict[str, str] = {}
    for name in names:
        answer = True if choice_func is None else _answer(choice_func, name)
        if not isinstance(answer, (bool, str)):
            raise ArgumentTypeError(f"choice_func must return a bool or a str, not {type_name(answer)}", name=name)
        if answer is not False:
            found[name] = answer if isinstance(answer, str) else name
    check_new_names(found.values())
    if len(set(found.values())) < len(found):
        seen: dict[str, str] = {}
        for old, new in found.items():
            if new in seen:
                raise ArgumentError(f"it and {seen[new]!r} would both become {new!r}", name=old)
            seen[new] = old
    return found


def _answer(choice_func: Callable[[str], Any], name: str) -> Any:
    try:
        return choice_func(name)
    except CheckpointError:
        raise
    except Exception as error:
        raise CheckpointError(f"choice_func raised {type(error).__name__}", name=name) from error


def _balanced(sizes: Mapping[str, int]) -> list[list[str]]:
    """Distribute names over parts of about `_PART` bytes as MindSpore does: the largest first, to the smallest part."""
    count = min(max(-(-sum(sizes.values()) // _PART), 1), len(sizes))
    parts: list[list[str]] = [[] for _ in range(count)]
    heap = [(0, at) for at in range(count)]
    for name, size in sorted(sizes.items(), key=lambda item: -item[1]):
        filled, at = heap[0]
        parts[at].append(name)
        heapreplace(heap, (filled + size, at))
    return parts
