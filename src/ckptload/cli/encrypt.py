"""`ckptload encrypt` and `ckptload decrypt`: write a checkpoint with or without encryption."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from ckptload.cli import options
from ckptload.cli.convert import Request
from ckptload.cli.keys import KeyChoice
from ckptload.errors import ArgumentError

if TYPE_CHECKING:
    from ckptload.cli.terminal import Terminal


@click.command(cls=options.Command)
@click.argument("source", type=options.FILE, metavar="IN")
@click.argument("target", type=options.FILE, metavar="OUT")
@click.option("--force", is_flag=True, help="Replace OUT if it exists.")
@options.select
@options.limit
@options.key_to_write("--key")
@options.common
def encrypt(
    *,
    source: str,
    target: str,
    force: bool,
    include: tuple[str, ...],
    exclude: tuple[str, ...],
    max_records: int | None,
    out_key: KeyChoice,
    terminal: Terminal,
) -> int:
    """Encrypt a checkpoint with a key.

    MindSpore and ckptload then load it with dec_key. AES-GCM detects every change. The other modes detect none and
    exist for readers that need them. A key is never taken from the command line, where other processes can see it. A
    safetensors file becomes an encrypted .ckpt.

    Examples:
      openssl rand -hex 32 > key.hex
      ckptload encrypt model.ckpt secret.ckpt --key-file key.hex --key-format hex
      MODEL_KEY=... ckptload encrypt model.ckpt secret.ckpt --key-env MODEL_KEY --key-format hex
    """
    if not out_key.given:
        raise ArgumentError("a key to encrypt with is required", hint="use --key-file, --key-env or --key-prompt")
    request = Request(
        source,
        target,
        terminal,
        force=force,
        max_records=max_records,
        include=include,
        exclude=exclude,
        format="ckpt",
        arguments={"enc_mode": out_key.mode},
    )
    return request.run(KeyChoice(), out_key.read(), must_be_plain=True)


@click.command(cls=options.Command)
@click.argument("source", type=options.FILE, metavar="IN")
@click.argument("target", type=options.FILE, metavar="OUT")
@click.option("--force", is_flag=True, help="Replace OUT if it exists.")
@options.select
@options.limit
@options.key_to_read
@options.common
def decrypt(
    *,
    source: str,
    target: str,
    force: bool,
    include: tuple[str, ...],
    exclude: tuple[str, ...],
    max_records: int | None,
    key: KeyChoice,
    terminal: Terminal,
) -> int:
    """Decrypt a checkpoint with its key.

    If the mode authenticates, OUT appears only if all of IN is authentic. The suffix of OUT gives the format, as
    in convert. Files of MindSpore 1.3 to 1.6 do not hold their mode and need --mode.

    Examples:
      ckptload decrypt secret.ckpt model.ckpt --key-file key.hex --key-format hex
      ckptload decrypt secret.ckpt model.safetensors --key-prompt --key-format raw
    """
    if not key.given:
        raise ArgumentError("a key to decrypt with is required", hint="use --key-file, --key-env or --key-prompt")
    request = Request(source, target, terminal, force=force, max_records=max_records, include=include, exclude=exclude)
    return request.run(key, None)
