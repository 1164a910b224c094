"""Keys of encrypted files: from a file, from the environment, or typed in; never from the command line.

Every process of the machine can see a command line, and the shell stores it in its history. Messages never show a
key or a part of one.
"""

from __future__ import annotations

import getpass
import os
import sys
from contextlib import suppress
from dataclasses import dataclass
from typing import Final

from ckptload.cli.small import read_small
from ckptload.encryption.keys import Key
from ckptload.errors import ArgumentError
from ckptload.messages import shown_text

_LENGTHS: Final = (16, 24, 32)
#: The longest key in any form is shorter; a wrong path may lead to a file of any size.
_MOST: Final = 4096
_NEWLINES: Final = (b"\r\n", b"\n")


@dataclass(frozen=True)
class KeyChoice:
    """The source of a key, its form, and the mode to use it with.

    Attributes:
        file: path of a file with the key.
        env: name of an environment variable with the key.
        prompt: whether to ask for it.
        form: ``hex`` or ``raw``.
        mode: cipher; None for the one in the file.
        allow_unauthenticated: whether to open AES-GCM files with data that no tag covers.
    """

    file: str | None = None
    env: str | None = None
    prompt: bool = False
    form: str | None = None
    mode: str | None = None
    allow_unauthenticated: bool = False
    #: Prefix of the options in messages: ``--key`` or, for the file that is written, ``--out-key``.
    option: str = "--key"

    @property
    def given(self) -> bool:
        """Tell whether a key was given."""
        return self.prompt or self.file is not None or self.env is not None

    def read(self) -> Key | None:
        """Return the key, or None if none was given.

        Raises:
            ArgumentError: it cannot be read, or is not a valid key.
        """
        if not self.given:
            return None
        if self.prompt + (self.file is not None) + (self.env is not None) > 1:
            raise ArgumentError(f"{self.option}-file, {self.option}-env and {self.option}-prompt cannot be combined")
        if self.form is None:
            raise ArgumentError(
                f"{self.option}-format is required: hex or raw",
                hint=f"{self.option}-format hex for hexadecimal digits, {self.option}-format raw for plain bytes",
            )
        key = _from_hex(self._content()) if self.form == "hex" else self._content()
        if len(key) not in _LENGTHS:
            raise ArgumentError(
                f"the key has {len(key)} bytes; a key must have 16, 24 or 32", hint=self._length_hint(key)
            )
        return key

    def _content(self) -> Key:
        if self.file is not None:
            return _from_file(self.file)
        if self.env is not None:
            return _from_environment(self.env)
        return _typed()

    def _length_hint(self, key: Key) -> str:
        for end in _NEWLINES:
            if key.reveal().endswith(end) and len(key) - len(end) in _LENGTHS:
                return "the key ends with a newline, which is part of a raw key: remove it"
        if self.form == "raw" and len(key) in {2 * length for length in _LENGTHS}:
            return f"if these are hexadecimal digits, use {self.option}-format hex"
        return f"check the key and {self.option}-format; SM4 takes 16 bytes"


def _from_file(path: str) -> Key:
    content = Key(read_small(path, _MOST, f"the key file {shown_text(path)}"))
    if len(content) > _MOST:
        raise ArgumentError(f"the key file {shown_text(path)} is too long to be a key")
    return content


def _from_environment(name: str) -> Key:
    if name not in os.environ:
        raise ArgumentError(
            f"the environment variable {shown_text(name)} is not set", hint="export it, or use --key-file"
        )
    return Key(os.fsencode(os.environ[name]))


def _typed() -> Key:
    if not sys.stdin.isatty():
        raise ArgumentError("a key can only be typed at a terminal", hint="use --key-file or --key-env")
    try:
        # Not click's prompt, which prints the question before it turns off the echo.
        return Key(getpass.getpass("Key: ").encode("utf-8", "surrogateescape"))
    except EOFError as error:
        raise ArgumentError("no key was typed") from error


def _from_hex(content: Key) -> Key:
    # Not chained: the original exception shows the position and value of a wrong character.
    with suppress(ValueError):
        return Key(bytes.fromhex(content.reveal().decode("ascii").strip()))
    raise ArgumentError(
        "the key is not hexadecimal", hint="hex is two digits per byte; for plain bytes use the format raw"
    )
