"""`ckptload merge`: the whole tensors of many ranks as one checkpoint."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

import click

from ckptload import open_distributed
from ckptload.cli import options
from ckptload.cli.convert import DTYPES, Request
from ckptload.cli.maps import is_convention, read_map
from ckptload.cli.standard import check_is_file

if TYPE_CHECKING:
    from ckptload.cli.keys import KeyChoice
    from ckptload.cli.terminal import Terminal


@click.command(cls=options.Command)
@click.argument("source", type=options.FILE, metavar="SRC")
@click.argument("target", type=options.FILE, metavar="OUT")
@options.of_ranks
@click.option(
    "--to",
    "--format",
    "to",
    type=click.Choice(["ckpt", "safetensors", "npz", "torch"]),
    help="Format, instead of the suffix of OUT; torch for .pt.",
)
@click.option("--torch", "to_torch", is_flag=True, help="Use PyTorch's names: weight for gamma, and so on.")
@options.select
@options.name_map
@click.option("--dtype", type=click.Choice(list(DTYPES)), help="Convert floating-point tensors.")
@click.option(
    "--shard-size",
    metavar="SIZE",
    help="Write safetensors shards of at most this size, such as 5GB, into the folder OUT.",
)
@click.option("--crc", is_flag=True, help="Add a CRC-32, which verify checks.")
@click.option("--force", is_flag=True, help="Replace files that exist.")
@click.option("-n", "--dry-run", is_flag=True, help="Show what would be written, and write nothing.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON for programs.")
@options.limit
@options.key_to_read
@options.key_to_write("--out-key")
@options.common
def command(
    *,
    source: str,
    target: str,
    strategy: str | None,
    file_suffix: str | None,
    copies: str | None,
    to: str | None,
    to_torch: bool,
    include: tuple[str, ...],
    exclude: tuple[str, ...],
    map_file: str | None,
    dtype: str | None,
    shard_size: str | None,
    crc: bool,
    force: bool,
    dry_run: bool,
    as_json: bool,
    max_records: int | None,
    key: KeyChoice,
    out_key: KeyChoice,
    terminal: Terminal,
) -> int:
    """Join the files of many ranks in one checkpoint.

    Its tensors are whole. SRC is a folder of rank_0, rank_1, ..., a unified folder, or one with metadata.json. If the
    tensors were cut, --strategy names the strategy file of that training, or the folder of those of its stages. The
    suffix of OUT gives the format. Memory use does not grow with the size of the tensors, and OUT appears only when
    it is complete.

    Examples:
      ckptload merge ranks/ model.ckpt --strategy strategy.ckpt
      ckptload merge ranks/ model.safetensors --strategy strategy/ --torch --exclude 'moment*'
      ckptload merge ranks/ folder/ --strategy strategy.ckpt --shard-size 5GB
      ckptload merge --dry-run ranks/ model.ckpt --strategy strategy.ckpt
    """
    check_is_file(source, "SRC")
    request = Request(
        source,
        target,
        terminal,
        format=to,
        include=include,
        exclude=exclude,
        name_map=read_map(map_file) if map_file is not None else None,
        is_convention=map_file is not None and is_convention(map_file),
        to_torch=to_torch,
        force=force,
        dry_run=dry_run,
        max_records=max_records,
        as_json=as_json,
        opens=partial(open_distributed, strategy=strategy, file_suffix=file_suffix, copies=copies),
        work="merging",
        arguments={
            "dtype": DTYPES[dtype] if dtype else None,
            "crc_check": crc,
            "max_shard_size": shard_size,
            "enc_mode": out_key.mode or "AES-GCM",
            # Hugging Face's libraries require this before they load a file into torch.
            "metadata": {"format": "pt"} if to_torch else None,
        },
    )
    return request.run(key, out_key.read())
