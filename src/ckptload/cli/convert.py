"""`ckptload convert`: the same entries in another format, with other names or another dtype."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, cast

import click

from ckptload import NameMap, Rule, convert_checkpoint, dtypes, guess_torch_names, open_checkpoint
from ckptload.cli import files, globs, options, text, written
from ckptload.cli.maps import is_convention, read_map
from ckptload.cli.progress import Progress
from ckptload.cli.standard import WORD, output
from ckptload.cli.standard import place as shown_place
from ckptload.cli.table import Column, render
from ckptload.errors import ArgumentError
from ckptload.reading.given import or_torch
from ckptload.writing.targets import place

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from ckptload import Move, Reader
    from ckptload.cli.keys import KeyChoice
    from ckptload.cli.sets import Ranks
    from ckptload.cli.terminal import Terminal
    from ckptload.encryption.keys import Key

DTYPES: Final = {one.attribute: one for one in dtypes.FLOATS}
_MANY: Final = 5
_ENDINGS: Final = {"ckpt": ".ckpt", "safetensors": ".safetensors", "npz": ".npz", "torch": ".pt"}


@click.command(cls=options.Command)
@click.argument("source", type=options.FILE, metavar="IN")
@click.argument("target", type=options.FILE, metavar="OUT")
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
@options.ranks
@options.limit
@options.key_to_read
@options.key_to_write("--out-key")
@options.common
def command(
    *,
    source: str,
    target: str,
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
    ranks: Ranks,
    max_records: int | None,
    key: KeyChoice,
    out_key: KeyChoice,
    terminal: Terminal,
) -> int:
    """Convert a checkpoint to another format, dtype or names.

    The suffix of OUT gives the format: .ckpt, .safetensors, .npz or .pt; with --shard-size, OUT is a folder of
    safetensors shards. IN may be - for standard input, and OUT - for standard output, with --to. Memory use does not
    grow with the size of the file, except for a .pt, which torch writes; and OUT appears only when it is complete. IN
    may also be a file of PyTorch, of which weights alone are read.

    A map is a JSON file with rules, as `ckptload map` writes it; or with old and new names, or parts of names before a
    dot: {"backbone": "features"} also renames backbone.0.weight. It is applied before --torch, which leaves names alone
    that a rule gives as a whole.

    OUT is not encrypted, even if IN is, unless one of the --out-key options is given.

    Examples:
      ckptload convert model.ckpt model.safetensors
      ckptload convert model.ckpt model.npz --include 'encoder' --exclude '*.bias'
      ckptload convert model.ckpt torch.safetensors --torch --dtype bfloat16
      ckptload convert model.ckpt torch.pt --torch --map map.json
      ckptload convert model.ckpt folder/ --shard-size 5GB
      ckptload convert --dry-run model.ckpt out.ckpt --exclude 'moment*'
    """
    ranks.check([source])
    request = Request(
        source,
        target,
        terminal,
        opens=or_torch(ranks.opens(source)),
        format=to,
        include=include,
        exclude=exclude,
        name_map=read_map(map_file) if map_file is not None else None,
        is_convention=map_file is not None and is_convention(map_file),
        to_torch=to_torch,
        force=force,
        dry_run=dry_run,
        max_records=max_records,
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


class Request:
    """One conversion as given on the command line."""

    def __init__(
        self,
        source: str,
        target: str,
        terminal: Terminal,
        *,
        format: str | None = None,  # noqa: A002 -- it becomes the argument of this name
        include: Sequence[str] = (),
        exclude: Sequence[str] = (),
        name_map: NameMap | None = None,
        is_convention: bool = False,
        to_torch: bool = False,
        force: bool = False,
        dry_run: bool = False,
        max_records: int | None = None,
        as_json: bool = False,
        opens: Callable[..., Reader] = open_checkpoint,
        work: str = "converting",
        arguments: dict[str, Any] | None = None,
    ) -> None:
        self.source = source
        self.target = target
        self.terminal = terminal
        self.include = include
        self.wanted = globs.chooser(include, exclude)
        self.name_map = name_map
        self.is_convention = is_convention
        self.to_torch = to_torch
        self.force = force
        self.dry_run = dry_run
        self.max_records = max_records
        self.as_json = as_json
        self.opens = opens
        self.work = work
        self.arguments = {"format": format, "dry_run": dry_run, **(arguments or {})}

    def run(self, key: KeyChoice, out_key: Key | None, *, must_be_plain: bool = False) -> int:
        """Convert, and print what was written.

        Args:
            key: key of the source.
            out_key: key to encrypt with, or None.
            must_be_plain: whether to refuse an encrypted source.
        """
        self._check_target()
        secret = key.read()
        with (
            self._output() as path,
            files.noted(self.terminal),
            files.open_file(self.source, secret, key, max_records=self.max_records, opens=self.opens) as reader,
        ):
            if must_be_plain and reader.cipher is not None:
                raise ArgumentError("the file is already encrypted", path=shown_place(self.source))
            self._check_choice(reader)
            notes = [note.text for note in reader.notes]
            self.terminal.say(*(f"ckptload: note: {self.terminal.show(note)}" for note in notes))
            shapes = {name: reader.info(name).shape for name in reader if self.dry_run and self.wanted(name)}
            with Progress(self.terminal, self.work, None) as progress:
                moves = convert_checkpoint(
                    reader,
                    path,
                    choice_func=self.wanted,
                    name_map=self._names(reader),
                    enc_key=cast("Any", out_key),
                    progress=progress.at,
                    replace=self.force or self.dry_run,
                    **self.arguments,
                )
        if self.as_json:
            self.terminal.write(
                text.document(**_as_data(moves, (moves.written, moves.removed), notes, dry_run=self.dry_run))
            )
        elif self.dry_run:
            self.terminal.write(_planned(moves, shapes, self.terminal))
            self.terminal.say(*_files(moves.written, moves.removed, self.terminal))
        total = sum(move.item.nbytes for move in moves)
        paths = written.named(self.target, moves.written)
        self.terminal.say(written.line(paths, len(moves), total, self.terminal, dry_run=self.dry_run))
        return text.SOUND

    def _check_target(self) -> None:
        """Look at OUT before anything is read; convert_checkpoint looks again.

        Raises:
            ArgumentError: standard output takes no shards, no JSON beside it, or no file whose format is not said.
            MissingFolderError: the folder of OUT does not exist.
            WriteError: there is something at OUT that is not a file.
        """
        in_shards = self._in_shards()
        if self.target != WORD:
            # The folder that shards are in is the output, and is made.
            files.check_folder(str(Path(self.target).parent) if self.target.endswith(files.INDEX) else self.target)
            if not in_shards:
                place(self.target)
        elif in_shards or self.as_json:
            raise ArgumentError("standard output takes one file and nothing else", hint="give a path for OUT")
        elif self.arguments["format"] is None:
            raise ArgumentError("standard output has no suffix that says the format", hint="pass --to safetensors")

    def _output(self) -> AbstractContextManager[str]:
        """Return what gives the path to write to."""
        if self.target != WORD:
            return nullcontext(self.target)
        ending = _ENDINGS[self.arguments["format"]]
        # Nothing is written there in a dry run, whose table is the output.
        return nullcontext(f"out{ending}") if self.dry_run else output(ending)

    def _check_choice(self, reader: Reader) -> None:
        """Raise NothingSelectedError if --include matches no entry, or --exclude all of them."""
        every = [*reader, *reader.kept_strings()]
        if every and not any(map(self.wanted, every)):
            raise globs.no_match(self.include, every, shown_place(self.source))

    def _in_shards(self) -> bool:
        return self.arguments.get("max_shard_size") is not None or self.target.endswith(files.INDEX)

    def _names(self, reader: Reader) -> NameMap | None:
        """Return the map of the entries, with the names of PyTorch if these are wanted."""
        chosen = [name for name in reader if self.wanted(name)]
        name_map = self.name_map
        # A convention is for several kinds of nets, of which each has some of its names.
        unmatched = [] if name_map is None or self.is_convention else name_map.unused(chosen)
        if unmatched:
            self.terminal.say(
                f"ckptload: warning: these names of the name map match no entry: {_some(unmatched, self.terminal)}"
            )
        return self._in_torch(reader, chosen, name_map or NameMap({})) if self.to_torch else name_map

    def _in_torch(self, reader: Reader, chosen: Sequence[str], name_map: NameMap) -> NameMap:
        """Return a map with rules for the names that it does not give as a whole, and PyTorch has others for."""
        recipes = name_map.recipes(chosen)
        shapes = {
            recipe.name: entry.shape
            for recipe in recipes
            if recipe.rule is None and (entry := reader.info(recipe.sources[0])).kind == "tensor"
        }
        # What a layer is shows in all names of the file; those that are not chosen may be damaged.
        every = [recipe.name for recipe in recipes]
        with suppress(ArgumentError):
            every = [recipe.name for recipe in name_map.recipes(reader)]
        final = name_map.whole(chosen)
        open_ones = {
            recipe.name: recipe.sources[0]
            for recipe in recipes
            if recipe.rule is None and recipe.sources[0] not in final
        }
        guessed, unclear = guess_torch_names(open_ones, shapes=shapes, beside=every)
        self._tell_unclear([name for name in unclear if guessed[name] == name], kept=True)
        self._tell_unclear([name for name in unclear if guessed[name] != name], kept=False)
        more = [Rule((old,), (guessed[new],)) for new, old in open_ones.items() if guessed[new] != new]
        return NameMap([*name_map.rules, *more])

    def _tell_unclear(self, names: Sequence[str], *, kept: bool) -> None:
        if not names:
            return
        number = text.counted(len(names), "name is", "names are")
        outcome = "got the likeliest name"
        if kept:
            outcome = f"{'was' if len(names) == 1 else 'were'} left unchanged"
        self.terminal.say(
            f"ckptload: warning: {number} ambiguous in PyTorch and {outcome}: {_some(names, self.terminal)}"
        )


def _some(names: Sequence[str], terminal: Terminal) -> str:
    first = ", ".join(terminal.show(name) for name in names[:_MANY])
    return first + (f" and {len(names) - _MANY} more" if len(names) > _MANY else "")


def _files(new: Sequence[str], removed: Sequence[str], terminal: Terminal) -> Iterator[str]:
    """Yield what becomes of files, if there are several."""
    if len(new) + len(removed) > 1:
        for paths, what in ((new, "written"), (removed, "removed")):
            if paths:
                names = _some([Path(one).name for one in paths], terminal)
                yield f"{text.counted(len(paths), 'file', 'files')} would be {what}: {names}"


def _as_data(
    moves: Sequence[Move], paths: tuple[list[str], list[str]], notes: Sequence[str], *, dry_run: bool
) -> dict[str, Any]:
    return {
        "dry_run": dry_run,
        "entries": [
            {
                "name": move.old,
                "becomes": move.item.name,
                "kind": move.item.kind,
                "dtype": None if move.item.dtype is None else str(move.item.dtype),
                "shape": list(move.item.shape),
                "bytes": move.item.nbytes,
            }
            for move in moves
        ],
        "bytes": sum(move.item.nbytes for move in moves),
        "written": paths[0],
        "removed": paths[1],
        "notes": list(notes),
    }


def _planned(moves: Sequence[Move], shapes: Mapping[str, tuple[int, ...]], terminal: Terminal) -> Iterator[str]:
    """Yield a table of the entries before and after the conversion; shapes before it are given by name."""
    name, new = Column("NAME", fg="cyan"), Column("BECOMES", keep=8, fg="green")
    dtype, shape, size = Column("DTYPE", keep=7), Column("SHAPE", keep=5), Column("BYTES", right=True, keep=6)
    for move in moves:
        item = move.item
        name.cells.append(terminal.show(move.old or "(zeros)"))
        new.cells.append(terminal.show(item.name) if item.name != move.old else "")
        changed = item.dtype is not move.source
        dtype.cells.append(f"{move.source} -> {item.dtype}" if changed else str(item.dtype or item.kind))
        before = shapes.get(move.old, item.shape)
        shape.cells.append(
            "" if item.dtype is None else f"{before} -> {item.shape}" if before != item.shape else str(item.shape)
        )
        size.cells.append(text.grouped(item.nbytes))
    yield from render([name, new, dtype, shape, size], terminal)
