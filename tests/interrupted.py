"""A program that is interrupted at every line: between any two lines of ckptload another call of it is made.

That is what a signal handler does. Whatever an outer call holds at a line shows as a wait that does not end (the
program then ends with a traceback) or as a wrong value.

    python tests/interrupted.py OUTER FOLDER
"""

from __future__ import annotations

import faulthandler
import io
import os
import sys
import warnings
from itertools import cycle
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

import ckptload
from ckptload import threads
from ckptload.encryption import authenticated
from ckptload.saving import wait_for_saves

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import FrameType

KEY = bytes(range(16))
VALUES = {f"p{at}": np.full(3000, at, np.float32) for at in range(8)}
#: Modules in whose lines calls are made: ours, and those that ours wait in.
TRACED = ("ckptload", "threading", "contextlib", "concurrent", "queue", "functools")


def equal(found: Any, values: dict[str, Any] = VALUES) -> None:
    """Check that what was loaded is what was saved."""
    for name, value in values.items():
        got = found[name].asnumpy()
        if not np.array_equal(got, value):
            raise AssertionError(name, got, value)


class Interrupted:
    """Calls `handlers` in turn, once at each line that the main thread comes to."""

    def __init__(self, handlers: list[Callable[[], None]]) -> None:
        self._handlers = cycle(handlers)
        self._seen: set[tuple[str, int]] = set()
        self.count = 0

    def __enter__(self) -> Interrupted:
        sys.settrace(self._trace)
        return self

    def __exit__(self, *_: object) -> None:
        sys.settrace(None)

    def _trace(self, frame: FrameType, event: str, _: object) -> Any:
        if frame.f_globals.get("__name__", "").partition(".")[0] not in TRACED:
            return None
        if event in ("line", "return"):
            place = (frame.f_code.co_filename, frame.f_lineno)
            if place not in self._seen:
                self._seen.add(place)
                self.count += 1
                next(self._handlers)()
        return self._trace


class Program:
    """Outer calls, and what handlers do."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.reader: Any = None
        self._number = 0
        self._files: dict[str, dict[str, Any]] = {
            "plain.ckpt": {},
            "gcm.ckpt": {"dec_key": KEY},
            "cbc.ckpt": {"dec_key": KEY, "dec_mode": "AES-CBC"},
            "x.safetensors": {},
        }
        ckptload.save_checkpoint(VALUES, folder / "plain.ckpt", crc_check=True)
        ckptload.save_checkpoint(VALUES, folder / "gcm.ckpt", enc_key=KEY)
        ckptload.save_checkpoint(VALUES, folder / "cbc.ckpt", enc_key=KEY, enc_mode="AES-CBC")
        ckptload.save_checkpoint(VALUES, folder / "x.safetensors", format="safetensors")
        with ckptload.open_checkpoint(folder / "plain.ckpt") as reader:
            ckptload.convert_checkpoint(reader, folder / "shards", max_shard_size=30_000)
        self._files["shards/model.safetensors.index.json"] = {}
        # Libraries are imported before; an import that is interrupted cannot be repeated inside.
        for handler in self.handlers:
            handler()

    # -- what handlers do -------------------------------------------------------------------------

    @property
    def handlers(self) -> list[Callable[[], None]]:
        return [self.save, self.read, self.load, self.save_later, self.convert, self.load_later]

    def save(self) -> None:
        self._number += 1
        value = {"w": np.full(10, self._number)}
        ckptload.save_checkpoint(value, self.folder / "emergency.ckpt", enc_key=KEY)
        equal(ckptload.load_checkpoint(self.folder / "emergency.ckpt", dec_key=KEY), value)

    def save_later(self) -> None:
        self._number += 1
        path = self.folder / f"later{self._number}.ckpt"
        ckptload.save_checkpoint({"w": np.full(10, self._number)}, path, async_save=True)
        wait_for_saves()
        equal(ckptload.load_checkpoint(path), {"w": np.full(10, self._number)})
        path.unlink()

    def read(self) -> None:
        if self.reader is not None and not self.reader.closed:
            name = f"p{self._number % 8}"
            equal({name: self.reader[name]}, {name: VALUES[name]})
            equal(self.reader.load())

    def load(self) -> None:
        name = sorted(self._files)[self._number % len(self._files)]
        self._number += 1
        with ckptload.open_checkpoint(self.folder / name, **self._files[name]) as reader:
            equal(reader.load())

    def load_later(self) -> None:
        equal(ckptload.load_checkpoint_async(self.folder / "gcm.ckpt", dec_key=KEY).result())

    def convert(self) -> None:
        with ckptload.open_checkpoint(self.folder / "plain.ckpt") as reader:
            ckptload.convert_checkpoint(reader, self.folder / "made.safetensors")
        ckptload.safetensors_to_ckpt(self.folder / "made.safetensors", self.folder / "back")

    # -- what is interrupted ----------------------------------------------------------------------

    def outer_save(self) -> None:
        with Interrupted([self.save, self.save_later]):
            ckptload.save_checkpoint(VALUES, self.folder / "first.ckpt", async_save=True)
            ckptload.save_checkpoint(VALUES, self.folder / "x.ckpt", enc_key=KEY)
        equal(ckptload.load_checkpoint(self.folder / "first.ckpt"))
        equal(ckptload.load_checkpoint(self.folder / "x.ckpt", dec_key=KEY))

    def outer_save_later(self, how: str = "thread") -> None:
        with Interrupted([self.save, self.save_later, self.load_later]):
            for name in ("first", "second"):
                ckptload.save_checkpoint(VALUES, self.folder / f"{name}.ckpt", async_save=how)
            wait_for_saves()
        for name in ("first", "second"):
            equal(ckptload.load_checkpoint(self.folder / f"{name}.ckpt"))

    def outer_save_in_a_process(self) -> None:
        self.outer_save_later("process")

    def outer_load(self) -> None:
        for name, key in self._files.items():
            with Interrupted(self.handlers), ckptload.open_checkpoint(self.folder / name, **key) as self.reader:
                equal(self.reader.load())
                equal(self.reader)
                self.reader.authenticate()
                self.reader.verify_crc()

    def outer_load_a_file_object(self) -> None:
        for name in ("plain.ckpt", "gcm.ckpt", "cbc.ckpt", "x.safetensors"):
            file = io.BytesIO((self.folder / name).read_bytes())
            with Interrupted(self.handlers), ckptload.open_checkpoint(file, **self._files[name]) as self.reader:
                equal(self.reader.load())

    def outer_load_later(self) -> None:
        with Interrupted(self.handlers):
            equal(ckptload.load_checkpoint_async(self.folder / "gcm.ckpt", dec_key=KEY).result())

    def outer_close(self) -> None:
        """The handler closes what is being read."""
        for name, key in self._files.items():
            for at in range(40):
                reader = ckptload.open_checkpoint(self.folder / name, **key)
                closing = [lambda: None] * (at * 3) + [reader.close]
                try:
                    with Interrupted([*closing, *[lambda: None] * 10_000]):
                        equal(reader.load())
                except ckptload.ClosedReaderError:
                    pass

    def outer_convert(self) -> None:
        with Interrupted(self.handlers), ckptload.open_checkpoint(self.folder / "plain.ckpt") as self.reader:
            ckptload.convert_checkpoint(self.reader, self.folder / "o.ckpt")
            ckptload.convert_checkpoint(self.reader, self.folder / "o.npz")
            ckptload.convert_checkpoint(self.reader, self.folder / "o", max_shard_size=30_000)
        equal(ckptload.load_checkpoint(self.folder / "o.ckpt"))


def main(outer: str, folder: Path) -> None:
    """Run one outer call; end the process with a traceback if it takes minutes."""
    faulthandler.dump_traceback_later(240, exit=True)
    warnings.simplefilter("ignore")
    # A file of a few kilobytes is shared among threads, and blocks have several pieces.
    threads.PATIENCE = 0.05  # type: ignore[misc]
    authenticated._PARALLEL_FROM = 1  # type: ignore[misc]
    authenticated._WORTH_SHARING = 1  # type: ignore[misc]
    from ckptload.sources import base

    base._PARALLEL_FROM = base._WORTH_SHARING = 1  # type: ignore[misc]
    os.fsync = lambda _: None  # type: ignore[assignment]
    if hasattr(os, "register_at_fork"):
        # Lines of the process that saves are not interrupted: there, signals are blocked until it is ready.
        traces: list[Any] = []

        def pause() -> None:
            traces.append(sys.gettrace())
            sys.settrace(None)

        os.register_at_fork(before=pause, after_in_parent=lambda: sys.settrace(traces.pop()))
    program = Program(folder)
    getattr(program, f"outer_{outer}")()
    wait_for_saves()
    sys.stdout.write("done\n")


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]))
