"""ckpt to safetensors and back: each entry is copied from file to file, whatever its size."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from ckptload import filters
from ckptload.converting import jobs
from ckptload.converting.batch import make_folder, run
from ckptload.converting.shards import STEM, parse_size, write_shards
from ckptload.errors import ArgumentError, ArgumentTypeError, EmptyCheckpointError, Hint
from ckptload.formats import entry
from ckptload.formats.ckpt import encoding as writing
from ckptload.formats.safetensors import strings
from ckptload.reading.opening import open_checkpoint
from ckptload.writing import gathering
from ckptload.writing.atomic import Replacement

if TYPE_CHECKING:
    import os
    from collections.abc import Callable, Iterable

    from ckptload.converting.batch import Meter, Progress
    from ckptload.converting.jobs import Job
    from ckptload.formats.item import Item
    from ckptload.reading.reader import Reader

    Path = str | os.PathLike[str]


def ckpt_to_safetensors(
    file_path: Path,
    save_path: Path | None = None,
    name_map: dict[str, str] | None = None,
    file_name_regex: str | None = None,
    processes_num: int = 1,
    *,
    choice_func: Callable[[str], Any] | None = None,
    max_shard_size: int | str | None = None,
    dec_key: bytes | None = None,
    dec_mode: str = "AES-GCM",
    allow_unauthenticated: bool = False,
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
        progress: called with the bytes done and the bytes in all; what it raises ends the conversion.

    Raises:
        ArgumentTypeError: an argument is of the wrong type (also a TypeError).
        ArgumentError: an argument has a value that cannot be used, or two results would have one name.
        CheckpointError: a file cannot be read or written, is damaged, or holds what safetensors cannot; all
            errors are ValueErrors. Of several files, those converted before stay.
    """
    limit = None if max_shard_size is None else parse_size(max_shard_size)
    found = jobs.jobs(file_path, save_path, file_name_regex, old=jobs.CKPT, new=jobs.SAFETENSORS)
    if limit is not None:
        found = [job._replace(target=job.target.with_name(STEM + jobs.SAFETENSORS)) for job in found]
    new_names = _check_map(name_map)

    def convert(job: Job, meter: Meter) -> None:
        with open_checkpoint(
            job.source,
            format="ckpt",
            dec_key=dec_key,
            dec_mode=dec_mode,
            allow_unauthenticated=allow_unauthenticated,
        ) as reader:
            content = _gather(reader, choice_func, new_names, {})
            _write_safetensors(job, content, limit, meter, reader.authenticate)

    run(found, convert, processes_num, progress)


def safetensors_to_ckpt(
    file_path: Path,
    save_path: Path | None = None,
    name_map: dict[str, str] | None = None,
    file_name_regex: str | None = None,
    processes_num: int = 1,
    *,
    choice_func: Callable[[str], Any] | None = None,
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
        progress: called with the bytes done and the bytes in all; what it raises ends the conversion.

    Raises:
        ArgumentTypeError: an argument is of the wrong type (also a TypeError).
        ArgumentError: an argument has a value that cannot be used, or two results would have one name.
        CheckpointError: a file cannot be read or written, or is damaged; all errors are ValueErrors. Of
            several files, those converted before stay.
    """
    found = jobs.jobs(file_path, save_path, file_name_regex, old=jobs.SAFETENSORS, new=jobs.CKPT)
    new_names = _check_map(name_map)

    def convert(job: Job, meter: Meter) -> None:
        with open_checkpoint(job.source, format="safetensors") as reader:
            _write_ckpt(job, _gather(reader, choice_func, new_names, reader.kept_strings()), meter)

    run(found, convert, processes_num, progress)


# -- what is to be written ----------------------------------------------------------------------------------


class _Content(NamedTuple):
    """What a file holds: entries that are copied, and strings, each by its new name."""

    entries: list[Item]
    strings: dict[str, str]


def _gather(
    reader: Reader, choice_func: Callable[[str], Any] | None, name_map: dict[str, str], kept: dict[str, str]
) -> _Content:
    """Judge all that is wanted of a file and of the strings that its metadata kept.

    Raises:
        ArgumentError: two entries would have one name.
        EmptyCheckpointError: nothing is wanted.
    """
    wanted = reader.select(choice_func=choice_func)
    strings = {name: wanted[name] for name in wanted if wanted.info(name).kind == entry.STRING}
    entries = gathering.gather(wanted, None, lambda name: name not in strings)
    strings.update((name, kept[name]) for name in filters.select(kept, choice_func=choice_func))
    if not entries and not strings:
        raise EmptyCheckpointError(
            f"the filter keeps none of {len(reader) + len(kept)} entries", hint="there is nothing to convert"
        )
    seen: set[str] = set()

    def renamed(name: str) -> str:
        new = name_map.get(name, name)
        if new in seen:
            raise ArgumentError(
                "two entries would have this name",
                name=new,
                hint=Hint("change {name_map}, or leave one of them out with {exclude}"),
            )
        seen.add(new)
        return new

    return _Content(
        [item._replace(name=renamed(item.name)) for item in entries],
        {renamed(name): text for name, text in strings.items()},
    )


# -- writing it ---------------------------------------------------------------------------------------------


def _write_safetensors(
    job: Job, content: _Content, limit: int | None, meter: Meter, finish: Callable[[], None]
) -> None:
    from ckptload.formats.safetensors import encoding  # noqa: PLC0415 -- safetensors is imported only when it is needed

    encoding.check(content.entries)
    metadata = strings.entry_for(content.strings)
    make_folder(job.target)
    if limit is not None:
        write_shards(job.target.parent, content.entries, limit, metadata, meter, finish)
        return
    with Replacement(str(job.target), synced=False) as file:
        meter.copy(encoding.safetensors(content.entries, metadata=metadata), file)
        finish()


def _write_ckpt(job: Job, content: _Content, meter: Meter) -> None:
    make_folder(job.target)
    strings = gathering.gather(content.strings, None, None)
    with Replacement(str(job.target), synced=False) as file:
        meter.copy(writing.ckpt([*content.entries, *strings]), file)


def _check_map(name_map: object) -> dict[str, str]:
    if name_map is None:
        return {}
    if not isinstance(name_map, dict):
        raise ArgumentTypeError(f"name_map must be a dict or None, not {type(name_map).__name__}")
    for old, new in name_map.items():
        if not isinstance(old, str) or not isinstance(new, str):
            raise ArgumentTypeError(f"name_map must map names to names; it has {old!r}: {new!r}")
    check_new_names(name_map.values())
    return name_map


def check_new_names(found: Iterable[str]) -> None:
    """Raise ArgumentError for a name that no entry of a checkpoint can have."""
    for new in found:
        if len(new) > entry.MAX_NAME or _NO_UTF8.search(new):
            raise ArgumentError(
                f"an entry cannot have this name: it must be valid UTF-8 of at most {entry.MAX_NAME} characters",
                name=new[:60],
            )


_NO_UTF8: Final = re.compile("[\ud800-\udfff]")
