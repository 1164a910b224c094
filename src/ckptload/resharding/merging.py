"""`merge_checkpoints`: the whole tensors of many ranks as one checkpoint."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ckptload.converting.executors import check_executor
from ckptload.converting.jobs import Meter, check_progress
from ckptload.converting.rewriting import Conversion
from ckptload.encryption.ciphers import AES_GCM
from ckptload.encryption.keys import hidden
from ckptload.formats.limits import MAX_RECORDS
from ckptload.resharding.rank_sets import RankSet

if TYPE_CHECKING:
    import os
    from collections.abc import Callable, Mapping

    from ckptload.binding.maps.choosing import NameMapLike
    from ckptload.converting.jobs import Progress
    from ckptload.converting.moves import Moves
    from ckptload.dtypes import DType


def merge_checkpoints(
    source: Any,
    target: str | os.PathLike[str],
    strategy: Any = None,
    *,
    format: str | None = None,
    choice_func: Callable[[str], Any] | None = None,
    name_map: NameMapLike = None,
    dtype: DType | None = None,
    max_shard_size: int | str | None = None,
    executor: Any = None,
    file_suffix: str | None = None,
    copies: str | None = None,
    dec_key: bytes | None = None,
    dec_mode: str = AES_GCM,
    allow_unauthenticated: bool = False,
    max_records: int = MAX_RECORDS,
    crc_check: bool = False,
    enc_key: bytes | None = None,
    enc_mode: str = AES_GCM,
    metadata: Mapping[str, str] | None = None,
    progress: Progress | None = None,
    dry_run: bool = False,
    replace: bool = True,
) -> Moves:
    """Write the whole tensors of a set of rank files to one checkpoint, in little memory whatever its size.

    It is `convert_checkpoint` of what `open_distributed` opens. The result replaces an existing file, or a set of
    shards as a whole, only when it is complete and synced to the disk.

    Args:
        source: whatever `open_distributed` accepts.
        target: file to write, or folder of shards; see `convert_checkpoint`.
        strategy: how the source is cut: a path of a file or folder, or a `Strategy`; None if nothing is cut, or if the
            folder says it.
        format: ``"ckpt"``, ``"safetensors"`` or ``"npz"``; None takes it from the name.
        choice_func: called once for each name, before it is mapped; returns whether to write the entry.
        name_map: new names; see `convert_checkpoint`.
        dtype: convert floating-point tensors; see `convert_checkpoint`.
        max_shard_size: write safetensors in shards of at most this many bytes, an int or ``"5GB"``.
        executor: does a task for each shard: anything with ``submit(function, *arguments)``, such as
            ``concurrent.futures.ProcessPoolExecutor`` or ``mpi4py.futures.MPIPoolExecutor``. It sends `dec_key` with
            each task. The shards get their names here, together. Not used for a single file.
        file_suffix: which of several files in a rank folder, by the end of its name.
        copies: what happens to copies that differ; see `open_distributed`.
        dec_key: key of encrypted files.
        dec_mode: ``"AES-GCM"``, ``"AES-CBC"`` or ``"SM4-CBC"``.
        allow_unauthenticated: open AES-GCM files with data that no tag covers (docs/security.md).
        max_records: most records of a file (docs/security.md).
        crc_check: whether to store a CRC-32 in a .ckpt or a safetensors file.
        enc_key: key to encrypt a .ckpt with.
        enc_mode: ``"AES-GCM"``, ``"AES-CBC"`` or ``"SM4-CBC"``.
        metadata: texts for the metadata of a safetensors file.
        progress: called with the bytes done and the total; an exception from it ends the writing.
        dry_run: check everything, but do not write.
        replace: whether existing files may be replaced, and shards of an old set removed.

    Returns:
        A list of one `Move` for each entry, with the attributes ``written`` and ``removed``; see `convert_checkpoint`.
        Its items refer to files that are closed by then.

    Raises:
        ArgumentTypeError: an argument is of the wrong type (also a TypeError).
        ArgumentError: arguments exclude each other, two entries would have the same name, or a file exists and
            `replace` is False.
        CheckpointError: the source cannot be read, does not fit its strategy or has parts that no file holds; or the
            target cannot be written.

    Warns:
        UserWarning: values are too large for `dtype`.
    """
    dec_key, enc_key = hidden(dec_key), hidden(enc_key)
    check_executor(executor)
    check_progress(progress)
    set_ = RankSet.of(
        source,
        strategy,
        file_suffix=file_suffix,
        copies=copies,
        dec_key=dec_key,
        dec_mode=dec_mode,
        allow_unauthenticated=allow_unauthenticated,
        max_records=max_records,
    )
    with set_.open() as reader_of:
        conversion = Conversion(
            reader_of(0),
            target,
            format=format,
            choice_func=choice_func,
            name_map=name_map,
            dtype=dtype,
            crc_check=crc_check,
            max_shard_size=max_shard_size,
            enc_key=enc_key,
            enc_mode=enc_mode,
            metadata=metadata,
            replace=replace,
        )
        if not dry_run:
            meter = Meter(conversion.nbytes, progress)
            shards = None if executor is None else conversion.shard_writer(set_, meter, executor)
            conversion.result.write(meter, write=shards)
            meter.finish()
    conversion.warn_of_infinity()
    return conversion.moves
