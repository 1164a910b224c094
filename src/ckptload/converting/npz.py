"""A checkpoint as numpy's .npz, written entry by entry so that memory stays flat."""

from __future__ import annotations

import os
import zipfile
from contextlib import ExitStack
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, Final

import numpy as np
from numpy.lib import format as npy

from ckptload import dtypes
from ckptload.converting.batch import Meter, check_progress, make_folder
from ckptload.errors import ArgumentError, ArgumentTypeError, EmptyCheckpointError, Hint
from ckptload.formats.entry import MAP, STRING
from ckptload.reading.opening import open_checkpoint
from ckptload.reading.reader import Reader
from ckptload.writing import gathering
from ckptload.writing.atomic import Replacement

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from ckptload.converting.batch import Progress
    from ckptload.formats.item import Item

_ENDING: Final = ".npz"
#: numpy has no such types of its own; float32 holds all their values.
_WIDENED: Final = (dtypes.bfloat16, dtypes.float8_e4m3fn, dtypes.float8_e5m2)
#: What the arrays of a map are.
_PARTS: Final = ("keys", "values", "status")


def to_npz(
    source: Any,
    path: str | os.PathLike[str],
    *,
    choice_func: Callable[[str], Any] | None = None,
    format: str | None = None,
    dec_key: bytes | None = None,
    dec_mode: str = "AES-GCM",
    allow_unauthenticated: bool = False,
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
        progress: called with the bytes done and the bytes in all; what it raises ends the writing.

    Raises:
        ArgumentTypeError: an argument is of the wrong type (also a TypeError).
        CheckpointError: the source cannot be read, is damaged or encrypted, or the file cannot be written.
    """
    if not isinstance(path, (str, os.PathLike)) or not isinstance(os.fspath(path), str):
        raise ArgumentTypeError(f"path must be a str or a Path, not {type(path).__name__}")
    target = Path(os.fspath(path) + ("" if os.fspath(path).endswith(_ENDING) else _ENDING)).absolute()
    check_progress(progress)
    with ExitStack() as stack:
        reader = source
        if not isinstance(source, Reader):
            opened = open_checkpoint(
                source,
                format=format,
                dec_key=dec_key,
                dec_mode=dec_mode,
                allow_unauthenticated=allow_unauthenticated,
            )
            reader = stack.enter_context(opened)
        arrays = named(gathering.gather(reader.select(choice_func=choice_func), None, None))
        if not arrays:
            raise EmptyCheckpointError(f"the filter keeps none of {len(reader)} entries", path=reader.path)
        make_folder(target)
        write(target, arrays, Meter(sum(item.nbytes for item in arrays.values()), progress), reader.authenticate)


def write(target: Path, arrays: dict[str, Item], meter: Meter, finish: Callable[[], object]) -> None:
    """Write arrays by name; `finish` is called when all is written and nothing has taken its place."""
    with Replacement(str(target), synced=False) as file:
        with zipfile.ZipFile(file, "w", allowZip64=True) as archive:
            for name, item in arrays.items():
                # Without a date, so that equal content makes equal files.
                with archive.open(zipfile.ZipInfo(f"{name}.npy"), "w", force_zip64=True) as member:
                    _write(item, member, meter)
        finish()


def named(entries: Iterable[Item]) -> dict[str, Item]:
    """Return arrays by the names that they get.

    Raises:
        ArgumentError: two would have the same, or no archive can hold it.
    """
    found: dict[str, Item] = {}
    for entry in entries:
        named = [(entry.name, entry)]
        if entry.kind == MAP:
            named = [(f"{entry.name}.{part}", item) for part, item in zip(_PARTS, entry.parts, strict=False)]
        for name, item in named:
            if name in found or "\0" in name:
                reason = "a name in an archive ends at a NUL" if "\0" in name else "two arrays would have this name"
                raise ArgumentError(reason, name=name, hint=Hint("leave the entry out with {exclude}"))
            found[name] = item
    return found


def _write(item: Item, file: IO[bytes], meter: Meter) -> None:
    """Write one array in numpy's format."""
    dtype, shape = _as_numpy(item)
    npy.write_array_header_1_0(file, {"descr": npy.dtype_to_descr(dtype), "fortran_order": False, "shape": shape})
    if item.dtype not in _WIDENED:
        meter.copy(item.pieces(), file)
        return
    for piece in whole(item.pieces(), item.dtype.itemsize):
        file.write(np.frombuffer(piece, item.dtype.numpy).astype(dtype).data)
        meter.advance(len(piece))


def _as_numpy(item: Item) -> tuple[np.dtype[Any], tuple[int, ...]]:
    """Return dtype and shape of the array that an item becomes."""
    if item.kind == STRING:
        return np.dtype(f"<U{item.nbytes // 4}"), ()
    if item.dtype is None:
        return np.dtype(np.uint8), (item.nbytes,)
    return np.dtype("<f4") if item.dtype in _WIDENED else item.dtype.numpy, item.shape


def whole(pieces: Iterable[memoryview], itemsize: int) -> Iterator[memoryview | bytes]:
    """Cut pieces again so that no element is in two of them: a file in slices may cut anywhere."""
    rest = b""
    for piece in pieces:
        if rest or len(piece) % itemsize:
            joined = rest + piece
            stop = len(joined) - len(joined) % itemsize
            rest = joined[stop:]
            yield joined[:stop]
        else:
            yield piece
