"""`ckptload map`: a proposed map from the names of a checkpoint to those of a net."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from ckptload import propose_name_map
from ckptload.cli import completing, files, options, sets, text
from ckptload.cli.keys import KeyChoice
from ckptload.cli.module import load_module
from ckptload.cli.standard import check_once, place
from ckptload.errors import ArgumentError
from ckptload.messages import shown_text
from ckptload.reading.given import or_torch

if TYPE_CHECKING:
    from collections.abc import Iterable

    from ckptload import Proposal
    from ckptload.cli.sets import Ranks
    from ckptload.cli.terminal import Terminal

#: The exit codes of this command (docs/cli.md, "map").
CERTAIN, UNSURE, MISFIT = 0, 1, 2


@click.command(cls=options.Command)
@click.argument("source", type=options.FILE, metavar="FILE")
@click.option("--module", "module", metavar="MODULE:NAME", help="The net: what to import and call. This runs its code.")
@click.option(
    "--argument", "arguments", multiple=True, metavar="NAME=VALUE", help="Argument to call it with; may be repeated."
)
@click.option("--target", "target", type=options.FILE, metavar="FILE", help="A checkpoint of the net, instead of it.")
@click.option(
    "--rule",
    "rules",
    multiple=True,
    metavar="OLD=NEW",
    help="What is known of the names, such as layers.{i}.w1=layers.{i}.gate; may be repeated.",
)
@click.option(
    "--convention",
    metavar="NAME",
    shell_complete=completing.conventions,
    help="Names that ckptload knows, such as mindformers-llama.",
)
@click.option("-o", "--output", "output", type=options.FILE, metavar="MAP.json", help="Write the map to a file.")
@click.option("--force", is_flag=True, help="Replace the file if it exists.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON for programs.")
@options.ranks
@options.limit
@options.key_to_read
@options.common
def command(
    *,
    source: str,
    module: str | None,
    arguments: tuple[str, ...],
    target: str | None,
    rules: tuple[str, ...],
    convention: str | None,
    output: str | None,
    force: bool,
    as_json: bool,
    ranks: Ranks,
    max_records: int | None,
    key: KeyChoice,
    terminal: Terminal,
) -> int:
    """Propose how the names of a checkpoint become those of a net.

    The map follows from names, shapes, order and types of layers. It is certain, or it has questions, which --rule
    answers; nothing is guessed. `ckptload convert --map` and every name_map in Python take the file that -o writes.

    --module imports code, from the current folder first, and calls what it names. A checkpoint of the net
    (.safetensors, .pt, .ckpt) in --target does instead.

    Exit code: 0 certain, 1 unsure, 2 misfit: the net has tensors that nothing fits; or an error.

    Examples:
      ckptload map model.ckpt --module torchvision.models:resnet50 -o map.json
      ckptload map model.ckpt --module nets:Net --argument num_classes=5
      ckptload map model.ckpt --target model.safetensors --rule 'layers.{i}.w1=layers.{i}.gate'
      ckptload map model.ckpt --target model.safetensors --convention mindformers-llama
    """
    if (module is None) == (target is None):
        raise click.UsageError("give the net with --module, or a checkpoint of it with --target")
    if arguments and module is None:
        raise click.UsageError("--argument is for what --module names")
    if output is not None:
        files.check_output(output, "MAP.json", force=force)
    check_once([source, target or ""])
    known = _rules(rules)
    ranks.check([source])
    secret = key.read()
    with (
        files.noted(terminal),
        files.open_file(
            source, secret, key, max_records=max_records, plain_too=True, opens=or_torch(ranks.opens(source))
        ) as reader,
    ):
        sets.notes_of(reader, terminal)
        net = _shapes(target, max_records) if target is not None else load_module(module or "", arguments, terminal)
        proposal = propose_name_map(net, reader, rules=known or None, convention=convention)
    if output is not None:
        proposal.save(output)
    if as_json:
        terminal.write(text.document(**_as_data(proposal, source, output)))
    else:
        for line in str(proposal).splitlines():
            terminal.write(terminal.wrap(terminal.show(line), "    "))
    if output is not None:
        open_ones = "" if proposal.certain else ", with its questions: answer them there before it is used"
        terminal.say(f"{terminal.show(place(output))}: written{open_ones}")
    if proposal.questions:
        terminal.say("  hint: answer the questions with --rule OLD=NEW, such as --rule 'layers.{i}.w1=layers.{i}.gate'")
    return _code(proposal)


def _code(proposal: Proposal) -> int:
    if proposal.certain:
        return CERTAIN
    return MISFIT if proposal.missing else UNSURE


def _rules(told: Iterable[str]) -> dict[str, str | None]:
    """Return the rules that options give; nothing behind the sign leaves an entry out."""
    found: dict[str, str | None] = {}
    for one in told:
        old, sign, new = one.partition("=")
        if not sign or not old:
            raise ArgumentError(f"--rule {shown_text(one)} is not OLD=NEW", hint="for example --rule backbone=features")
        if old in found:
            raise ArgumentError("two rules are about the same name", name=old, hint="leave one of them out")
        found[old] = new or None
    return found


def _shapes(target: str, max_records: int | None) -> dict[str, tuple[int, ...]]:
    """Return the names and shapes of a checkpoint of the net."""
    nothing = KeyChoice()
    with files.open_file(
        target, None, nothing, max_records=max_records, opens=or_torch(sets.Ranks().opens(target))
    ) as reader:
        entries = map(reader.info, reader)
        return {entry.name: entry.shape for entry in entries if entry.kind == "tensor"}


def _as_data(proposal: Proposal, source: str, output: str | None) -> dict[str, Any]:
    return {
        "path": place(source),
        "certain": proposal.certain,
        "verdict": ("certain", "unsure", "misfit")[_code(proposal)],
        "name_map": dict(proposal.name_map),
        "rules": [rule.data() for rule in proposal.map.rules],
        "questions": [str(question) for question in proposal.questions],
        "missing": list(proposal.missing),
        "unused": list(proposal.unused),
        "reshapes": {
            name: {"before": list(before), "after": list(after)} for name, (before, after) in proposal.reshapes.items()
        },
        "zeros": {name: list(shape) for name, shape in proposal.zeros.items()},
        "joins": {name: list(names) for name, names in proposal.joins.items()},
        "cuts": {name: list(names) for name, names in proposal.cuts.items()},
        "transposes": list(proposal.transposes),
        "written": None if output is None else place(output),
    }
