"""Convert files, or some of their entries, to another format."""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from ckptload.binding.renaming import renamed
from ckptload.converting.executors import check_executor
from ckptload.converting.jobs import Meter, check_progress, jobs, path_of, run, spread
from ckptload.converting.results import NPZ, Result, Target
from ckptload.converting.rewriting import check_new_names, chosen
from ckptload.converting.shards import parse_size
from ckptload.encryption.ciphers import AES_GCM
from ckptload.encryption.keys import Carried, hidden
from ckptload.errors import ArgumentTypeError, CheckpointError, enough_memory
from ckptload.filters import check_choice
from ckptload.formats.entry import CKPT, SAFETENSORS
from ckptload.formats.limits import MAX_RECORDS
from ckptload.messages import shown_value, type_name
from ckptload.reading.access import Access
from ckptload.reading.opening import open_with
from ckptload.reading.reader import Reader
from ckptload.writing.shard_names import INDEX, SINGLE
from ckptload.writing.targets import place

if TYPE_CHECKING:
    import os
    from collections.abc import Callable, Sequence

    from ckptload.converting.jobs import Job, Progress
    from ckptload.formats.item import Item
    from ckptload.writing.together import Together

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
    dec_mode: str = AES_GCM,
    allow_unauthenticated: bool = False,
    max_records: int = MAX_RECORDS,
    executor: Any = None,
    progress: Progress | None = None,
) -> None:
    """Convert .ckpt files to safetensors, in little memory whatever their size.

    Results replace existing files only when all of them are complete. Strings are kept in the metadata, and
    `safetensors_to_ckpt` restores them. Maps and random states cannot be stored in safetensors; leave them
    out with `choice_func`. The arguments up to `processes_num` and the results are those of MindSpore
    (2.10.0, train/serialization.py:2732).

    Args:
        file_path: a .ckpt file; or a folder, in which the .ckpt files in subfolders whose names begin with
            ``rank`` are converted.
        save_path: folder for the results, created if needed; results of a folder keep the names of its ``rank``
            folders. None: each result is written to the folder of its source.
        name_map: new names for some entries, ``{old: new}``.
        file_name_regex: convert only files whose names match this regular expression, as in ``re.search``.
        processes_num: number of files to convert at the same time, in threads.
        choice_func: called once for each name, before it is mapped; returns whether to convert the entry.
        max_shard_size: write shards with Hugging Face's names, ``model-00001-of-00002.safetensors``, and an index,
            ``model.safetensors.index.json``. Each shard has at most this many bytes of tensor data, an int or a str
            such as ``"5GB"``. If all tensors fit into one, it is ``model.safetensors`` without an index.
        dec_key: key of encrypted files: 16, 24 or 32 bytes for AES, 16 for SM4. Results are not encrypted.
        dec_mode: ``"AES-GCM"``, ``"AES-CBC"`` or ``"SM4-CBC"``.
        allow_unauthenticated: convert AES-GCM files with data that no tag covers (docs/security.md).
        max_records: most records of a .ckpt, or tensors of a safetensors file (docs/security.md).
        executor: does a task for each file, in place of the threads: anything with ``submit(function, *arguments)``,
            such as ``concurrent.futures.ProcessPoolExecutor``. Each result then appears when it is complete.
            `choice_func` and `dec_key` are sent with each task.
        progress: called with the bytes done and the total; an exception from it ends the conversion.

    Raises:
        ArgumentTypeError: an argument is of the wrong type (also a TypeError).
        ArgumentError: an argument has an invalid value, or two results would have the same name.
        CheckpointError: a file cannot be read or written, is damaged, or has entries that safetensors cannot
            store; all errors are ValueErrors. Nothing is changed then, whichever file it is about.
    """
    dec_key = hidden(dec_key)
    limit = None if max_shard_size is None else parse_size(max_shard_size)
    found = jobs(file_path, save_path, file_name_regex, old=CKPT, new=SAFETENSORS)
    if limit is not None:
        found = [job._replace(target=job.target.with_name(SINGLE)) for job in found]
    _check_map(name_map)
    access = Access(
        format=CKPT,
        key=dec_key,
        mode=dec_mode,
        allow_unauthenticated=allow_unauthenticated,
        max_records=max_records,
    )

    def target_of(job: Job) -> Target:
        path = job.target if limit is None else job.target.with_name(INDEX)
        return Target(path, SAFETENSORS, limit, synced=False, indexes_one=False)

    _run(found, access, target_of, choice_func, name_map, processes_num, executor, progress)


def safetensors_to_ckpt(
    file_path: str | os.PathLike[str],
    save_path: str | os.PathLike[str] | None = None,
    name_map: dict[str, str] | None = None,
    file_name_regex: str | None = None,
    processes_num: int = 1,
    *,
    choice_func: Callable[[str], Any] | None = None,
    max_records: int = MAX_RECORDS,
    executor: Any = None,
    progress: Progress | None = None,
) -> None:
    """Convert safetensors files to .ckpt, in little memory whatever their size.

    Results replace existing files only when all of them are complete. Entries are sorted by name; strings that
    `ckpt_to_safetensors` has kept in the metadata follow them. The arguments up to `processes_num` and the
    results are those of MindSpore (2.10.0, train/serialization.py:2774).

    Args:
        file_path: a .safetensors file or an index of shards, whatever its name; or a folder, in
            which the .safetensors files in subfolders whose names begin with ``rank`` are converted.
        save_path: folder for the results, created if needed; results of a folder keep the names of its ``rank``
            folders. None: each result is written to the folder of its source.
        name_map: new names for some entries, ``{old: new}``.
        file_name_regex: convert only files whose names match this regular expression, as in ``re.search``.
        processes_num: number of files to convert at the same time, in threads.
        choice_func: called once for each name, before it is mapped; returns whether to convert the entry.
        max_records: most records of a .ckpt, or tensors of a safetensors file (docs/security.md).
        executor: does a task for each file; see `ckpt_to_safetensors`.
        progress: called with the bytes done and the total; an exception from it ends the conversion.

    Raises:
        ArgumentTypeError: an argument is of the wrong type (also a TypeError).
        ArgumentError: an argument has an invalid value, or two results would have the same name.
        CheckpointError: a file cannot be read or written, or is damaged; all errors are ValueErrors. Nothing is
            changed then, whichever file it is about.
    """
    found = jobs(file_path, save_path, file_name_regex, old=SAFETENSORS, new=CKPT)
    _check_map(name_map)
    access = Access(format=SAFETENSORS, max_records=max_records)

    def target_of(job: Job) -> Target:
        return Target(job.target, CKPT, synced=False)

    _run(found, access, target_of, choice_func, name_map, processes_num, executor, progress)


def to_npz(
    source: Any,
    path: str | os.PathLike[str],
    *,
    choice_func: Callable[[str], Any] | None = None,
    format: str | None = None,
    dec_key: bytes | None = None,
    dec_mode: str = AES_GCM,
    allow_unauthenticated: bool = False,
    max_records: int = MAX_RECORDS,
    progress: Progress | None = None,
) -> None:
    """Write a checkpoint as an uncompressed .npz, which ``numpy.load`` opens without pickle.

    bfloat16 and float8, which numpy itself does not have, become float32 without loss. Int4 becomes int8, and
    HiFloat8 becomes its bytes (uint8). A string becomes an array of shape ``()`` of numpy's text type, a random
    state an array of its bytes. A map becomes up to three arrays: ``NAME.keys``, ``NAME.values`` and
    ``NAME.status``.

    Args:
        source: whatever `open_checkpoint` accepts, or an open reader.
        path: the file to write; ``.npz`` is added if it is missing, and a link is followed. An existing file is
            replaced only when the new one is complete.
        choice_func: called once for each name; returns whether to write the entry.
        format: ``"ckpt"`` or ``"safetensors"``; None detects it from the name or the first bytes.
        dec_key: key of an encrypted file; the .npz is not encrypted.
        dec_mode: ``"AES-GCM"``, ``"AES-CBC"`` or ``"SM4-CBC"``.
        allow_unauthenticated: open AES-GCM files with data that no tag covers (docs/security.md).
        max_records: most records of a .ckpt, or tensors of a safetensors file (docs/security.md).
        progress: called with the bytes done and the total; an exception from it ends the writing.

    Raises:
        ArgumentTypeError: an argument is of the wrong type (also a TypeError).
        CheckpointError: the source cannot be read, is damaged or encrypted, or the file cannot be written.
    """
    dec_key = hidden(dec_key)
    given = path_of("path", path)
    target = Path(place(given, lambda name: name if name.endswith(_NPZ_ENDING) else name + _NPZ_ENDING))
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
        items = chosen(reader, choice_func, reader.kept_strings())
        result = Result(reader, items, Target(target, NPZ, synced=False))
        result.write(Meter(sum(item.nbytes for item in items), progress))


@dataclass(frozen=True)
class FileTask:
    """Convert one file, which replaces its target by itself. Doing it twice gives the same file.

    Attributes:
        number: its number among all.
        job: the file.
        access: how it is opened, without the key.
        key: the key, or None.
        target: the result.
        choice_func: which entries.
        name_map: new names.
    """

    number: int
    job: Job
    access: Access
    key: Carried | None
    target: Target
    choice_func: Callable[[str], Any] | None
    name_map: dict[str, str] | None


def convert_file(task: FileTask) -> int:
    """Do a task, and return its number.

    Raises:
        CheckpointError: the file cannot be read or written.
    """
    access = task.access if task.key is None else replace(task.access, key=task.key.key)
    try:
        with enough_memory("to convert the file", path=str(task.job.source)):
            _convert(task.job, access, task.target, task.choice_func, task.name_map, Meter(0), None)
    except CheckpointError as error:
        if error.path is None:
            error.path = str(task.job.source)
        raise
    return task.number


def _run(
    found: list[Job],
    access: Access,
    target_of: Callable[[Job], Target],
    choice_func: Callable[[str], Any] | None,
    name_map: dict[str, str] | None,
    processes_num: int,
    executor: Any,
    progress: Progress | None,
) -> None:
    """Convert files in threads, or by an executor."""
    check_choice(choice_func)
    check_executor(executor)
    if executor is None:

        def convert(job: Job, meter: Meter, together: Together | None) -> None:
            _convert(job, access, target_of(job), choice_func, name_map, meter, together)

        run(found, convert, processes_num, progress, access)
        return
    key = None if access.key is None else Carried(access.key)
    open_to_all = replace(access, key=None)
    tasks = [
        FileTask(
            number,
            job._replace(source=job.source.absolute()),
            open_to_all,
            key,
            target_of(job),
            choice_func,
            name_map,
        )
        for number, job in enumerate(found)
    ]
    spread(found, convert_file, tasks, executor, progress, access)


def _convert(
    job: Job,
    access: Access,
    target: Target,
    choice_func: Callable[[str], Any] | None,
    name_map: dict[str, str] | None,
    meter: Meter,
    together: Together | None,
) -> None:
    with open_with(job.source, access) as reader:
        items = chosen(reader, choice_func, reader.kept_strings())
        Result(reader, _renamed(items, name_map or {}), target).write(meter, together)


def _renamed(items: Sequence[Item], name_map: dict[str, str]) -> list[Item]:
    """Rename items by a dictionary of complete names (MindSpore 2.10.0, train/serialization.py:2617)."""
    new_names = renamed((item.name for item in items), lambda name: name_map.get(name, name))
    return [item._replace(name=new) for item, new in zip(items, new_names, strict=True)]


def _check_map(name_map: object) -> None:
    if name_map is None:
        return
    if not isinstance(name_map, dict):
        raise ArgumentTypeError(f"name_map must be a dict or None, not {type_name(name_map)}")
    for old, new in name_map.items():
        if not isinstance(old, str) or not isinstance(new, str):
            raise ArgumentTypeError(f"name_map must map names to names; it has {shown_value(old)}: {shown_value(new)}")
    check_new_names(name_map.values())
