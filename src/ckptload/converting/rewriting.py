"""Write an open checkpoint in any format: filtered, renamed, with other dtypes, encrypted or not.

Everything is planned and checked from the index; tensor data is copied entry by entry when it is written.
"""

from __future__ import annotations

import dataclasses
import os
import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from ckptload import dtypes, filters
from ckptload.binding.renaming import renamed
from ckptload.converting import npz
from ckptload.converting.jobs import Meter, check_progress, make_folder, path_of
from ckptload.converting.moves import Move, Moves, refuse_to_replace
from ckptload.converting.shards import parse_size, split, write_shards
from ckptload.encryption.ciphers import AES_GCM
from ckptload.encryption.keys import hidden
from ckptload.errors import ArgumentError, ArgumentTypeError, Hint, NothingSelectedError, enough_memory, importable
from ckptload.filters import MAX_NAME
from ckptload.formats.ckpt.encoding import ckpt
from ckptload.formats.entry import CKPT, SAFETENSORS, STRING
from ckptload.formats.safetensors import checksum, order, strings
from ckptload.formats.safetensors.weight_map import ENDING, SET
from ckptload.messages import counted, listed, shown_text, shown_value, type_name, warn
from ckptload.reading.reader import Reader
from ckptload.tensors import casting
from ckptload.writing import targets
from ckptload.writing.gathering import gather
from ckptload.writing.output import check_encryptable, check_encryption, write_file
from ckptload.writing.shard_set import INDEX, outdated, plain_names
from ckptload.writing.together import Together

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

    from ckptload.binding.renaming import NameMap
    from ckptload.converting.jobs import Progress
    from ckptload.dtypes import DType
    from ckptload.encryption.keys import Key
    from ckptload.formats.item import Item

NPZ: Final = "npz"
_FORMATS: Final = (CKPT, SAFETENSORS, NPZ)
#: Size of shards if `path` is an index and no size is given.
_SHARD_SIZE: Final = "5GB"

#: Keys of metadata that describe the layout of the old file; they are not copied to the new one.
_OF_THE_FILE: Final = frozenset({"format", checksum.KEY, checksum.ENTRIES, "total_size", strings.KEY, order.KEY, SET})
_NO_UTF8: Final = re.compile("[\ud800-\udfff]")


def convert_checkpoint(
    source: Reader,
    path: str | os.PathLike[str],
    *,
    format: str | None = None,
    choice_func: Callable[[str], Any] | None = None,
    name_map: NameMap = None,
    dtype: DType | None = None,
    crc_check: bool = False,
    max_shard_size: int | str | None = None,
    enc_key: bytes | None = None,
    enc_mode: str = AES_GCM,
    metadata: Mapping[str, str] | None = None,
    progress: Progress | None = None,
    dry_run: bool = False,
    replace: bool = True,
) -> Moves:
    """Write an open checkpoint in any format, in little memory whatever its size.

    The result replaces an existing file, or a set of shards as a whole, only when it is complete and synced to the
    disk. Strings are kept in the metadata of a safetensors file, and restored from there.

    Args:
        source: an open reader of either format, encrypted or not.
        path: file to write. For safetensors in shards it is a folder, or the path of the index in it,
            ``model.safetensors.index.json``. If all entries fit into one shard, that is ``model.safetensors``, with an
            index only if `path` is that of one.
        format: ``"ckpt"``, ``"safetensors"`` or ``"npz"``; None takes it from the name.
        choice_func: called once for each name, before it is mapped; returns whether to write the entry.
        name_map: new names: a dictionary of names, or of their beginnings up to a dot; or a function that takes
            a name and returns one, or None to leave the entry out (see `renaming.renamed`).
        dtype: one of ``float16 bfloat16 float32 float64``; all entries of these dtypes are converted to it, with
            MindSpore's rounding (docs/binding.md, "Conversions").
        crc_check: whether to store a CRC-32 in a .ckpt or a safetensors file.
        max_shard_size: write safetensors in shards of at most this many bytes, an int or ``"5GB"``.
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
    if not isinstance(source, Reader):
        raise ArgumentTypeError(f"source must be an open reader, not {type_name(source)}")
    limit = None if max_shard_size is None else parse_size(max_shard_size)
    place = Path(path_of("path", path)).absolute()
    target = Target(place, format or _format_of(place, limit), limit, enc_key, enc_mode, crc_check=crc_check)
    if target.folder is None:
        target = dataclasses.replace(target, path=Path(targets.place(str(place))))
    check_progress(progress)
    beyond: dict[str, None] = {}
    plan = _plan(source, choice_func, name_map, dtype, beyond)
    result = Result(source, [move.item for move in plan], target, metadata or {})
    moves = Moves(plan, *result.files())
    if not replace:
        refuse_to_replace([path for path in moves.written + moves.removed if os.path.lexists(path)])
    if not dry_run:
        result.write(Meter(sum(move.item.nbytes for move in moves), progress))
    if beyond:
        warn(
            f"{counted(len(beyond), 'entry has', 'entries have')} values that are too large for {dtype} and became "
            f"infinite: {listed(list(beyond))}"
        )
    return moves


@dataclass(frozen=True)
class Target:
    """The path and the format of a result.

    Attributes:
        path: absolute path of the file; for shards, of their folder or their index.
        format: ``ckpt``, ``safetensors`` or ``npz``.
        limit: largest shard, in bytes of tensor data; None for a single file, or if `path` is that of an index.
        key: key to encrypt a .ckpt with.
        mode: its cipher.
        crc_check: whether to store a CRC-32 in a .ckpt or a safetensors file.
        synced: see `Replacement`.
        indexes_one: whether there is an index if one shard is enough and `path` is that of an index.

    Raises:
        ArgumentError: the attributes exclude each other.
    """

    path: Path
    format: str
    limit: int | None = None
    key: Key | bytes | None = field(default=None, repr=False)
    mode: str = AES_GCM
    crc_check: bool = field(default=False, kw_only=True)
    synced: bool = field(default=True, kw_only=True)
    indexes_one: bool = field(default=True, kw_only=True)

    def __post_init__(self) -> None:
        """Check that the attributes do not exclude each other."""
        if self.format not in _FORMATS:
            raise ArgumentError(
                f"format must be one of {', '.join(map(repr, _FORMATS))}, not {shown_value(self.format)}"
            )
        if self.limit is not None and self.format != SAFETENSORS:
            raise ArgumentError(f"shards can only be safetensors files, not {self.format}")
        if self.folder is not None and self.crc_check:
            raise ArgumentError("shards cannot have a CRC-32", hint=Hint("leave {crc} out, or write a single file"))
        if self.format == NPZ and self.crc_check:
            raise ArgumentError("an .npz has CRC-32 checksums of its own", hint=Hint("leave {crc} out"))
        if self.format == SAFETENSORS and self.path.name.endswith(ENDING) and self.path.name != INDEX:
            raise ArgumentError(f"the index of shards must be named {INDEX}", path=str(self.path))
        if self.key is not None:
            if self.format != CKPT:
                raise ArgumentError(
                    f"only a .ckpt can be encrypted, not {self.format}", hint="use a name that ends in .ckpt"
                )
            check_encryption(self.key, self.mode, crc_check=self.crc_check)

    @property
    def folder(self) -> Path | None:
        """Return the folder of shards, or None for a single file."""
        if self._is_index:
            return self.path.parent
        return None if self.limit is None else self.path

    @property
    def _is_index(self) -> bool:
        return self.format == SAFETENSORS and self.path.name.endswith(ENDING)

    def keeps_index(self, shards: int) -> bool:
        """Return whether a number of shards has an index."""
        return shards > 1 or (self.indexes_one and self._is_index)


def _format_of(target: Path, limit: int | None) -> str:
    if limit is not None or target.name.endswith(ENDING):
        return SAFETENSORS
    suffix = target.suffix.removeprefix(".")
    if suffix in _FORMATS:
        return suffix
    raise ArgumentError(
        f"the name {shown_text(target.name)} does not say which format to write",
        hint=Hint("use a name that ends in .ckpt, .safetensors or .npz, or pass {to}"),
    )


# -- planning -------------------------------------------------------------------------------------------------


def chosen(source: Reader, choice_func: Callable[[str], Any] | None, kept: Mapping[str, str]) -> list[Item]:
    """Return items for the wanted entries, followed by the wanted strings of the metadata.

    Raises:
        ArgumentError: a tensor and a string have the same name.
        NothingSelectedError: the filter does not keep any entry.
    """
    wanted = source.select(choice_func=choice_func)
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
    name_map: NameMap,
    dtype: DType | None,
    beyond: dict[str, None],
) -> list[Move]:
    """Plan the entries of the result; when they are written, names of those beyond `dtype` are added to `beyond`."""
    if dtype is not None and dtype not in dtypes.FLOATS:
        raise ArgumentError(
            f"dtype must be one of {', '.join(one.attribute for one in dtypes.FLOATS)}, not {shown_value(dtype)}"
        )
    found = chosen(source, choice_func, source.kept_strings())
    by_name = {item.name: item for item in found}
    check_new_names(new := renamed(by_name, name_map))
    return [_move(by_name[old], old, name, dtype, beyond) for name, old in new.items()]


def _move(item: Item, old: str, new: str, dtype: DType | None, beyond: dict[str, None]) -> Move:
    moved = item._replace(name=new)
    if dtype is not None and item.dtype in dtypes.FLOATS and item.dtype is not dtype:
        return Move(old, item.dtype, _cast(moved, item.dtype, dtype, beyond))
    return Move(old, item.dtype, moved)


def _cast(item: Item, source: DType, target: DType, beyond: dict[str, None]) -> Item:
    """Return an item whose tensor data is converted piece by piece while it is written."""

    def pieces() -> Iterator[memoryview]:
        for piece in npz.whole(item.pieces(), source.itemsize):
            array = np.frombuffer(piece, source.numpy)
            out = np.empty(array.shape, target.numpy)
            if casting.cast_into(array, source, target, out):
                beyond[item.name] = None
            yield out.view(np.uint8).data

    size = item.nbytes // source.itemsize * target.itemsize
    return item._replace(dtype=target, nbytes=size, content=pieces)


# -- writing --------------------------------------------------------------------------------------------------


class Result:
    """The items to write to a target, checked for its format; all converters use it.

    Args:
        source: the reader that the items come from.
        items: the entries to write, with their new names.
        target: path and format of the result.
        metadata: texts for the metadata of safetensors; they are added to those of `source`, or replace them.

    Raises:
        CheckpointError: the target cannot store an item.
    """

    def __init__(
        self, source: Reader, items: Sequence[Item], target: Target, metadata: Mapping[str, str] | None = None
    ) -> None:
        self._source = source
        self._items = items
        self._target = target
        self._metadata: dict[str, str] = {}
        self._arrays: dict[str, Item] = {}
        self._shards: list[list[Item]] = []
        if target.format == NPZ:
            self._arrays = npz.named(items)
        elif target.format == SAFETENSORS:
            self._judge_safetensors(metadata or {})
        elif target.key is not None:
            check_encryptable(items)

    def _judge_safetensors(self, metadata: Mapping[str, str]) -> None:
        with importable("safetensors"):
            from ckptload.formats.safetensors import encoding  # noqa: PLC0415 -- imported when it is needed

        texts = {item.name: _text(item) for item in self._items if item.kind == STRING}
        self._items = [item for item in self._items if item.kind != STRING]
        # Notes on single tensors, such as Int4, are written again by the encoder.
        names = {item.name for item in self._items} | set(self._source)
        found = {key: text for key, text in self._source.metadata.items() if key not in _OF_THE_FILE} | dict(metadata)
        self._metadata = {
            **{key: text for key, text in found.items() if key not in names},
            **strings.entry_for(texts),
            **order.entry_for([item.name for item in self._items]),
        }
        encoding.check(self._items)
        if self._target.folder is not None:
            self._shards = split(self._items, self._target.limit or parse_size(_SHARD_SIZE))
            targets.check_places(*self.files())

    def files(self) -> tuple[list[str], list[str]]:
        """Return the paths of the files that `write` writes, and of others that it removes, as they are now."""
        folder = self._target.folder
        if folder is None:
            return [str(self._target.path)], []
        keeps_index = self._target.keeps_index(len(self._shards))
        names = plain_names(len(self._shards))
        old = outdated(folder, names, keeps_index=keeps_index)
        return (
            [str(folder / name) for name in [*names, *([INDEX] if keeps_index else [])]],
            [str(folder / name) for name in old],
        )

    def write(self, meter: Meter, together: Together | None = None) -> None:
        """Write the target; it replaces an existing file only when it is complete and authenticated.

        Args:
            meter: copies the bytes and reports the progress.
            together: files that appear together, of which the target becomes one; not for .npz. None: it appears now.
        """
        folder = self._target.folder
        with enough_memory("to write the entries", path=str(self._target.path)):
            if folder is None:
                self._write_file(meter, together)
            elif together is not None:
                self._write_shards(folder, meter, together)
            else:
                with Together([folder], synced=self._target.synced) as alone:
                    self._write_shards(folder, meter, alone)

    def _write_shards(self, folder: Path, meter: Meter, together: Together) -> None:
        keeps_index = self._target.keeps_index(len(self._shards))
        finish = self._source.authenticate
        write_shards(
            folder,
            self._shards,
            self._metadata,
            meter,
            finish,
            together,
            keeps_index=keeps_index,
            reveals=self._source.statuses(),
        )

    def _write_file(self, meter: Meter, together: Together | None) -> None:
        target, finish = self._target, self._source.authenticate
        # Whoever may not read the source may not read the result.
        reveals = self._source.statuses()
        if together is None:
            make_folder(target.path)
        if target.format == NPZ:
            npz.write(target.path, self._arrays, meter, finish, synced=target.synced, reveals=reveals)
            return
        staged = None if together is None else together.stage(target.path)
        write_file(
            str(target.path),
            self._buffers(),
            key=target.key,
            mode=target.mode,
            synced=target.synced,
            reveals=reveals,
            staged=staged,
            advance=meter.advance,
            finish=finish,
        )
        if together is not None and staged is not None:
            together.add(staged, target.path)

    def _buffers(self) -> Iterator[bytes | memoryview]:
        crc_check = self._target.crc_check
        if self._target.format == CKPT:
            return ckpt(self._items, crc_check=crc_check)
        from ckptload.formats.safetensors.encoding import safetensors  # noqa: PLC0415

        return safetensors(self._items, crc_check=crc_check, sums_entries=True, metadata=self._metadata)


def _text(item: Item) -> str:
    content = b"".join(bytes(piece) for piece in item.pieces())
    return content.decode("utf-32-le", "surrogatepass").rstrip("\0")
