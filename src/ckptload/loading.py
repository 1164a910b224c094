"""`load_checkpoint` and `load_checkpoint_async`, from the arguments to the result."""

from __future__ import annotations

import os
from contextlib import suppress
from functools import cache, partial
from typing import TYPE_CHECKING, Any

from ckptload import filters
from ckptload.binding.completing import Beside, Ways, told
from ckptload.binding.loading import check_arguments, check_flags, load_param_into_net, load_share
from ckptload.encryption.ciphers import AES_GCM, load_library
from ckptload.encryption.keys import hidden
from ckptload.errors import ArgumentTypeError, EmptyCheckpointError, PartialChecksumWarning
from ckptload.foreign.giving import AUTO, OURS, chosen
from ckptload.formats.entry import CKPT, SAFETENSORS, check_format
from ckptload.formats.limits import MAX_RECORDS
from ckptload.messages import type_name, warn
from ckptload.ranks.beside import files_beside
from ckptload.ranks.opening import open_distributed
from ckptload.ranks.strategy_files import read_strategy
from ckptload.reading.access import Access
from ckptload.reading.advice import misnamed
from ckptload.reading.opening import again, is_index, open_with
from ckptload.reading.reader import ALLOW, RAISE
from ckptload.reading.values import given
from ckptload.threads import Task

if TYPE_CHECKING:
    from collections.abc import Callable

    from ckptload.filters import Prefixes
    from ckptload.reading.reader import Reader


def load_checkpoint(
    ckpt_file_name: Any,
    net: Any = None,
    strict_load: bool = False,
    filter_prefix: Prefixes = None,
    dec_key: bytes | None = None,
    dec_mode: str = AES_GCM,
    specify_prefix: Prefixes = None,
    choice_func: Callable[[str], Any] | None = None,
    crc_check: bool = False,
    remove_redundancy: bool = False,
    format: str = CKPT,
    *,
    allow_unauthenticated: bool = False,
    max_records: int = MAX_RECORDS,
    skip_misfits: bool = False,
    parameters: str = AUTO,
    strategy: Any = None,
    communicator: Any = None,
) -> dict[str, Any]:
    """Load all or some entries of a checkpoint.

    The filter is applied to the names before any tensor data is read. Only selected entries are read.

    Args:
        ckpt_file_name: path that ends in `format`, or that of an index of safetensors files; or a seekable binary
            file object, read from its start.
        net: network to load the values into as well, with `load_param_into_net`.
        strict_load: with `net`: only exact names and dtypes match. False also matches the ends of names and
            converts between floats and between signed integers.
        filter_prefix: prefix or prefixes; entries whose names start with one are left out.
        dec_key: key of an encrypted file: 16, 24 or 32 bytes for AES, 16 for SM4.
        dec_mode: ``"AES-GCM"``, ``"AES-CBC"`` or ``"SM4-CBC"``; used only with `dec_key`.
        specify_prefix: prefix or prefixes; only entries whose names start with one are loaded.
        choice_func: called once with each name; returns whether to load the entry. Not called if a prefix
            is given.
        crc_check: compare the CRC-32 in the file with that of its bytes; warn if the file has none, or if it leaves
            something out.
        remove_redundancy: the file is that of one rank of parallel training with redundancy removed. With `net`, what
            it lacks comes from the rank folders beside its own, or from the other ranks, all of which make this call
            (docs/ranks.md, "On a cluster"). If a safetensors file says whether it is deduplicated, the file's value is
            used (with a warning if they differ), but only the argument makes ranks talk.
        format: ``"ckpt"`` or ``"safetensors"``.
        allow_unauthenticated: open AES-GCM files with data that no tag covers (docs/security.md).
        max_records: largest number of records, or of tensors in a safetensors file (docs/security.md).
        skip_misfits: with `net`: load what fits, if anything does; the other parameters keep their values.
        parameters: what tensors are loaded as: ``"mindspore"`` for ``mindspore.Parameter``, ``"ckptload"`` for
            `Parameter`, ``"torch"`` for ``torch.Tensor``, ``"numpy"`` for arrays. ``"auto"`` is ``"mindspore"``
            if this process has imported MindSpore, and ``"ckptload"`` otherwise.
        strategy: with `net` and `remove_redundancy`: the strategy of the job, or its path; None if every rank has the
            whole net.
        communicator: with `net` and `remove_redundancy`: how the ranks talk; it is then used even where there are
            rank folders. None takes them, or else the communicator that torch.distributed, MindSpore or mpi4py has
            set up in this process. Or an object with that interface (docs/ranks.md, "On a cluster").

    Returns:
        A plain dict of the file's entries in file order. It maps each name to a Parameter, a str, a list of read-only
        arrays (a map) or bytes (a random state). Every value owns its memory: the arrays of Parameters are
        aligned, writable, C-contiguous and independent of the file.

    Raises:
        ArgumentTypeError: an argument is of the wrong type (also a TypeError).
        ArgumentError: an argument has an invalid value.
        CheckpointError: the file cannot be read, is damaged, encrypted or of another kind, or the
            filter keeps nothing. All errors are ValueErrors.
        UnsupportedTypeError: a type in the file is not supported, or the Parameters asked for cannot hold it; `net` is
            unchanged.
        MissingPackageError: `parameters` needs a package that is not installed (also an ImportError).
        BindingError: values do not fit `net`; or nothing matches, and `net` is a module of torch or `skip_misfits` is
            True (see `load_param_into_net`); or parameters are in no rank's file. The net is unchanged (also a
            RuntimeError).
        RankError: another rank failed (see `load_param_into_net`).

    Warns:
        ForeignFieldWarning: the file has fields that no version of MindSpore writes, so parameters may be missing.
        PartialChecksumWarning: with `crc_check`, the CRC-32 matches and does not cover everything in the file.
    """
    dec_key = hidden(dec_key)
    kind = chosen(parameters)
    is_share = net is not None and (remove_redundancy is True or communicator is not None)
    with told(communicator, asked=is_share):
        filters.check_choice(choice_func)
        filters.prefixes(specify_prefix, "specify_prefix")
        filters.prefixes(filter_prefix, "filter_prefix")
        check_flags(crc_check=crc_check, remove_redundancy=remove_redundancy, skip_misfits=skip_misfits)
        # None, too, is not a format here (MindSpore 2.10.0, train/serialization.py, _check_file).
        check_format(format)
        access = Access(
            format=format,
            key=dec_key,
            mode=dec_mode,
            allow_unauthenticated=allow_unauthenticated,
            max_records=max_records,
            watches_name=False,
            # Authenticate first if `choice_func` will see names or a CRC-32 error could tell about the bytes:
            # nothing unauthenticated may reach the caller.
            authenticates=choice_func is not None or crc_check,
        )
        _check_name(ckpt_file_name, format)
        if net is not None:
            check_arguments(net, strict_load)
    # A set of shards that is replaced meanwhile is read again, and other ranks may have files, but no name is asked
    # about twice.
    again_asked = format == SAFETENSORS or net is not None
    chooses = cache(choice_func) if again_asked and callable(choice_func) else choice_func

    def read() -> tuple[dict[str, Any], bool]:
        with open_with(ckpt_file_name, access) as reader:
            with reader.vouched():
                wanted = _wanted(reader, chooses, specify_prefix, filter_prefix)
                redundancy = _redundancy(reader, remove_redundancy)
                if crc_check:
                    _verify_crc(reader)
                wanted.giving(kind).check_dtypes()
                values = wanted.load()
            if reader.cipher is not None and not access.authenticates:
                reader.warn_of_foreign_fields()
        return values, redundancy

    if net is None:
        return given(again(read)[0], kind)

    def choose(reader: Reader) -> Reader:
        return reader.select(
            choice_func=chooses, specify_prefix=specify_prefix, filter_prefix=filter_prefix, if_empty=ALLOW
        )

    ways = Ways(
        asked=is_share,
        strategy=strategy,
        communicator=communicator,
        beside=partial(_beside, ckpt_file_name, access, strategy, choose),
    )
    return given(_into(net, read, ways, strict_load, skip_misfits=skip_misfits), kind)


def _into(
    net: Any, read: Callable[[], tuple[dict[str, Any], bool]], ways: Ways, strict_load: bool, *, skip_misfits: bool
) -> dict[str, Any]:
    """Load into a net what a file holds, and what other ranks hold beside it; return the file's values."""
    values: dict[str, Any] = {}

    def own() -> dict[str, Any]:
        # A rank may have no share, and its file nothing in it.
        with suppress(EmptyCheckpointError):
            values.update(again(read)[0])
        return values

    if ways.asked:
        load_share(net, own, strict_load, ways, skip_misfits=skip_misfits)
        return values
    values, is_share = again(read)
    if is_share:
        load_share(net, lambda: values, strict_load, ways, skip_misfits=skip_misfits)
    else:
        load_param_into_net(net, values, strict_load, skip_misfits=skip_misfits)
    return values


def _beside(source: object, access: Access, strategy: Any, choose: Callable[[Reader], Reader]) -> Beside | None:
    """Open what the rank folders beside a file hold for its rank; None if there are none."""
    place = os.fspath(source) if isinstance(source, (str, os.PathLike)) else None
    found = files_beside(place) if isinstance(place, str) else None
    if found is None:
        return None
    rank, paths = found
    layouts = None if strategy is None else read_strategy(strategy)
    reader = open_distributed(
        paths,
        layouts,
        to=layouts,
        rank=None if layouts is None else rank,
        dec_key=hidden(access.key),
        dec_mode=access.mode,
        allow_unauthenticated=access.allow_unauthenticated,
        max_records=access.max_records,
        parameters=OURS,
    )
    return Beside(choose(reader), rank, reader.close)


def _wanted(
    reader: Reader, choice_func: Callable[[str], Any] | None, specify_prefix: Prefixes, filter_prefix: Prefixes
) -> Reader:
    wanted = reader.select(
        choice_func=choice_func, specify_prefix=specify_prefix, filter_prefix=filter_prefix, if_empty=RAISE
    )
    if not wanted:
        raise EmptyCheckpointError("the file has no tensors", path=reader.path, hint="save it again")
    return wanted


def _verify_crc(reader: Reader) -> None:
    """Compare the CRC-32 in the file with that of its bytes, and warn of what it does not cover."""
    if not reader.verify_crc():
        warn(f"{reader.path} has no CRC-32, so crc_check=True checked nothing")
    elif gaps := reader.coverage().gaps:
        warn(
            f"{reader.path} has a CRC-32 that matches but does not cover everything: {'; '.join(gaps)}",
            PartialChecksumWarning,
        )


def _check_name(source: object, format: str) -> None:
    """Check that a path ends in the format (MindSpore 2.10.0, train/serialization.py, _check_file)."""
    if isinstance(source, (str, os.PathLike)):
        name = os.fspath(source)
        fits = isinstance(name, str) and (name.endswith(format) or (format == SAFETENSORS and is_index(name)))
        if isinstance(name, str) and not fits:
            raise misnamed(name, format, f"the name does not end in {format!r}")
    if isinstance(source, (bytes, bytearray, memoryview)):
        raise ArgumentTypeError(
            f"a checkpoint is loaded from a path or a binary file object, not from {type_name(source)}",
            hint="wrap content in io.BytesIO; pass a path as str",
        )


def _redundancy(reader: Reader, argument: bool) -> bool:
    """Return the flag of the file, or the argument if it has none; warn if they differ.

    The file's flag wins in MindSpore, too (2.10.0, train/serialization.py, _check_remove_redundancy).
    """
    flag = reader.metadata.get("remove_redundancy")
    if flag not in ("True", "False"):
        return argument
    found = flag == "True"
    if found is not argument:
        said = "has been deduplicated for parallel training" if found else "has not been deduplicated"
        warn(f"{reader.path} says that it {said}, so that remove_redundancy={argument} is taken for {found}")
    return found


# -- in the background -----------------------------------------------------------------------------------------


class ParamDictFuture:
    """A checkpoint that is being loaded."""

    def __init__(self, task: Task[dict[str, Any]]) -> None:
        self._task = task

    def result(self) -> dict[str, Any]:
        """Wait for the load to end, and return what `load_checkpoint` returns.

        Every call returns the same dictionary.

        Raises:
            CheckpointError: what `load_checkpoint` raised; every call raises it again.
        """
        return self._task.result()

    def done(self) -> bool:
        """Tell whether the load has ended, with a result or an error."""
        return self._task.ended


def load_checkpoint_async(
    ckpt_file_name: Any,
    net: Any = None,
    strict_load: bool = False,
    filter_prefix: Prefixes = None,
    dec_key: bytes | None = None,
    dec_mode: str = AES_GCM,
    specify_prefix: Prefixes = None,
    choice_func: Callable[[str], Any] | None = None,
    *,
    allow_unauthenticated: bool = False,
    max_records: int = MAX_RECORDS,
    skip_misfits: bool = False,
    parameters: str = AUTO,
) -> ParamDictFuture:
    """Start loading a checkpoint in the background.

    Each call has its own thread, so several calls load at the same time. That thread calls `choice_func`
    and writes into `net`: do not use `net` until the result is available.

    Args:
        ckpt_file_name: path. It is loaded as safetensors if it ends in ``.safetensors`` or is that of an index of
            shards, otherwise as ckpt.
        net: network to load the values into as well, with `load_param_into_net`.
        strict_load: with `net`: only exact names and dtypes match. False also matches the ends of names and
            converts between floats and between signed integers.
        filter_prefix: prefix or prefixes; entries whose names start with one are left out.
        dec_key: key of an encrypted file: 16, 24 or 32 bytes for AES, 16 for SM4.
        dec_mode: ``"AES-GCM"``, ``"AES-CBC"`` or ``"SM4-CBC"``; used only with `dec_key`.
        specify_prefix: prefix or prefixes; only entries whose names start with one are loaded.
        choice_func: called once with each name; returns whether to load the entry. Not called if a prefix
            is given.
        allow_unauthenticated: open AES-GCM files with data that no tag covers (docs/security.md).
        max_records: largest number of records, or of tensors in a safetensors file (docs/security.md).
        skip_misfits: with `net`: load what fits, if anything does; the other parameters keep their values.
        parameters: what tensors are loaded as; see `load_checkpoint`. ``"auto"`` is decided now.

    Returns:
        A future. Its ``result()`` returns or raises what `load_checkpoint` does.

    Raises:
        ArgumentTypeError: `ckpt_file_name` is not a path, `choice_func` not a function, or `parameters` not a str.
        ArgumentError: `parameters` is not a known kind.
        MissingPackageError: `parameters` needs a package that is not installed.
            Every other error comes from ``result()``.
    """
    dec_key = hidden(dec_key)
    filters.check_choice(choice_func)
    path = os.fspath(ckpt_file_name) if isinstance(ckpt_file_name, (str, os.PathLike)) else None
    if not isinstance(path, str):
        raise ArgumentTypeError(
            f"a checkpoint is loaded in the background from a path, not from {type_name(ckpt_file_name)}",
            hint="load open files and bytes with load_checkpoint",
        )
    if dec_key is not None:
        # Not in the thread, which could wait for an import that a signal handler here has interrupted.
        load_library()
    load = partial(
        load_checkpoint,
        path,
        net,
        strict_load,
        filter_prefix,
        dec_key,
        dec_mode,
        specify_prefix,
        choice_func,
        allow_unauthenticated=allow_unauthenticated,
        max_records=max_records,
        skip_misfits=skip_misfits,
        parameters=chosen(parameters),
    )
    # The file is looked at in the background, too.
    return ParamDictFuture(_begun(lambda: load(format=_format_of(path))))


def _format_of(path: str) -> str:
    return SAFETENSORS if path.endswith("." + SAFETENSORS) or is_index(path) else CKPT


def _begun(load: Callable[[], dict[str, Any]]) -> Task[dict[str, Any]]:
    """Call `load` in its own thread; if no thread can be started, call it before returning."""
    task = Task(load)
    try:
        task.begin("ckptload-load")
    except (RuntimeError, MemoryError):
        task.do()
    return task
