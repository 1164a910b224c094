"""MindSpore's functions that load the files of several ranks, or of several parts, into nets."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from ckptload.binding.loading import check_arguments, load_param_into_net
from ckptload.converting.executors import check_executor
from ckptload.encryption.ciphers import AES_GCM
from ckptload.encryption.keys import hidden
from ckptload.errors import ArgumentError, ArgumentTypeError, MissingFileError, NothingSelectedError
from ckptload.foreign.giving import AUTO
from ckptload.formats.entry import CKPT, SAFETENSORS
from ckptload.loading import load_checkpoint
from ckptload.messages import counted, listed, shown_value, type_name, warn
from ckptload.ranks import communicators
from ckptload.ranks.layout import SliceLayout
from ckptload.ranks.opening import open_distributed
from ckptload.ranks.strategy import Strategy
from ckptload.ranks.strategy_files import folder_paths, read_strategy
from ckptload.resharding.cutting import Job
from ckptload.resharding.rank_files import chosen_ranks
from ckptload.resharding.rank_sets import RankSet

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from ckptload.filters import Prefixes

_FORMATS: Final = (CKPT, SAFETENSORS)
#: Variable by which MindSpore's launchers tell a process its rank.
_RANK: Final = "RANK_ID"
_NUMBER: Final = re.compile(r"[0-9]{1,7}")
#: Places in the lists by which MindSpore describes a layout (2.10.0, parallel/_parallel_serialization.py:637).
_MATRIX, _MAP, _FIELD, _GROUP = 0, 1, 3, 5


def load_distributed_checkpoint(
    network: Any,
    checkpoint_filenames: Sequence[str | os.PathLike[str]] | None = None,
    predict_strategy: Any = None,
    train_strategy_filename: Any = None,
    strict_load: bool = False,
    dec_key: bytes | None = None,
    dec_mode: str = AES_GCM,
    format: str = CKPT,
    unified_safetensors_dir: str | os.PathLike[str] | None = None,
    dst_safetensors_dir: str | os.PathLike[str] | None = None,
    rank_id: int | None = None,
    output_format: str = SAFETENSORS,
    name_map: Mapping[str, str] | None = None,
    max_process_num: int = 64,
    return_param_dict: bool = False,
    *,
    executor: Any = None,
    copies: str | None = None,
    parameters: str = AUTO,
) -> Any:
    """Load the files of several ranks into a net, or the slices of a unified folder into a net or into files.

    The arguments are those of MindSpore (2.10.0, parallel/checkpoint_transform.py:970).

    Args:
        network: the net; with ``format="safetensors"`` None to write files.
        checkpoint_filenames: for ``"ckpt"``: the files in the order of their ranks.
        predict_strategy: how the net is cut: a dictionary of layouts such as MindSpore's ``infer_predict_layout``
            returns, a path, or a `Strategy`; None for whole tensors.
        train_strategy_filename: for ``"ckpt"``: how the files are cut; None if nothing is.
        strict_load: for ``"ckpt"``: see `load_param_into_net`.
        dec_key: for ``"ckpt"``: key of encrypted files.
        dec_mode: for ``"ckpt"``: ``"AES-GCM"``, ``"AES-CBC"`` or ``"SM4-CBC"``.
        format: ``"ckpt"`` for rank files of either format, ``"safetensors"`` for a unified folder.
        unified_safetensors_dir: for ``"safetensors"``: the folder (`unified_safetensors`).
        dst_safetensors_dir: without a net: folder for ``rank_<r>/net.safetensors``.
        rank_id: the rank of the net, or the only rank to write; None for that of this process, by the communicator that
            it has set up, or by the variable ``RANK_ID``, else 0; or to write all.
        output_format: of the files that are written, ``"safetensors"`` or ``"ckpt"``.
        name_map: for ``"safetensors"``: for names of the net the names in the files.
        max_process_num: accepted but not used: two files are written at a time.
        return_param_dict: with ``"safetensors"`` and a net: return the slices, and leave the net as it is.
        executor: does a task for each file that is written; see `reshard_checkpoints`.
        copies: what happens to copies that differ; see `open_distributed`.
        parameters: what the tensors of `return_param_dict` are; see `load_checkpoint`.

    Returns:
        True for ``"ckpt"`` and for files. Into a net: the names of its parameters that were not loaded, and the names
        that were not used; or a dictionary of what would be loaded.

    Raises:
        ArgumentTypeError: an argument is of the wrong type (also a TypeError).
        ArgumentError: arguments exclude each other or have an invalid value.
        CheckpointError: the files cannot be read, do not fit their strategy, or do not fit the net (`BindingError`).
    """
    dec_key = hidden(dec_key)
    del max_process_num
    for value in (format, output_format):
        if value not in _FORMATS:
            raise ArgumentError(f"format and output_format must be 'ckpt' or 'safetensors', not {shown_value(value)}")
    goal = _strategy_of(predict_strategy)
    if format == CKPT:
        _load_ranks(
            network,
            checkpoint_filenames,
            goal,
            train_strategy_filename,
            strict_load,
            dec_key,
            dec_mode,
            rank_id,
            copies,
        )
        return True
    if unified_safetensors_dir is None:
        raise ArgumentError("format='safetensors' needs unified_safetensors_dir", hint="name the unified folder")
    if (checkpoint_filenames, train_strategy_filename, dec_key) != (None, None, None):
        raise ArgumentError(
            "checkpoint_filenames, train_strategy_filename and dec_key do not apply to format='safetensors'"
        )
    if strict_load or dec_mode != AES_GCM:
        raise ArgumentError("strict_load and dec_mode do not apply to format='safetensors'")
    inverse = _inverse(name_map)
    goal = _renamed(goal, inverse)
    if network is not None:
        kind = parameters if return_param_dict else None
        return _into_net(network, unified_safetensors_dir, goal, rank_id, inverse, copies, kind)
    if dst_safetensors_dir is None:
        raise ArgumentError("without a network, dst_safetensors_dir must be given", hint="name the folder to write to")
    check_executor(executor)
    wanted = chosen_ranks(None if rank_id is None else [rank_id], 1 if goal is None else goal.ranks)
    set_ = RankSet.of(unified_safetensors_dir, None, goal, copies=copies)
    with set_.open() as reader_of:
        job = Job(
            set_, reader_of, dst_safetensors_dir, output_format, wanted, lambda _: "net", synced=False, names=inverse
        )
        job.run(executor)
    return True


def _load_ranks(
    network: Any,
    files: Any,
    goal: Strategy | None,
    strategy: Any,
    strict_load: bool,
    dec_key: Any,
    dec_mode: str,
    rank_id: int | None,
    copies: str | None,
) -> None:
    """Load rank files into a net."""
    if isinstance(files, (str, bytes)) or not isinstance(files, (list, tuple)) or not files:
        raise ArgumentTypeError(
            f"checkpoint_filenames must be a list of paths in the order of ranks, not {type_name(files)}"
        )
    check_arguments(network, strict_load)
    if strategy is not None and (ranks := read_strategy(strategy).ranks) != len(files):
        raise ArgumentError(
            f"there are {counted(len(files), 'file')}, and the strategy is one of {counted(ranks, 'rank')}",
            hint="give the files of all ranks, in their order",
        )
    with open_distributed(
        list(files),
        strategy,
        to=goal,
        rank=None if goal is None else _own_rank(rank_id, goal),
        copies=copies,
        dec_key=dec_key,
        dec_mode=dec_mode,
    ) as reader:
        load_param_into_net(network, reader, strict_load)


def _into_net(
    network: Any,
    folder: Any,
    goal: Strategy | None,
    rank_id: int | None,
    names: Mapping[str, str],
    copies: str | None,
    kind: str | None,
) -> Any:
    """Load the slices of a unified folder into a net, or return them as Parameters of a kind."""
    rank = None if goal is None else _own_rank(rank_id, goal)
    with open_distributed(folder, None, to=goal, rank=rank, copies=copies, parameters=kind or AUTO) as reader:
        if kind is not None:
            return {names.get(name, name): value for name, value in reader.load().items()}
        rename = (lambda name: names.get(name, name)) if names else None
        return load_param_into_net(network, reader, name_map=rename)


def _strategy_of(given: Any) -> Strategy | None:
    """Return the strategy of a net, which MindSpore gives as a dictionary of lists."""
    if given is None:
        return None
    if not isinstance(given, Mapping):
        return read_strategy(given)
    return Strategy([{name: _layout_of(name, value) for name, value in given.items()}])


def _layout_of(name: object, value: Any) -> SliceLayout:
    if isinstance(value, SliceLayout):
        return value
    if not isinstance(name, str) or not isinstance(value, (list, tuple)) or len(value) <= _FIELD or value[_FIELD] != 0:
        raise ArgumentError(
            "predict_strategy must map names to lists that begin with a device matrix, a tensor map, a shape and 0",
            name=name if isinstance(name, str) else None,
            hint="pass what infer_predict_layout() returns, or the path of a strategy file",
        )
    if len(value) > _GROUP and value[_GROUP]:
        raise ArgumentError(
            "predict_strategy names a group of devices for an optimizer shard, and only a running graph knows it",
            name=name,
            hint="pass the path of the net's strategy file instead",
        )
    # The third is the shape of a slice, which the layout does not need.
    return SliceLayout(value[_MATRIX], value[_MAP])


def _inverse(name_map: Mapping[str, str] | None) -> dict[str, str]:
    """Return the names of the net for names in the files."""
    if name_map is None:
        return {}
    if not isinstance(name_map, Mapping):
        raise ArgumentTypeError(f"name_map must be a dict or None, not {type_name(name_map)}")
    found: dict[str, str] = {}
    for ours, theirs in name_map.items():
        if not isinstance(ours, str) or not isinstance(theirs, str):
            raise ArgumentTypeError(
                f"name_map must map names to names; it has {shown_value(ours)}: {shown_value(theirs)}"
            )
        if theirs in found:
            raise ArgumentError(f"name_map gives it to {found[theirs]!r} and to {ours!r}", name=theirs)
        found[theirs] = ours
    return found


def _renamed(goal: Strategy | None, inverse: Mapping[str, str]) -> Strategy | None:
    """Return the strategy with the names that the files have."""
    if goal is None or not inverse:
        return goal
    theirs = {ours: name for name, ours in inverse.items()}
    stages = [{theirs.get(name, name): goal.layout(name, k) for name in goal.names(k)} for k in range(goal.stages)]
    return Strategy(stages, path=goal.path)


def _own_rank(rank_id: int | None, goal: Strategy) -> int:
    """Return the rank of the net in this process."""
    if rank_id is None and (communicator := communicators.found()) is not None:
        rank_id = communicator.rank
    if rank_id is None:
        told = os.environ.get(_RANK, "")
        if not _NUMBER.fullmatch(told):
            warn(f"neither rank_id nor the variable {_RANK} says which rank this is; the slices of rank 0 are loaded")
        rank_id = int(told) if _NUMBER.fullmatch(told) else 0
    return chosen_ranks([rank_id], goal.ranks)[0]


# -- files of one folder ------------------------------------------------------------------------------------------


def load_segmented_checkpoints(
    ckpt_file_dir: str | os.PathLike[str],
    net: Any = None,
    strict_load: bool = False,
    filter_prefix: Prefixes = None,
    dec_key: bytes | None = None,
    dec_mode: str = AES_GCM,
    specify_prefix: Prefixes = None,
    choice_func: Callable[[str], Any] | None = None,
    *,
    parameters: str = AUTO,
) -> dict[str, Any]:
    """Load all .ckpt files of one folder as one dictionary, such as the parts that `transform_checkpoints` writes.

    The arguments are those of MindSpore (2.10.0, parallel/checkpoint_transform.py:823); all but the first are as for
    `load_checkpoint`.

    Args:
        ckpt_file_dir: the folder. Its files are loaded in natural order: ``part2`` before ``part10``.
        net: network to load the values into as well.
        strict_load: with `net`: only exact names and dtypes match.
        filter_prefix: prefix or prefixes; entries whose names start with one are left out.
        dec_key: key of encrypted files.
        dec_mode: ``"AES-GCM"``, ``"AES-CBC"`` or ``"SM4-CBC"``.
        specify_prefix: prefix or prefixes; only entries whose names start with one are loaded.
        choice_func: called with each name; returns whether to load the entry.
        parameters: what tensors are loaded as.

    Returns:
        A plain dict, of which every value owns its memory; empty if there is no file.

    Raises:
        ArgumentTypeError: an argument is of the wrong type (also a TypeError).
        MissingFileError: there is no such folder.
        CheckpointError: a file cannot be read or is damaged, the filter keeps nothing of any file, or values do not
            fit the net.

    Warns:
        UserWarning: a name is in two files; the value of the last is taken.
    """
    dec_key = hidden(dec_key)
    if not isinstance(ckpt_file_dir, (str, os.PathLike)):
        raise ArgumentTypeError(f"ckpt_file_dir must be a str or a Path, not {type_name(ckpt_file_dir)}")
    if net is not None:
        check_arguments(net, strict_load)
    found: dict[str, Any] = {}
    twice: dict[str, None] = {}
    nothing: NothingSelectedError | None = None
    for path in _parts(ckpt_file_dir):
        try:
            more = load_checkpoint(
                path,
                filter_prefix=filter_prefix,
                dec_key=dec_key,
                dec_mode=dec_mode,
                specify_prefix=specify_prefix,
                choice_func=choice_func,
                parameters=parameters,
            )
        except NothingSelectedError as error:
            nothing = error
            continue
        twice.update(dict.fromkeys(name for name in more if name in found))
        found.update(more)
    if nothing is not None and not found:
        raise nothing
    if twice:
        said = counted(len(twice), "name is", "names are")
        warn(f"{said} in several files, the last of which counts: {listed(list(twice))}")
    if net is not None and found:
        load_param_into_net(net, found, strict_load)
    return found


def _parts(folder: str | os.PathLike[str]) -> list[str]:
    """Return the .ckpt files of a folder in natural order."""
    if not Path(folder).is_dir():
        raise MissingFileError("there is no such folder", path=os.fspath(folder), hint="pass the folder of the files")
    return folder_paths(os.fspath(folder), (f".{CKPT}",))
