"""`load_checkpoint` and `open_checkpoint`: the whole flow on one screen."""

from __future__ import annotations

import os
import warnings
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any, Final

from ckptload import limits, names
from ckptload.binding import check_arguments, load_param_into_net
from ckptload.errors import (
    ArgumentError,
    ArgumentTypeError,
    ChangedFileError,
    CheckpointError,
    DecryptionError,
    EmptyCheckpointError,
    ReadError,
)
from ckptload.files import FileSource
from ckptload.inputs import open_source
from ckptload.limits import MAX_RECORDS
from ckptload.opening import open_ckpt
from ckptload.reader import Reader
from ckptload.safetensors_index import open_safetensors
from ckptload.sharded import ENDING, ShardedIndex, ShardedSource, is_index

if TYPE_CHECKING:
    from collections.abc import Callable

    from ckptload.names import Prefixes
    from ckptload.reader import Index
    from ckptload.sources import Source

CKPT: Final = "ckpt"
SAFETENSORS: Final = "safetensors"


def open_checkpoint(
    source: Any,
    *,
    format: str | None = None,
    dec_key: bytes | None = None,
    dec_mode: str = "AES-GCM",
    allow_unauthenticated: bool = False,
    mmap: bool = False,
    max_records: int = MAX_RECORDS,
) -> Reader:
    """Open a checkpoint of any size without reading its content.

    Args:
        source: path (str or os.PathLike), bytes, or a seekable binary file object, which stays open
            and belongs to the caller. The path may be that of an index of shards,
            ``model.safetensors.index.json``.
        format: ``"ckpt"`` or ``"safetensors"``; None tells them apart by the name or the first bytes.
        dec_key: key of an encrypted file: 16, 24 or 32 bytes for AES, 16 for SM4.
        dec_mode: ``"AES-GCM"``, ``"AES-CBC"`` or ``"SM4-CBC"``.
        allow_unauthenticated: open encrypted files whose content nothing protects from changes
            (docs/security.md).
        mmap: map the file; tensors are then views of it that may be unaligned. A mapped file that
            another program cuts short ends this process (docs/lazy.md).
        max_records: how many records, or tensors of a safetensors file, there may be (docs/security.md).

    Returns:
        A mapping of names to values, each read when it is asked for. It holds the file open; use it
        as a context manager. Values own their memory, unless `mmap` is set.

    Raises:
        CheckpointError: the file cannot be read, is damaged, encrypted, or of another kind.
        ArgumentTypeError: `source` is none of the above.
    """
    return _open(source, format, dec_key, dec_mode, allow_unauthenticated, max_records, mapped=mmap)


def _open(
    source: Any,
    format: str | None,
    dec_key: bytes | None,
    dec_mode: str,
    allow_unauthenticated: bool,
    max_records: int,
    *,
    mapped: bool = False,
    watches_name: bool = True,
    authenticates: bool = True,
) -> Reader:
    _check_key(dec_key, dec_mode)
    limits.check(max_records)
    with ExitStack() as stack:
        in_shards = format != CKPT and is_index(source)
        opened: Source = (
            ShardedSource(source, mapped=mapped, max_records=max_records)
            if in_shards
            else open_source(source, mapped=mapped)
        )
        stack.callback(opened.close)
        if isinstance(opened, FileSource):
            opened.watches_name = watches_name
        if format is None:
            format = _guess(opened)  # noqa: A001
        index = _open_index(
            opened, format, dec_key, dec_mode, allow_unauthenticated, max_records, authenticates=authenticates
        )
        stack.pop_all()
    reopen = (
        (_reopen, (opened.path, format, mapped, max_records)) if opened.path is not None and dec_key is None else None
    )
    return Reader(index, reopen=reopen)


def _reopen(path: str, format: str, mmap: bool, max_records: int) -> Reader:
    return open_checkpoint(path, format=format, mmap=mmap, max_records=max_records)


def _open_index(
    source: Source,
    format: str,
    key: bytes | None,
    mode: str,
    allow_unauthenticated: bool,
    max_records: int,
    *,
    authenticates: bool,
) -> Index:
    if format == CKPT:
        return open_ckpt(
            source,
            key,
            mode,
            allow_unauthenticated=allow_unauthenticated,
            max_records=max_records,
            authenticates=authenticates,
        )
    if format == SAFETENSORS:
        _check_format(format, key, "AES-GCM")
        if isinstance(source, ShardedSource):
            return ShardedIndex(source)
        return open_safetensors(source, max_records)
    raise ArgumentError(f"format must be 'ckpt' or 'safetensors', not {format!r}")


def _guess(source: Source) -> str:
    """Tell the format by the name, then by the first bytes."""
    if source.label.endswith("." + SAFETENSORS) or isinstance(source, ShardedSource):
        return SAFETENSORS
    # The length of a JSON header, and its first character; the bytes of an encrypted file can be a brace by chance.
    head = bytes(source.read(0, min(9, source.size)))
    is_header = head[8:9] == b"{" and int.from_bytes(head[:8], "little") <= source.size - 8
    return SAFETENSORS if is_header and not source.label.endswith("." + CKPT) else CKPT


def load_checkpoint(
    ckpt_file_name: Any,
    net: Any = None,
    strict_load: bool = False,
    filter_prefix: Prefixes = None,
    dec_key: bytes | None = None,
    dec_mode: str = "AES-GCM",
    specify_prefix: Prefixes = None,
    choice_func: Callable[[str], Any] | None = None,
    crc_check: bool = False,
    remove_redundancy: bool = False,
    format: str = CKPT,
    *,
    allow_unauthenticated: bool = False,
    max_records: int = MAX_RECORDS,
) -> dict[str, Any]:
    """Load a checkpoint, or the part of it that is wanted.

    The filter decides by name before any content is read, and only wanted content is read.

    Args:
        ckpt_file_name: path that ends in `format`; or a seekable binary file object, read from its start.
        net: network that the values are written into as well, by `load_param_into_net`.
        strict_load: with `net`: exact names and dtypes only.
        filter_prefix: prefix, or several; entries whose names begin so are left out.
        dec_key: key of an encrypted file: 16, 24 or 32 bytes for AES, 16 for SM4.
        dec_mode: ``"AES-GCM"``, ``"AES-CBC"`` or ``"SM4-CBC"``; looked at when there is a key.
        specify_prefix: prefix, or several; only entries whose names begin so are loaded.
        choice_func: asked once for each name whether to load it; not asked when there is a prefix.
        crc_check: compare the CRC-32 in the file with that of its bytes; warn if it has none.
        remove_redundancy: with `net`: refused, since it has a meaning in parallel training only. A
            safetensors file may say whether it is deduplicated, which then counts (with a warning).
        format: ``"ckpt"`` or ``"safetensors"``.
        allow_unauthenticated: open encrypted files whose content nothing protects from changes
            (docs/security.md).
        max_records: how many records, or tensors of a safetensors file, there may be (docs/security.md).

    Returns:
        A plain dict in the order of the file: name to Parameter, to str, to a list of read-only arrays
        (a map), or to bytes (a random state). Every value owns its memory: arrays are aligned,
        writable, C-contiguous, and independent of the file.

    Raises:
        ArgumentTypeError: an argument is of the wrong type (also a TypeError).
        ArgumentError: an argument has a value that cannot be used.
        CheckpointError: the file cannot be read, is damaged, encrypted, or of another kind, or the
            filter keeps nothing; all errors are ValueErrors.
        BindingError: values do not fit `net`, which is then unchanged (also a RuntimeError).
    """
    names.prefixes(specify_prefix, "specify_prefix")
    names.prefixes(filter_prefix, "filter_prefix")
    _check_key(dec_key, dec_mode)
    _check_flags(crc_check=crc_check, remove_redundancy=remove_redundancy)
    _check_format(format, dec_key, dec_mode)
    _check_name(ckpt_file_name, format)
    if net is not None:
        check_arguments(net, strict_load)
    with _open(
        ckpt_file_name,
        format,
        dec_key,
        dec_mode,
        allow_unauthenticated,
        max_records,
        watches_name=False,
        # Nobody sees a name, or an error about one, before its tag was compared: `choice_func` would.
        authenticates=choice_func is not None or crc_check,
    ) as reader:
        failure: CheckpointError | None = None
        try:
            wanted = _wanted(reader, choice_func, specify_prefix, filter_prefix)
            remove_redundancy = _redundancy(reader, remove_redundancy)
            if crc_check and not reader.verify_crc():
                warnings.warn(f"{reader.path} carries no CRC-32, so that crc_check checked nothing", stacklevel=2)
            values = wanted.load()
        except (DecryptionError, ReadError, ChangedFileError):
            # These say nothing of what is in the blocks.
            raise
        except CheckpointError as error:
            failure = error
        # Not in the clause above, which would chain a failed tag to what it does not vouch for.
        reader.authenticate()
        if failure is not None:
            raise failure
    if net is not None:
        load_param_into_net(net, values, strict_load, remove_redundancy)
    return values


def _wanted(
    reader: Reader, choice_func: Callable[[str], Any] | None, specify_prefix: Prefixes, filter_prefix: Prefixes
) -> Reader:
    wanted = reader.select(choice_func=choice_func, specify_prefix=specify_prefix, filter_prefix=filter_prefix)
    if not wanted:
        raise _nothing_left(reader, specify_prefix, filter_prefix)
    return wanted


def _check_key(key: object, mode: object) -> None:
    """Check the types alone: whether they open a file is for the file to say. No message shows a key."""
    if key is not None and not isinstance(key, bytes):
        raise ArgumentTypeError(
            f"dec_key must be bytes or None, not {type(key).__name__}", hint="for example bytes.fromhex('...')"
        )
    if not isinstance(mode, str):
        raise ArgumentTypeError(f"dec_mode must be a str, not {type(mode).__name__}")


def _check_flags(**flags: object) -> None:
    for argument, value in flags.items():
        if not isinstance(value, bool):
            raise ArgumentTypeError(f"{argument} must be True or False, not {value!r}")


def _check_format(format: object, key: bytes | None, mode: str) -> None:
    if format == SAFETENSORS and (key is not None or mode != "AES-GCM"):
        raise ArgumentError(
            "safetensors files are never encrypted, so that dec_key and dec_mode cannot be given with them",
            hint="leave both out, or load an encrypted .ckpt with format='ckpt'",
        )
    if format not in (CKPT, SAFETENSORS):
        raise ArgumentError(f"format must be 'ckpt' or 'safetensors', not {format!r}")


def _check_name(source: object, format: str) -> None:
    """Hold a name against the format, as MindSpore does; a file object has no name to hold."""
    if isinstance(source, (str, os.PathLike)):
        name = os.fspath(source)
        if isinstance(name, str) and not name.endswith((format, ENDING) if format == SAFETENSORS else format):
            raise ArgumentError(
                f"the name does not end in {format!r}",
                path=name,
                hint=f"pass format={SAFETENSORS!r}"
                if name.endswith((SAFETENSORS, ENDING))
                else "rename the file, or pass it open",
            )
    if isinstance(source, (bytes, bytearray, memoryview)):
        raise ArgumentTypeError(
            f"a checkpoint is loaded from a path or a binary file object, not from {type(source).__name__}",
            hint="wrap content in io.BytesIO; pass a path as str",
        )


def _redundancy(reader: Reader, argument: bool) -> bool:
    """Return the flag that the file carries, which wins over the argument; warn if they differ."""
    flag = reader.metadata.get("remove_redundancy")
    if flag not in ("True", "False"):
        return argument
    found = flag == "True"
    if found is not argument:
        said = "has been deduplicated for parallel training" if found else "has not been deduplicated"
        warnings.warn(
            f"{reader.path} says that it {said}, so that remove_redundancy={argument} is taken for {found}",
            stacklevel=3,
        )
    return found


def _nothing_left(reader: Reader, specify_prefix: Prefixes, filter_prefix: Prefixes) -> EmptyCheckpointError:
    """Say what there was to choose from."""
    if not reader:
        return EmptyCheckpointError("the file holds no tensor", path=reader.path, hint="save it again")
    near: list[str] = []
    for prefix in names.prefixes(specify_prefix, "specify_prefix") or ():
        near.extend(names.closest(prefix, reader))
    near = list(dict.fromkeys(near)) or list(reader)[:3]
    kept = "nothing" if filter_prefix is None and specify_prefix is None else "no name with these prefixes"
    return EmptyCheckpointError(
        f"the filter keeps {kept} of the {len(reader)} entries",
        path=reader.path,
        hint="names in the file are, for example, " + names.listed(near[:5]),
    )
