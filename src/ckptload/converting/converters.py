"""Converters: files of one format, whole or of some entries, become files of another."""

from __future__ import annotations

import os
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from ckptload.converting.jobs import Meter, check_progress, jobs, run
from ckptload.converting.rewriting import NPZ, Result, Target, check_new_names, chosen
from ckptload.converting.shards import STEM, parse_size
from ckptload.errors import ArgumentError, ArgumentTypeError, Hint
from ckptload.formats.entry import CKPT, SAFETENSORS
from ckptload.formats.limits import MAX_RECORDS
from ckptload.formats.safetensors.shards import ENDING
from ckptload.reading.access import Access
from ckptload.reading.opening import open_with
from ckptload.reading.reader import Reader

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from ckptload.converting.jobs import Job, Progress
    from ckptload.formats.item import Item

_NPZ_ENDING: Final = f".{NPZ}"


def ckpt_to_safetensors(
    file_path: str | os.PathLike[str],
    save_path: str | os.PathLike[str] | None = None,
    name_map: dict[str, str] | None = None,
    file_name_regex: str | None = None,
    processes_num: int = 1,
    *,
    choice_func: Callable[[str], Any] | None = None,
    max_shard_size: int | str | None = None,
    dec_key: bytes | None = None,
    dec_mode: str = "AES-GCM",
    allow_unauthenticated: bool = False,
    max_records: int = MAX_RECORDS,
    progress: Progress | None = None,
) -> None:
    """Convert .ckpt files to safetensors, in little memory however large they are.

    A result takes its place when it is complete, and replaces what was there. Strings are kept in its
    metadata, from where `safetensors_to_ckpt` restores them. Maps and random states have no place in
    safetensors: leave them out with `choice_func`.

    Args:
        file_path: a .ckpt file; or a folder, of which the .ckpt files in folders whose names begin with
            ``rank`` are converted.
        save_path: folder for the results, which is made if need be; those of a folder come into folders
            of the same names. None: results come beside their sources.
        name_map: new names for some entries, ``{old: new}``.
        file_name_regex: convert only files whose names this is found in.
        processes_num: how many files to convert at the same time (threads do that here).
        choice_func: asked once for each name, before it is mapped, whether to convert it.
        max_shard_size: write Hugging Face's layout: shards ``model-00001-of-00002.safetensors`` of at most
            so many bytes of content (an int, or a str such as ``"5GB"``) and
            ``model.safetensors.index.json``; or ``model.safetensors`` alone, if everything fits into it.
        dec_key: key of encrypted files: 16, 24 or 32 bytes for AES, 16 for SM4. Results are not encrypted.
        dec_mode: ``"AES-GCM"``, ``"AES-CBC"`` or ``"SM4-CBC"``.
        allow_unauthenticated: convert encrypted files whose content nothing protects from changes
            (docs/security.md).
        max_records: how many records, or tensors of a safetensors file, there may be (docs/security.md).
        progress: called with the bytes done and the bytes in all; what it raises ends the conversion.

    Raises:
        ArgumentTypeError: an argument is of the wrong type (also a TypeError).
        ArgumentError: an argument has a value that cannot be used, or two results would have one name.
        CheckpointError: a file cannot be read or written, is damaged, or holds what safetensors cannot; all
            errors are ValueErrors. Of several files, those converted before stay.
    """
    limit = None if max_shard_size is None else parse_size(max_shard_size)
    found = jobs(file_path, save_path, file_name_regex, old=CKPT, new=SAFETENSORS)
    if limit is not None:
        found = [job._replace(target=job.target.with_name(f"{STEM}.{SAFETENSORS}")) for job in found]
    _check_map(name_map)
    access = Access(
        format=CKPT,
        key=dec_key,
        mode=dec_mode,
        allow_unauthenticated=allow_unauthenticated,
        max_records=max_records,
    )

    def convert(job: Job, meter: Meter) -> None:
        path = job.target if limit is None else job.target.with_name(STEM + ENDING)
        _convert(job, access, Target(path, SAFETENSORS, limit, synced=False), choice_func, name_map, meter)

    run(found, convert, processes_num, progress, max_records)


def safetensors_to_ckpt(
    file_path: str | os.PathLike[str],
    save_path: str | os.PathLike[str] | None = None,
    name_map: dict[str, str] | None = None,
    file_name_regex: str | None = None,
    processes_num: int = 1,
    *,
    choice_func: Callable[[str], Any] | None = None,
    max_records: int = MAX_RECORDS,
    progress: Progress | None = None,
) -> None:
    """Convert safetensors files to .ckpt, in little memory however large they are.

    A result takes its place when it is complete, and replaces what was there. Entries are sorted by name;
    strings that `ckpt_to_safetensors` has kept in the metadata come after them.

    Args:
        file_path: a .safetensors file or an index of shards, ``model.safetensors.index.json``; or a
            folder, of which the .safetensors files in folders whose names begin with ``rank`` are converted.
        save_path: folder for the results, which is made if need be; those of a folder come into folders
            of the same names. None: results come beside their sources.
        name_map: new names for some entries, ``{old: new}``.
        file_name_regex: convert only files whose names this is found in.
        processes_num: how many files to convert at the same time (threads do that here).
        choice_func: asked once for each name, before it is mapped, whether to convert it.
        max_records: how many records, or tensors of a safetensors file, there may be (docs/security.md).
        progress: called with the bytes done and the bytes in all; what it raises ends the conversion.

    Raises:
        ArgumentTypeError: an argument is of the wrong type (also a TypeError).
        ArgumentError: an argument has a value that cannot be used, or two results would have one name.
        CheckpointError: a file cannot be read or written, or is damaged; all errors are ValueErrors. Of
            several files, those converted before stay.
    """
    found = jobs(file_path, save_path, file_name_regex, old=SAFETENSORS, new=CKPT)
    _check_map(name_map)
    access = Access(format=SAFETENSORS, max_records=max_records)

    def convert(job: Job, meter: Meter) -> None:
        _convert(job, access, Target(job.target, CKPT, synced=False), choice_func, name_map, meter)

    run(found, convert, processes_num, progress, max_records)


def to_npz(
    source: Any,
    path: str | os.PathLike[str],
    *,
    choice_func: Callable[[str], Any] | None = None,
    format: str | None = None,
    dec_key: bytes | None = None,
    dec_mode: str = "AES-GCM",
    allow_unauthenticated: bool = False,
    max_records: int = MAX_RECORDS,
    progress: Progress | None = None,
) -> None:
    """Write a checkpoint as an uncompressed .npz, which ``numpy.load`` opens without pickle.

    bfloat16 and float8, which numpy itself does not have, become float32 without loss. Int4 becomes int8, and
    HiFloat8 its bytes (uint8). A string becomes an array of shape ``()`` of numpy's text type, a random
    state an array of its bytes. A map becomes up to three arrays: ``NAME.keys``, ``NAME.values`` and
    ``NAME.status``.

    Args:
        source: what `open_checkpoint` takes, or an open reader.
        path: the file to write; ``.npz`` is added unless it ends so. It takes its place when it is complete.
        choice_func: asked once for each name whether to write it.
        format: ``"ckpt"`` or ``"safetensors"``; None tells them apart by the name or the first bytes.
        dec_key: key of an encrypted file; the .npz is not encrypted.
        dec_mode: ``"AES-GCM"``, ``"AES-CBC"`` or ``"SM4-CBC"``.
        allow_unauthenticated: open encrypted files whose content nothing protects from changes
            (docs/security.md).
        max_records: how many records, or tensors of a safetensors file, there may be (docs/security.md).
        progress: called with the bytes done and the bytes in all; what it raises ends the writing.

    Raises:
        ArgumentTypeError: an argument is of the wrong type (also a TypeError).
        CheckpointError: the source cannot be read, is damaged or encrypted, or the file cannot be written.
    """
    if not isinstance(path, (str, os.PathLike)) or not isinstance(os.fspath(path), str):
        raise ArgumentTypeError(f"path must be a str or a Path, not {type(path).__name__}")
    target = Path(os.fspath(path) + ("" if os.fspath(path).endswith(_NPZ_ENDING) else _NPZ_ENDING)).absolute()
    access = Access(
        format=format,
        key=dec_key,
        mode=dec_mode,
        allow_unauthenticated=allow_unauthenticated,
        max_records=max_records,
    )
    check_progress(progress)
    with ExitStack() as stack:
        reader = source if isinstance(source, Reader) else stack.enter_context(open_with(source, access))
        # Strings of the metadata are no entries of a safetensors file.
        items = chosen(reader, choice_func, {})
        result = Result(reader, items, Target(target, NPZ, synced=False))
        result.write(Meter(sum(item.nbytes for item in items), progress))


def _convert(
    job: Job,
    access: Access,
    target: Target,
    choice_func: Callable[[str], Any] | None,
    name_map: dict[str, str] | None,
    meter: Meter,
) -> None:
    with open_with(job.source, access) as reader:
        items = chosen(reader, choice_func, reader.kept_strings())
        Result(reader, _renamed(items, name_map or {}), target).write(meter)


def _renamed(items: Sequence[Item], name_map: dict[str, str]) -> list[Item]:
    """Give items the names that a dictionary of whole names, as MindSpore takes it, has for them."""
    found: dict[str, Item] = {}
    for item in items:
        new = name_map.get(item.name, item.name)
        if new in found:
            raise ArgumentError(
                "two entries would have this name",
                name=new,
                hint=Hint("change {name_map}, or leave one of them out with {exclude}"),
            )
        found[new] = item._replace(name=new)
    return list(found.values())


def _check_map(name_map: object) -> None:
    if name_map is None:
        return
    if not isinstance(name_map, dict):
        raise ArgumentTypeError(f"name_map must be a dict or None, not {type(name_map).__name__}")
    for old, new in name_map.items():
        if not isinstance(old, str) or not isinstance(new, str):
            raise ArgumentTypeError(f"name_map must map names to names; it has {old!r}: {new!r}")
    check_new_names(name_map.values())
