"""Arrays of an .npz by name, each read when it is asked for; the file may hold anything."""

from __future__ import annotations

import io
import math
import struct
import zipfile
import zlib
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Final

import numpy as np
from numpy.lib import format as npy

from ckptload.errors import CheckpointError, CorruptCheckpointError, WrongFormatError, enough_memory
from ckptload.messages import shortened
from ckptload.sources.streams import SourceStream

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ckptload.dtypes import Array
    from ckptload.sources.base import Source

_ENDING: Final = ".npy"
#: Kinds of numpy's dtypes whose values are numbers.
_NUMBERS: Final = "biufc"
#: No stream of deflate becomes longer than this many times its size (zlib's technical details).
_RATIO: Final = 1032
_SLACK: Final = 1 << 10
_METHODS: Final = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)
_ENCRYPTED: Final = 1
#: Versions of numpy's header that arrays of numbers have.
_HEADERS: Final = {(1, 0): npy.read_array_header_1_0, (2, 0): npy.read_array_header_2_0}


class Archive:
    """Arrays of an .npz.

    Args:
        source: the file; the caller closes it.

    Raises:
        WrongFormatError: it is not a zip archive.
        CorruptCheckpointError: it is a damaged one.
    """

    def __init__(self, source: Source) -> None:
        self._label = source.label
        self._size = source.size
        try:
            with self._sound("the archive"):
                self._zip = zipfile.ZipFile(io.BufferedReader(SourceStream(source)))
                infos = self._zip.infolist()
        except CorruptCheckpointError as error:
            raise WrongFormatError(
                "this is not an .npz file", path=self._label, hint="numpy.savez writes one"
            ) from error
        self._infos = {info.filename.removesuffix(_ENDING): info for info in infos}
        self.names = list(self._infos)

    def array(self, name: str) -> Array:
        """Read an array, which the caller owns.

        Raises:
            CorruptCheckpointError: it is damaged.
            WrongFormatError: it is not an array of numbers.
        """
        info = self._infos[name]
        with self._sound(name), enough_memory("for a recorded array", path=self._label):
            if info.flag_bits & _ENCRYPTED or info.compress_type not in _METHODS:
                raise WrongFormatError("numpy does not write arrays like this one", name=name, path=self._label)
            if info.compress_size > self._size or info.file_size > _RATIO * info.compress_size + _SLACK:
                raise self._damaged(name, f"it claims {info.file_size} bytes, which the file cannot hold")
            with self._zip.open(info) as member:
                return self._read(member, info.file_size, name)

    def _read(self, member: Any, size: int, name: str) -> Array:
        header = _HEADERS.get(npy.read_magic(member))
        if header is None:
            raise WrongFormatError("it is not an array of numbers", name=name, path=self._label)
        shape, is_fortran, dtype = header(member)
        if dtype.kind not in _NUMBERS:
            raise WrongFormatError(f"it is not an array of numbers but of {dtype}", name=name, path=self._label)
        need, have = math.prod(shape) * dtype.itemsize, size - member.tell()
        if min(shape, default=0) < 0 or need != have:
            raise self._damaged(name, f"{dtype} of shape {shape} needs {need} bytes, and it has {have}")
        data = np.empty(need, np.uint8)
        view, at = data.data, 0
        while at < need:
            got = member.readinto(view[at:])
            if not got:
                raise self._damaged(name, f"it has {at} bytes of {need}")
            at += got
        found: Array = data.view(dtype).reshape(shape, order="F" if is_fortran else "C")
        return found

    def _damaged(self, name: str, problem: str) -> CorruptCheckpointError:
        return CorruptCheckpointError(problem, name=shortened(name), path=self._label)

    @contextmanager
    def _sound(self, name: str) -> Iterator[None]:
        """Turn what zipfile, zlib and numpy raise of a damaged file into our error."""
        try:
            yield
        except CheckpointError:
            raise
        except (
            *(zipfile.BadZipFile, zlib.error, struct.error, ValueError, KeyError, EOFError, OSError, IndexError),
            *(NotImplementedError, RuntimeError, TypeError, OverflowError, AttributeError, SyntaxError),
        ) as error:
            raise self._damaged(name, f"it cannot be read: {str(error) or type(error).__name__}") from error
