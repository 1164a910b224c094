"""Write an open checkpoint in any format: filtered, renamed, with other dtypes, encrypted or not.

Everything is planned and checked from the index; tensor data is copied entry by entry when it is written.
"""

from __future__ import annotations

import dataclasses
import os
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from ckptload import dtypes, filters, shown
from ckptload.binding.maps.choosing import recipes_of
from ckptload.converting.entries import Again, ShardWriter, moved
from ckptload.converting.executors import check_executor
from ckptload.converting.jobs import Meter, check_progress, path_of
from ckptload.converting.moves import Moves, refuse_to_replace
from ckptload.converting.results import FORMATS, Result, Target
from ckptload.converting.shards import parse_size
from ckptload.encryption.ciphers import AES_GCM
from ckptload.encryption.keys import hidden
from ckptload.errors import ArgumentError, ArgumentTypeError, Hint, NothingSelectedError
from ckptload.filters import MAX_NAME
from ckptload.formats.entry import SAFETENSORS, TORCH
from ckptload.formats.safetensors.weight_map import ENDING
from ckptload.messages import counted, listed, shown_text, shown_value, type_name, warn
from ckptload.reading.given import open_while
from ckptload.reading.reader import ALLOW, Reader
from ckptload.writing import targets
from ckptload.writing.gathering import gather

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from ckptload.binding.maps.choosing import NameMapLike
    from ckptload.binding.maps.recipes import Recipe
    from ckptload.converting.entries import Opens
    from ckptload.converting.jobs import Progress
    from ckptload.converting.moves import Move
    from ckptload.dtypes import DType
    from ckptload.encryption.keys import Key
    from ckptload.formats.item import Item

#: How names of files of PyTorch end; so do some of other programs.
_OF_TORCH: Final = ("pt", "pth")
_NO_UTF8: Final = re.compile("[\ud800-\udfff]")


def convert_checkpoint(
    source: Reader | str | os.PathLike[str],
    path: str | os.PathLike[str],
    *,
    format: str | None = None,
    choice_func: Callable[[str], Any] | None = None,
    name_map: NameMapLike = None,
    dtype: DType | None = None,
    crc_check: bool = False,
    max_shard_size: int | str | None = None,
    executor: Any = None,
    enc_key: bytes | None = None,
    enc_mode: str = AES_GCM,
    metadata: Mapping[str, str] | None = None,
    progress: Progress | None = None,
    dry_run: bool = False,
    replace: bool = True,
) -> Moves:
    """Write a checkpoint in any format, in little memory whatever its size; but a .pt is put together in memory.

    The result replaces an existing file, or a set of shards as a whole, only when it is complete and synced to the
    disk. Strings are kept in the metadata of a safetensors file, and restored from there.

    Args:
        source: an open reader of any format, encrypted or not, also that of `open_torch_file`; or the path of a file
            that needs no key.
        path: file to write. For safetensors in shards it is a folder, or the path of the index in it,
            ``model.safetensors.index.json``. If all entries fit into one shard, that is ``model.safetensors``, with an
            index only if `path` is that of one.
        format: ``"ckpt"``, ``"safetensors"``, ``"npz"`` or ``"torch"``; None takes it from the name.
        choice_func: called once for each name, before it is mapped; returns whether to write the entry.
        name_map: new names: a dictionary of names, or of their beginnings up to a dot; or a function that takes
            a name and returns one, or None to leave the entry out (see `renaming.renamed`).
        dtype: one of ``float16 bfloat16 float32 float64``; all entries of these dtypes are converted to it, with
            MindSpore's rounding (docs/binding.md, "Conversions").
        crc_check: whether to store a CRC-32 in a .ckpt or a safetensors file.
        max_shard_size: write safetensors in shards of at most this many bytes, an int or ``"5GB"``.
        executor: does a task for each shard, if `source` is a whole, unencrypted file that was opened by its path:
            anything with ``submit(function, *arguments)``, such as ``concurrent.futures.ProcessPoolExecutor``. The
            shards get their names here, together. Not used for a single file.
        enc_key: key to encrypt a .ckpt with: 16, 24 or 32 bytes for AES, 16 for SM4.
        enc_mode: ``"AES-GCM"``, ``"AES-CBC"`` or ``"SM4-CBC"``.
        metadata: texts for the metadata of a safetensors file; they are added to those of `source`, or replace them.
        progress: called with the bytes done and the total; an exception from it ends the writing.
        dry_run: check everything, but do not write.
        replace: whether existing files may be replaced, and shards of an old set removed. If not, it is an error that
            there are any, before anything is written.

    Returns:
        A list of one `Move` for each entry that was written, or would be: its old name, its old dtype, and an item with
        the new name, dtype and shape. Items refer to `source`. Its attributes ``written`` and ``removed`` are lists of
        the paths of the files that were written, and of others that were removed.

    Raises:
        ArgumentError: arguments exclude each other, two entries would have the same name, or a file exists and
            `replace` is False.
        CheckpointError: the source is damaged or has entries that the format cannot store, or the file cannot be
            written.

    Warns:
        UserWarning: values are too large for `dtype`.
    """
    enc_key = hidden(enc_key)
    filters.check_choice(choice_func)
    check_progress(progress)
    check_executor(executor)
    with open_while(source) as reader:
        conversion = Conversion(
            reader,
            path,
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
            shards = None if executor is None else conversion.shard_writer(Again(reader), meter, executor)
            conversion.result.write(meter, write=shards)
    conversion.warn_of_infinity()
    return conversion.moves


class Conversion:
    """What `convert_checkpoint` will do, planned and checked.

    Attributes:
        moves: the entries, and the files that are written and removed.
        result: what writes them.
        nbytes: size of the data that is written, in bytes.
        beyond: names of entries with values that are too large for `dtype`, as far as they are written.

    Args and exceptions are those of `convert_checkpoint`.
    """

    def __init__(
        self,
        source: Reader,
        path: str | os.PathLike[str],
        *,
        format: str | None,
        choice_func: Callable[[str], Any] | None,
        name_map: NameMapLike,
        dtype: DType | None,
        crc_check: bool,
        max_shard_size: int | str | None,
        enc_key: Key | bytes | None,
        enc_mode: str,
        metadata: Mapping[str, str] | None,
        replace: bool,
    ) -> None:
        if not isinstance(source, Reader):
            raise ArgumentTypeError(f"source must be a path or an open reader, not {type_name(source)}")
        limit = None if max_shard_size is None else parse_size(max_shard_size)
        targets.check_local(given := path_of("path", path))
        place = Path(given).absolute()
        target = Target(place, format or _format_of(place, limit), limit, enc_key, enc_mode, crc_check=crc_check)
        if target.folder is None:
            target = dataclasses.replace(target, path=Path(targets.place(str(place))))
        self.dtype = dtype
        self.beyond: dict[str, None] = {}
        self._recipes, plan = _plan(source, choice_func, name_map, dtype, self.beyond)
        self.result = Result(source, [move.item for move in plan], target, metadata or {})
        self.moves = Moves(plan, *self.result.files())
        self.nbytes = sum(move.item.nbytes for move in plan)
        if not replace:
            refuse_to_replace([path for path in self.moves.written + self.moves.removed if os.path.lexists(path)])

    def shard_writer(self, source: Opens, meter: Meter, executor: Any) -> ShardWriter:
        """Return what writes the shards by an executor."""
        return ShardWriter(source, self._recipes, self.dtype, self.beyond, meter, executor)

    def warn_of_infinity(self) -> None:
        """Warn of the entries in `beyond`."""
        if self.beyond:
            warn(
                f"{counted(len(self.beyond), 'entry has', 'entries have')} values that are too large for {self.dtype} "
                f"and became infinite: {listed(list(self.beyond))}"
            )


def _format_of(target: Path, limit: int | None) -> str:
    if limit is not None or target.name.endswith(ENDING):
        return SAFETENSORS
    suffix = target.suffix.removeprefix(".")
    found = TORCH if suffix in _OF_TORCH else suffix
    if found in FORMATS and suffix != TORCH:
        return found
    raise ArgumentError(
        f"the name {shown_text(Path(shown.place(str(target))).name)} does not say which format to write",
        hint=Hint("use a name that ends in .ckpt, .safetensors, .npz or .pt, or pass {to}"),
    )


# -- planning -------------------------------------------------------------------------------------------------


def chosen(source: Reader, choice_func: Callable[[str], Any] | None, kept: Mapping[str, str]) -> list[Item]:
    """Return items for the wanted entries, followed by the wanted strings of the metadata.

    Raises:
        ArgumentError: a tensor and a string have the same name.
        NothingSelectedError: the filter does not keep any entry.
    """
    wanted = source.select(choice_func=choice_func, if_empty=ALLOW)
    wanted.check_types()
    texts = {name: kept[name] for name in filters.select(kept, choice_func=choice_func)}
    found = gather(wanted, None, None) + gather(texts, None, None)
    if not found:
        raise NothingSelectedError(
            f"the filter keeps none of {len(source) + len(kept)} entries",
            path=source.path,
            hint="there is nothing to convert",
        )
    for name in texts:
        if name in wanted:
            raise ArgumentError("a tensor and a string of the metadata have the same name", name=name, path=source.path)
    return found


def check_new_names(found: Iterable[str]) -> None:
    """Raise ArgumentError for a name that an entry cannot have (docs/format.md, "Names")."""
    for new in found:
        if len(new) > MAX_NAME or _NO_UTF8.search(new):
            raise ArgumentError(
                f"an entry cannot have this name: it must be valid UTF-8 of at most {MAX_NAME} characters",
                name=new[:60],
            )


def _plan(
    source: Reader,
    choice_func: Callable[[str], Any] | None,
    name_map: NameMapLike,
    dtype: DType | None,
    beyond: dict[str, None],
) -> tuple[list[Recipe], list[Move]]:
    """Plan the entries of the result; when they are written, names of those beyond `dtype` are added to `beyond`."""
    if dtype is not None and dtype not in dtypes.FLOATS:
        raise ArgumentError(
            f"dtype must be one of {', '.join(one.attribute for one in dtypes.FLOATS)}, not {shown_value(dtype)}"
        )
    found = chosen(source, choice_func, source.kept_strings())
    by_name = {item.name: item for item in found}
    recipes = recipes_of(by_name, name_map)
    check_new_names(recipe.name for recipe in recipes)
    return recipes, [moved(recipe, by_name, source, dtype, beyond) for recipe in recipes]
