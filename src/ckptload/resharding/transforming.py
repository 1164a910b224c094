"""MindSpore's functions that cut checkpoints for other devices, with its arguments and its file names.

What they get wrong or leave out there is right here (docs/ranks.md, "MindSpore's functions").
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from ckptload import threads
from ckptload.converting.executors import check_executor
from ckptload.converting.jobs import check_progress, make_folder, path_of
from ckptload.encryption.ciphers import AES_GCM
from ckptload.encryption.keys import hidden
from ckptload.errors import ArgumentError, ArgumentTypeError
from ckptload.formats.entry import CKPT, SAFETENSORS
from ckptload.messages import shown_text, shown_value, type_name
from ckptload.ranks.folders import find
from ckptload.ranks.strategy import Strategy
from ckptload.ranks.strategy_files import read_file, read_strategy
from ckptload.resharding.cutting import Job, stems
from ckptload.resharding.rank_files import RankTask, chosen_ranks, write_rank
from ckptload.resharding.rank_sets import RankSet
from ckptload.writing.targets import place

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from ckptload.converting.jobs import Progress

#: Names that MindSpore does not count when it decides whether a source is a part of a net
#: (2.10.0, parallel/checkpoint_transform.py, transform_checkpoints).
_NOT_COUNTED: Final = ("accu_grads", "adam_v", "adam_m")


def transform_checkpoints(
    src_checkpoints_dir: Any,
    dst_checkpoints_dir: str | os.PathLike[str],
    ckpt_prefix: str,
    src_strategy_file: Any = None,
    dst_strategy_file: Any = None,
    process_num: int = 1,
    output_format: str = CKPT,
    *,
    ranks: Iterable[int] | None = None,
    executor: Any = None,
    file_suffix: str | None = None,
    copies: str | None = None,
    dec_key: bytes | None = None,
    dec_mode: str = AES_GCM,
    progress: Progress | None = None,
) -> None:
    """Cut a set of rank files for other devices, or merge it, in little memory whatever its size.

    Writes ``<dst>/rank_<r>/<prefix><r>.ckpt`` for each rank of the target. If the source is .ckpt files of one stage
    whose strategy has a part of the target's names, the files are called ``<prefix><r>_part<stage>.ckpt``, for
    `load_segmented_checkpoints` (MindSpore 2.10.0, parallel/checkpoint_transform.py:578). Without an executor, all
    files of the call replace old ones together; otherwise each when it is complete. `reshard_checkpoints` is the same
    with more to choose.

    Args:
        src_checkpoints_dir: whatever `open_distributed` accepts, such as a folder of rank folders, of either format.
        dst_checkpoints_dir: folder for the rank folders; it is made if it is not there.
        ckpt_prefix: beginning of the files' names.
        src_strategy_file: the strategy of the source, as a path or a `Strategy`; None if nothing is cut.
        dst_strategy_file: that of the target; None for whole tensors, in ``rank_0``.
        process_num: number of files that are written at a time, in threads; at least two.
        output_format: ``"ckpt"`` or ``"safetensors"``.
        ranks: the ranks to write; None for all.
        executor: does a task for each file; see `reshard_checkpoints`.
        file_suffix: which of several files in a rank folder, by the end of its name.
        copies: what happens to copies that differ; see `open_distributed`.
        dec_key: key of encrypted files; results are not encrypted.
        dec_mode: ``"AES-GCM"``, ``"AES-CBC"`` or ``"SM4-CBC"``.
        progress: called with the bytes done and the total; an exception from it ends the job.

    Raises:
        ArgumentTypeError: an argument is of the wrong type (also a TypeError).
        ArgumentError: an argument has an invalid value.
        CheckpointError: the source cannot be read, does not fit its strategy or has parts that no file holds; or a
            file cannot be written.
    """
    dec_key = hidden(dec_key)
    _check_format(output_format)
    _check_number(process_num)
    check_executor(executor)
    check_progress(progress)
    source, ending = _part(src_checkpoints_dir, src_strategy_file, dst_strategy_file, file_suffix)
    set_ = RankSet.of(
        source,
        src_strategy_file,
        dst_strategy_file,
        file_suffix=file_suffix,
        copies=copies,
        dec_key=dec_key,
        dec_mode=dec_mode,
    )
    beyond = 1 if dst_strategy_file is None else read_strategy(dst_strategy_file).ranks
    wanted = chosen_ranks(ranks, beyond)
    stem = stems(ckpt_prefix, ending)
    with set_.open() as reader_of:
        job = Job(set_, reader_of, dst_checkpoints_dir, output_format, wanted, stem, synced=False)
        job.run(executor, progress, workers=max(process_num, threads.THREADS))


def transform_checkpoint_by_rank(
    rank_id: int,
    checkpoint_files_map: Mapping[int, str | os.PathLike[str]],
    save_checkpoint_file_name: str | os.PathLike[str],
    src_strategy_file: Any = None,
    dst_strategy_file: Any = None,
    *,
    copies: str | None = None,
    dec_key: bytes | None = None,
    dec_mode: str = AES_GCM,
) -> None:
    """Write the file of one rank of the target; it replaces an old one when it is complete.

    The arguments are those of MindSpore (2.10.0, parallel/checkpoint_transform.py:354).

    Args:
        rank_id: the rank of the target.
        checkpoint_files_map: the file of each rank of the source that is needed (`rank_list_for_transform`), or of
            more.
        save_checkpoint_file_name: the file to write, whose name ends in ``.ckpt`` or ``.safetensors``. Its folder is
            made if it is not there.
        src_strategy_file: the strategy of the source, as a path or a `Strategy`; None if nothing is cut.
        dst_strategy_file: that of the target; None for whole tensors.
        copies: what happens to copies that differ; see `open_distributed`.
        dec_key: key of encrypted files; the result is not encrypted.
        dec_mode: ``"AES-GCM"``, ``"AES-CBC"`` or ``"SM4-CBC"``.

    Raises:
        ArgumentTypeError: an argument is of the wrong type (also a TypeError).
        ArgumentError: an argument has an invalid value.
        CheckpointError: the source cannot be read, does not fit its strategy or has parts that no file holds; or the
            file cannot be written.
    """
    dec_key = hidden(dec_key)
    if not isinstance(checkpoint_files_map, dict):
        raise ArgumentTypeError(
            f"checkpoint_files_map must be a dict of ranks and paths, not {type_name(checkpoint_files_map)}"
        )
    if isinstance(rank_id, bool) or not isinstance(rank_id, int):
        raise ArgumentTypeError(f"rank_id must be an int, not {type_name(rank_id)}")
    given = path_of("save_checkpoint_file_name", save_checkpoint_file_name)
    path = Path(place(given))
    kind = path.suffix.removeprefix(".")
    if kind not in (CKPT, SAFETENSORS):
        raise ArgumentError(
            f"the name {shown_text(path.name)} does not say which format to write",
            hint="use a name that ends in .ckpt or .safetensors",
        )
    chosen_ranks([rank_id], 1 if dst_strategy_file is None else read_strategy(dst_strategy_file).ranks)
    set_ = RankSet.of(
        checkpoint_files_map, src_strategy_file, dst_strategy_file, copies=copies, dec_key=dec_key, dec_mode=dec_mode
    )
    make_folder(path)
    write_rank(RankTask(set_, rank_id, str(path), kind, synced=False))


def _part(source: Any, strategy: Any, to: Any, file_suffix: str | None) -> tuple[Any, str]:
    """Return what to read, and how the files' names end, if the source may be one stage of a net in .ckpt files.

    MindSpore 2.10.0, parallel/checkpoint_transform.py, _transform_checkpoint_by_stage.
    """
    if strategy is None or to is None:
        return source, ""
    mine, goal = read_strategy(strategy), read_strategy(to)
    if mine.stages != 1 or goal.stages != 1 or not _counted(mine) < _counted(goal):
        return source, ""
    files = find(source, file_suffix)
    if not files.paths or not all(path.endswith(f".{CKPT}") for path in files.paths.values()):
        return source, ""
    stage = _stage_of(strategy)
    first = stage * mine.ranks
    own = {rank - first: path for rank, path in files.paths.items() if first <= rank < first + mine.ranks}
    return (own if stage and own else source), f"_part{stage}"


def _counted(strategy: Strategy) -> set[str]:
    return {name for name in strategy.names() if not name.startswith(_NOT_COUNTED)}


def _stage_of(strategy: Any) -> int:
    """Return the stage of the pipeline that a file of one stage is of."""
    path = strategy.path if isinstance(strategy, Strategy) else strategy
    if path is None or (isinstance(path, (str, os.PathLike)) and Path(path).is_dir()):
        return 0
    file = read_file(path)
    return 0 if file.is_merged else file.stage


def _check_format(output_format: object) -> None:
    if output_format not in (CKPT, SAFETENSORS):
        raise ArgumentError(f"output_format must be 'ckpt' or 'safetensors', not {shown_value(output_format)}")


def _check_number(process_num: object) -> None:
    if isinstance(process_num, bool) or not isinstance(process_num, int):
        raise ArgumentTypeError(f"process_num must be an int, not {type_name(process_num)}")
    if process_num < 1:
        raise ArgumentError(f"process_num must be 1 or more, not {shown_value(process_num)}")
