"""A checkpoint written again in any of the formats: some entries only, renamed, of another dtype, encrypted or not.

Everything is planned and judged from the index; content is copied entry by entry when it is written.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import numpy as np

from ckptload import dtypes
from ckptload.binding.renaming import renamed
from ckptload.converting import converters, npz
from ckptload.converting.batch import Meter, check_progress, make_folder
from ckptload.converting.shards import STEM, parse_size, write_shards
from ckptload.encryption.ciphers import check_key
from ckptload.encryption.encrypting import EncryptingWriter, prepare
from ckptload.errors import ArgumentError, ArgumentTypeError, EmptyCheckpointError, Hint
from ckptload.formats import entry
from ckptload.formats.ckpt import encoding
from ckptload.formats.safetensors.shards import ENDING
from ckptload.formats.safetensors.strings import KEY as KEPT
from ckptload.formats.safetensors.strings import entry_for
from ckptload.reading.reader import Reader
from ckptload.tensors import casting
from ckptload.writing import gathering
from ckptload.writing.atomic import Replacement

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from ckptload.binding.renaming import NameMap
    from ckptload.converting.batch import Progress
    from ckptload.dtypes import DType
    from ckptload.formats.item import Item

CKPT: Final = "ckpt"
SAFETENSORS: Final = "safetensors"
NPZ: Final = "npz"
_FORMATS: Final = (CKPT, SAFETENSORS, NPZ)

#: What `dtype` applies to: the other types are not approximations of real numbers, or too coarse to be cast.
#: Metadata that tells about the old file's layout and not about its content.
_OF_THE_FILE: Final = frozenset({"format", "crc_num", "remove_redundancy", "total_size", KEPT})


class Move(NamedTuple):
    """One entry on its way.

    Attributes:
        old: its name in the source.
        source: its dtype there; None for what is no tensor.
        item: what is written.
    """

    old: str
    source: DType | None
    item: Item


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
    enc_mode: str = "AES-GCM",
    metadata: Mapping[str, str] | None = None,
    progress: Progress | None = None,
    dry_run: bool = False,
) -> list[Move]:
    """Write an open checkpoint again, in little memory however large it is.

    The result takes its place when it is complete and on the disk. Strings are kept in the metadata of a
    safetensors file, and restored from there.

    Args:
        source: an open reader of either format, encrypted or not.
        path: file to write. For safetensors in shards it is a folder, or the path of the index in it,
            ``model.safetensors.index.json``.
        format: ``"ckpt"``, ``"safetensors"`` or ``"npz"``; None takes it from the name.
        choice_func: asked once for each name, before it is mapped, whether to write it.
        name_map: new names: a dictionary of names, or of what stands before a dot in them; or a function of
            a name, which leaves an entry out by returning None.
        dtype: one of ``float16 bfloat16 float32 float64``; all entries of these types become it, with
            MindSpore's rounding.
        crc_check: whether a .ckpt or a safetensors file carries a CRC-32.
        max_shard_size: write safetensors in shards of at most so many bytes, an int or ``"5GB"``.
        enc_key: key to encrypt a .ckpt with: 16, 24 or 32 bytes for AES, 16 for SM4.
        enc_mode: ``"AES-GCM"``, ``"AES-CBC"`` or ``"SM4-CBC"``.
        metadata: text for the metadata of a safetensors file, beside or instead of what `source` has.
        progress: called with the bytes done and the bytes in all; what it raises ends the writing.
        dry_run: judge everything, and write nothing.

    Returns:
        What was written, or would be: old name, old dtype, and an item with the new name, dtype and shape.

    Raises:
        ArgumentError: arguments exclude each other, or two entries would have one name.
        CheckpointError: the source is damaged, holds what the format cannot, or the file cannot be written.
    """
    if not isinstance(source, Reader):
        raise ArgumentTypeError(f"source must be an open reader, not {type(source).__name__}")
    target = Path(os.fspath(path)).absolute()
    limit = None if max_shard_size is None else parse_size(max_shard_size)
    wanted = format or _format_of(target, limit)
    _check(wanted, limit, enc_key, enc_mode, crc_check=crc_check)
    check_progress(progress)
    moves = _plan(source, choice_func, name_map, dtype)
    write = _Writing(source, [move.item for move in moves], target, progress)
    write.metadata.update(metadata or {})
    write.judge(wanted, encrypted=enc_key is not None)
    if dry_run:
        return moves
    make_folder(target)
    if wanted == NPZ:
        write.npz()
    elif wanted == CKPT:
        write.ckpt(enc_key, enc_mode, crc_check=crc_check)
    else:
        write.safetensors(limit, crc_check=crc_check)
    return moves


def _format_of(target: Path, limit: int | None) -> str:
    if limit is not None or target.name.endswith(ENDING):
        return SAFETENSORS
    suffix = target.suffix.removeprefix(".")
    if suffix in _FORMATS:
        return suffix
    raise ArgumentError(
        f"the name {target.name!r} does not say which format to write",
        hint=Hint("let it end in .ckpt, .safetensors or .npz, or pass {to}"),
    )


def _check(wanted: str, limit: int | None, key: bytes | None, mode: str, *, crc_check: bool) -> None:
    if wanted not in _FORMATS:
        raise ArgumentError(f"format must be one of {', '.join(map(repr, _FORMATS))}, not {wanted!r}")
    if limit is not None and wanted != SAFETENSORS:
        raise ArgumentError(f"shards can only be safetensors files, not {wanted}")
    if limit is not None and crc_check:
        raise ArgumentError("shards carry no CRC-32", hint=Hint("leave {crc} out, or write a single file"))
    if wanted == NPZ and crc_check:
        raise ArgumentError("an .npz has CRC-32 checksums of its own", hint=Hint("leave {crc} out"))
    if key is None:
        return
    check_key(key, mode, argument="enc_key")
    if wanted != CKPT:
        raise ArgumentError(f"only a .ckpt can be encrypted, not {wanted}", hint="let the name end in .ckpt")
    if crc_check:
        raise ArgumentError(
            "an encrypted file cannot carry a CRC-32: no version of MindSpore would load it",
            hint=Hint("leave {crc} out; AES-GCM detects every change by itself"),
        )


# -- planning -------------------------------------------------------------------------------------------------


def _plan(
    source: Reader, choice_func: Callable[[str], Any] | None, name_map: NameMap, dtype: DType | None
) -> list[Move]:
    """Judge every entry that is wanted, and what becomes of it."""
    if dtype is not None and dtype not in dtypes.FLOATS:
        raise ArgumentError(f"dtype must be one of {', '.join(one.attribute for one in dtypes.FLOATS)}, not {dtype}")
    wanted = source.select(choice_func=choice_func)
    strings = source.kept_strings()
    chosen = [name for name in strings if choice_func is None or choice_func(name)]
    found = gathering.gather(wanted, None, None) + gathering.gather(
        {name: strings[name] for name in chosen}, None, None
    )
    if not found:
        raise EmptyCheckpointError(f"the filter keeps none of {len(source)} entries", path=source.path)
    by_name = {item.name: item for item in found}
    if len(by_name) != len(found):
        raise ArgumentError("a tensor and a string of the metadata have the same name", path=source.path)
    converters.check_new_names(new := renamed(by_name, name_map))
    return [_move(by_name[old], old, name, dtype) for name, old in new.items()]


def _move(item: Item, old: str, new: str, dtype: DType | None) -> Move:
    moved = item._replace(name=new)
    if dtype is not None and item.dtype in dtypes.FLOATS and item.dtype is not dtype:
        return Move(old, item.dtype, _cast(moved, item.dtype, dtype))
    return Move(old, item.dtype, moved)


def _cast(item: Item, source: DType, target: DType) -> Item:
    """Return an item whose content is converted piece by piece as it is written."""

    def pieces() -> Iterator[memoryview]:
        for piece in npz.whole(item.pieces(), source.itemsize):
            yield casting.cast(np.frombuffer(piece, source.numpy), source, target).view(np.uint8).data

    size = item.nbytes // source.itemsize * target.itemsize
    return item._replace(dtype=target, nbytes=size, content=pieces)


# -- writing --------------------------------------------------------------------------------------------------


class _Writing:
    """Writes items, which are judged first."""

    def __init__(self, source: Reader, moved: Sequence[Item], target: Path, progress: Progress | None) -> None:
        self.source = source
        self.items = list(moved)
        self.target = target
        self.meter = Meter(sum(item.nbytes for item in moved), progress)
        self.metadata = {key: text for key, text in source.metadata.items() if key not in _OF_THE_FILE}
        self.strings: dict[str, str] = {}

    def judge(self, wanted: str, *, encrypted: bool) -> None:
        """Raise unless the format can hold every item."""
        if wanted == NPZ:
            npz.named(self.items)
        elif encrypted:
            for item in self.items:
                if item.kind == entry.MAP:
                    raise ArgumentError(
                        "a map cannot be saved encrypted: MindSpore loads no such file",
                        name=item.name,
                        hint=Hint("leave the entry out with {exclude}"),
                    )
        elif wanted == SAFETENSORS:
            from ckptload.formats.safetensors import encoding as safetensors_writing  # noqa: PLC0415 -- safetensors is imported when it is needed

            texts = [item for item in self.items if item.kind == entry.STRING]
            self.strings = {item.name: _text(item) for item in texts}
            self.items = [item for item in self.items if item.kind != entry.STRING]
            # Notes on single tensors, such as Int4, are made anew.
            names = {item.name for item in self.items} | set(self.source)
            self.metadata = {key: text for key, text in self.metadata.items() if key not in names}
            safetensors_writing.check(self.items)

    def npz(self) -> None:
        npz.write(self.target, npz.named(self.items), self.meter, self.source.authenticate)

    def ckpt(self, key: bytes | None, mode: str, *, crc_check: bool) -> None:
        if key is not None:
            prepare(key, mode)
        with Replacement(str(self.target)) as file:
            if key is None:
                self.meter.copy(encoding.ckpt(self.items, crc_check=crc_check), file)
            else:
                sealing = EncryptingWriter(file, key, mode)
                for piece in encoding.ckpt(self.items):
                    sealing.write(piece)
                    self.meter.advance(len(piece))
                sealing.finish()
            self.source.authenticate()

    def safetensors(self, limit: int | None, *, crc_check: bool) -> None:
        from ckptload.formats.safetensors.encoding import safetensors  # noqa: PLC0415

        metadata = dict(self.metadata)
        metadata.update(entry_for(self.strings))
        if limit is None and not self.target.name.endswith(ENDING):
            with Replacement(str(self.target)) as file:
                self.meter.copy(safetensors(self.items, crc_check=crc_check, metadata=metadata), file)
                self.source.authenticate()
            return
        folder = self.target
        if folder.name.endswith(ENDING):
            if folder.name != STEM + ENDING:
                raise ArgumentError(f"the index of shards must be named {STEM + ENDING}", path=str(folder))
            folder = folder.parent
        make_folder(folder / STEM)
        write_shards(folder, self.items, limit or parse_size("5GB"), metadata, self.meter, self.source.authenticate)


def _text(item: Item) -> str:
    content = b"".join(bytes(piece) for piece in item.pieces())
    return content.decode("utf-32-le", "surrogatepass").rstrip("\0")
