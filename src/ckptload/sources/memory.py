"""Sources that the caller holds: bytes in memory and open file objects."""

from __future__ import annotations

import os
import stat
import sys
import threading
from contextlib import suppress
from typing import BinaryIO, cast

from ckptload import shown
from ckptload.errors import (
    ArgumentError,
    ArgumentTypeError,
    ChangedFileError,
    CheckpointError,
    ClosedReaderError,
    ReadError,
)
from ckptload.sources.base import PIECE, Profile
from ckptload.sources.filesystems import identity_behind
from ckptload.sources.identity import Witness, WitnessedSource, changed, stamp
from ckptload.threads import HELD


class BufferSource(WitnessedSource):
    """Bytes that are already in memory; they are copied only when read into an array.

    Those of `bytes` cannot change. Changes of any other buffer are told by its headers.
    """

    profile = Profile(local=True)

    def __init__(self, data: bytes | bytearray | memoryview, *, label: str = "<bytes>") -> None:
        self.label = label
        try:
            view = memoryview(data)
        except ValueError as error:
            raise ArgumentError(
                f"the buffer cannot be read: {shown.foreign(error)}", path=label, hint="pass its bytes"
            ) from error
        # `cast` refuses a view with gaps, which is copied once, and an empty view.
        flat = view.cast("B") if view.c_contiguous and view.nbytes else memoryview(view.tobytes())
        self._view: memoryview | None = flat
        self.size = flat.nbytes
        self._witness = None if isinstance(flat.obj, bytes) else Witness()

    def read(self, start: int, stop: int) -> memoryview:
        """Return a view: the caller's bytes, not a copy."""
        self.bounded(start, stop)
        part = self._open_view()[start:stop]
        self._note(start, part)
        return part

    def read_into(self, start: int, out: memoryview) -> None:
        """Copy a range into `out`."""
        out[:] = self.read(start, start + len(out))

    def _open_view(self) -> memoryview:
        if self._view is None:
            raise ClosedReaderError("the checkpoint was closed", path=self.label)
        return self._view

    def close(self) -> None:
        """Release the buffer, so that its owner may resize or free it."""
        self._view = None


class FileObjectSource(WitnessedSource):
    """A seekable binary file object that the caller opened and will close.

    It is read from its start, whatever its position. Each read restores the position. Changes are told by the stamp
    of the file behind it, if it has a descriptor or is fsspec's, and in any case by its headers: it may be written to
    twice within the resolution of the file system's clock, and what it returns may be computed, as from an archive.
    """

    def __init__(self, file: BinaryIO) -> None:
        name = getattr(file, "name", None)
        self.label = shown.place(name) if isinstance(name, str) and name else f"<{type(file).__name__}>"
        self._lock = threading.RLock()
        self._file: BinaryIO | None = file
        self._witness = Witness()
        try:
            position = file.tell()
            file.seek(0, os.SEEK_END)
            self.size = file.tell()
            file.seek(0)
            probe = file.read(0)
            file.seek(position)
            # After what its owner had written is in the file, and before anything is read.
            self._stamp = _stamp_of(file)
        except Exception as error:  # noqa: BLE001 -- a file object may raise anything, with secrets of its URL
            raise ReadError(
                f"the file object is not seekable: {shown.foreign(error)}",
                path=self.label,
                hint="pass an open, seekable binary file, or io.BytesIO(file.read())",
            ) from shown.cause(error)
        if not isinstance(probe, bytes):
            raise ArgumentTypeError(
                "the file object returns text, not bytes", path=self.label, hint="open it with mode 'rb'"
            )

    def read_into(self, start: int, out: memoryview) -> None:
        """Fill `out`, one reader at a time: a file object has a single position.

        A signal handler in the thread that reads may read, too. It restores the position that it finds.
        """
        self.bounded(start, start + len(out))
        with HELD, self._lock:
            file = self._file
            if file is None:
                raise ClosedReaderError("the checkpoint was closed", path=self.label)
            try:
                position = file.tell()
                try:
                    file.seek(start)
                    self._fill(file, start, out)
                finally:
                    file.seek(position)
            except CheckpointError:
                raise
            except Exception as error:  # noqa: BLE001 -- as above
                raise self._failed(error, start) from shown.cause(error)
        self._note(start, out)

    def _compare_stamp(self, *, whole: bool) -> None:
        with HELD, self._lock:
            file = self._file
            if file is None:
                raise ClosedReaderError("the checkpoint was closed", path=self.label)
            if self._stamp is not None:
                now = _stamp_of(file)
                if now is None:
                    raise self._failed(ValueError("it was closed, or has another file by now"))
                same = now == self._stamp
            else:
                # Some file objects have to read all of the file to find its end.
                same = not whole or self._size_now(file) == self.size
        if not same:
            raise changed(self.label)

    def _size_now(self, file: BinaryIO) -> int:
        try:
            position = file.tell()
            file.seek(0, os.SEEK_END)
            size = file.tell()
            file.seek(position)
        except Exception as error:  # noqa: BLE001 -- as above
            raise self._failed(error) from shown.cause(error)
        return size

    def _failed(self, error: Exception, offset: int | None = None) -> ReadError:
        return ReadError(
            f"the file object failed: {type(error).__name__}: {shown.foreign(error)}",
            path=self.label,
            offset=offset,
            hint="keep it open and unchanged while the checkpoint is read",
        )

    def _fill(self, file: BinaryIO, start: int, out: memoryview) -> None:
        done = 0
        while done < len(out):
            data = file.read(min(len(out) - done, PIECE))
            if not data:
                raise ChangedFileError(
                    f"the file object ends at byte {start + done}; it had {self.size} bytes when it was opened",
                    path=self.label,
                    offset=start + done,
                    hint="another program is writing this file; load it when it is complete",
                )
            out[done : done + len(data)] = data
            done += len(data)

    def statuses(self) -> list[os.stat_result]:
        """Return the status of the file behind the object, if it has a descriptor."""
        # A file object may raise anything where it has none.
        with suppress(Exception):
            return [os.fstat(cast("BinaryIO", self._file).fileno())]
        return []

    def close(self) -> None:
        """Release the file object without closing it; its owner closes it."""
        self._file = None


def _stamp_of(file: BinaryIO) -> tuple[object, ...] | None:
    """Return the stamp of the regular file, or the identity of the remote one, behind a file object; None without."""
    # Its descriptor is made by moving the content to a disk, which nobody asked for.
    spooled = getattr(sys.modules.get("tempfile"), "SpooledTemporaryFile", ())
    if isinstance(file, spooled):
        return None
    try:
        status = os.fstat(file.fileno())
    except Exception:  # noqa: BLE001 -- a foreign file object may raise anything
        return identity_behind(file)
    return stamp(status) if stat.S_ISREG(status.st_mode) else None
