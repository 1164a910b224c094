"""Sources that the caller holds: bytes in memory and open file objects."""

from __future__ import annotations

import os
import threading
from typing import BinaryIO

from ckptload.errors import (
    ArgumentError,
    ArgumentTypeError,
    ChangedFileError,
    CheckpointError,
    ClosedReaderError,
    ReadError,
)
from ckptload.sources.base import PIECE, Profile, Source
from ckptload.threads import HELD


class BufferSource(Source):
    """Bytes that are already in memory; they are copied only when read into an array."""

    profile = Profile(local=True)

    def __init__(self, data: bytes | bytearray | memoryview, *, label: str = "<bytes>") -> None:
        self.label = label
        try:
            view = memoryview(data)
        except ValueError as error:
            raise ArgumentError(f"the buffer cannot be read: {error}", path=label, hint="pass its bytes") from error
        # `cast` refuses a view with gaps, which is copied once, and an empty view.
        flat = view.cast("B") if view.c_contiguous and view.nbytes else memoryview(view.tobytes())
        self._view: memoryview | None = flat
        self.size = flat.nbytes

    def read(self, start: int, stop: int) -> memoryview:
        """Return a view: the caller's bytes, not a copy."""
        self.bounded(start, stop)
        return self._open_view()[start:stop]

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


class FileObjectSource(Source):
    """A seekable binary file object that the caller opened and will close.

    It is read from its start, whatever its position. Each read restores the position.
    """

    def __init__(self, file: BinaryIO) -> None:
        name = getattr(file, "name", None)
        self.label = name if isinstance(name, str) and name else f"<{type(file).__name__}>"
        self._lock = threading.RLock()
        self._file: BinaryIO | None = file
        try:
            position = file.tell()
            file.seek(0, os.SEEK_END)
            self.size = file.tell()
            file.seek(0)
            probe = file.read(0)
            file.seek(position)
        except Exception as error:
            raise ReadError(
                f"the file object is not seekable: {error}",
                path=self.label,
                hint="pass an open, seekable binary file, or io.BytesIO(file.read())",
            ) from error
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
            except Exception as error:
                raise ReadError(
                    f"the file object failed: {type(error).__name__}: {error}",
                    path=self.label,
                    offset=start,
                    hint="keep it open and unchanged while the checkpoint is read",
                ) from error

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

    def close(self) -> None:
        """Release the file object without closing it; its owner closes it."""
        self._file = None
