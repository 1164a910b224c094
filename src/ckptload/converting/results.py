"""The items that a conversion writes, and the path and the format it writes them to: what all converters are made of.

All is checked before anything is written; tensor data is copied entry by entry then.
"""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from ckptload.converting import npz, torch_state
from ckptload.converting.jobs import make_folder
from ckptload.converting.shards import parse_size, split, write_shards
from ckptload.encryption.ciphers import AES_GCM
from ckptload.errors import ArgumentError, Hint, enough_memory, importable
from ckptload.formats.ckpt.encoding import ckpt
from ckptload.formats.entry import CKPT, SAFETENSORS, STRING, TORCH
from ckptload.formats.safetensors import checksum, order, strings
from ckptload.formats.safetensors.weight_map import ENDING, SET
from ckptload.messages import shown_value
from ckptload.writing.output import check_encryptable, check_encryption, write_file
from ckptload.writing.shard_names import INDEX, SINGLE, plain_names
from ckptload.writing.shard_set import outdated
from ckptload.writing.targets import check_places
from ckptload.writing.together import Together

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence
    from pathlib import Path

    from ckptload.converting.jobs import Meter
    from ckptload.converting.shards import Shard
    from ckptload.encryption.keys import Key
    from ckptload.formats.item import Item
    from ckptload.reading.reader import Reader

NPZ: Final = "npz"
FORMATS: Final = (CKPT, SAFETENSORS, NPZ, TORCH)
#: Size of shards if `path` is an index and no size is given.
_SHARD_SIZE: Final = "5GB"

#: Keys of metadata that describe the layout of the old file; they are not copied to the new one.
_OF_THE_FILE: Final = frozenset({"format", checksum.KEY, checksum.ENTRIES, "total_size", strings.KEY, order.KEY, SET})


@dataclass(frozen=True)
class Target:
    """The path and the format of a result.

    Attributes:
        path: absolute path of the file; for shards, of their folder or their index.
        format: ``ckpt``, ``safetensors``, ``npz`` or ``torch``.
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
        if self.format not in FORMATS:
            raise ArgumentError(
                f"format must be one of {', '.join(map(repr, FORMATS))}, not {shown_value(self.format)}"
            )
        if self.limit is not None and self.format != SAFETENSORS:
            raise ArgumentError(f"shards can only be safetensors files, not {self.format}")
        if self.folder is not None and self.crc_check:
            raise ArgumentError("shards cannot have a CRC-32", hint=Hint("leave {crc} out, or write a single file"))
        if self.format == NPZ and self.crc_check:
            raise ArgumentError("an .npz has CRC-32 checksums of its own", hint=Hint("leave {crc} out"))
        if self.format == TORCH and self.crc_check:
            raise ArgumentError("a file of PyTorch has CRC-32 checksums of its own", hint=Hint("leave {crc} out"))
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
        elif target.format == TORCH:
            torch_state.check(items)
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
            check_places(*self.files())

    def files(self) -> tuple[list[str], list[str]]:
        """Return the paths of the files that `write` writes, and of others that it removes, as they are now."""
        folder = self._target.folder
        if folder is None:
            return [str(self._target.path)], []
        keeps_index = self._target.keeps_index(len(self._shards))
        names = plain_names(len(self._shards))
        old = outdated(folder, names, keeps_index=keeps_index, spared=self._spared(folder))
        return (
            [str(folder / name) for name in [*names, *([INDEX] if keeps_index else [])]],
            [str(folder / name) for name in old],
        )

    def write(
        self,
        meter: Meter,
        together: Together | None = None,
        *,
        write: Callable[[Sequence[Shard]], object] | None = None,
    ) -> None:
        """Write the target; it replaces an existing file only when it is complete and authenticated.

        Args:
            meter: copies the bytes and reports the progress.
            together: files that appear together, of which the target becomes one; not for .npz and .pt. None:
                it appears now.
            write: writes shards under their temporary paths; None writes them one after the other.
        """
        folder = self._target.folder
        with enough_memory("to write the entries", path=str(self._target.path)):
            if folder is None:
                self._write_file(meter, together)
            elif together is not None:
                self._write_shards(folder, meter, together, write)
            else:
                with Together([folder], synced=self._target.synced) as alone:
                    self._write_shards(folder, meter, alone, write)

    def _write_shards(
        self, folder: Path, meter: Meter, together: Together, write: Callable[[Sequence[Shard]], object] | None
    ) -> None:
        reveals = self._source.statuses()

        def write_here(shards: Sequence[Shard]) -> None:
            for shard in shards:
                shard.write(meter, synced=together.synced, reveals=reveals)

        write_shards(
            folder,
            self._shards,
            self._metadata,
            write or write_here,
            self._source.authenticate,
            together,
            keeps_index=self._target.keeps_index(len(self._shards)),
            reveals=reveals,
            spared=self._spared(folder),
        )

    def _spared(self, folder: Path) -> list[str]:
        """Return the name of the single file that the shards are made from, if it is in their folder."""
        return [SINGLE for file in self._source.files if os.path.realpath(file) == os.path.realpath(folder / SINGLE)]

    def _write_file(self, meter: Meter, together: Together | None) -> None:
        target, finish = self._target, self._source.authenticate
        # Whoever may not read the source may not read the result.
        reveals = self._source.statuses()
        if together is None:
            make_folder(target.path)
        if target.format == NPZ:
            npz.write(target.path, self._arrays, meter, finish, synced=target.synced, reveals=reveals)
            return
        if target.format == TORCH:
            torch_state.write(target.path, self._items, meter, finish, synced=target.synced, reveals=reveals)
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
