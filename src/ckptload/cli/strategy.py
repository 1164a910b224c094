"""`ckptload strategy`: how a training has cut its tensors over its ranks."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any, Final

import click

from ckptload import merge_pipeline_strategys, read_strategy, save_strategy
from ckptload.cli import cuts, files, globs, options, text
from ckptload.cli.standard import check_is_file
from ckptload.cli.table import Column, render
from ckptload.errors import ArgumentError
from ckptload.shown import place

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from ckptload import SliceLayout, Strategy
    from ckptload.cli.terminal import Terminal

#: A name, its stage, and its layout there.
Row = tuple[str, int, "SliceLayout"]
#: Ranks with the same slice that a line lists.
_LISTED: Final = 16


@click.command(cls=options.Command)
@click.argument("path", type=options.FILE, metavar="FILE_OR_FOLDER")
@click.option("--filter", "patterns", multiple=True, metavar="GLOB", help="Show only matching names; may be repeated.")
@click.option("--rank", type=click.IntRange(min=0), metavar="R", help="What this rank holds, and who holds the same.")
@click.option("--picture", metavar="NAME", help="Draw how this tensor is cut; by default the one with the most parts.")
@click.option("--merge", "target", type=options.FILE, metavar="OUT", help="Write one file of all stages.")
@click.option("--force", is_flag=True, help="Replace a file that exists.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON for programs (docs/cli.md has its schema).")
@options.common
def command(
    *,
    path: str,
    patterns: tuple[str, ...],
    rank: int | None,
    picture: str | None,
    target: str | None,
    force: bool,
    as_json: bool,
    terminal: Terminal,
) -> int:
    """Show how a training has cut its tensors over its ranks.

    That is its strategy: ranks, stages, how each tensor is cut, and which rank holds what. It is a .ckpt or .json
    file that a training wrote beside its checkpoints, one merged of several, or a folder with those of all stages.
    Device axes in MAP are counted from the right: 0 is the last one of DEVICES.

    Examples:
      ckptload strategy strategy.ckpt
      ckptload strategy strategy/ --rank 5
      ckptload strategy strategy/ --filter '*.weight' --picture layers.0.weight
      ckptload strategy strategy/ --merge merged.ckpt
    """
    check_is_file(path, "FILE_OR_FOLDER")
    with files.noted(terminal):
        strategy = read_strategy(path)
    if rank is not None:
        strategy.stage_of(rank)
    if target is not None:
        _merge(path, strategy, target, force=force)
    wanted = globs.chooser(patterns, ())
    stages = range(strategy.stages) if rank is None else [strategy.stage_of(rank)]
    rows = [
        (name, stage, layout)
        for stage in stages
        for name, layout in sorted(strategy.layouts(stage).items(), key=lambda item: globs.natural(item[0]))
        if wanted is None or wanted(name)
    ]
    if as_json:
        terminal.write(text.document(**_as_data(path, strategy, rows, rank)))
    else:
        terminal.write(_lines(path, strategy, rows, rank, terminal))
        terminal.write(_picture(strategy, rows, picture, rank, terminal))
    if target is not None:
        terminal.say(f"ckptload: wrote {terminal.show(target)}")
    if patterns and not rows:
        every = [name for stage in stages for name in strategy.layouts(stage)]
        return terminal.complain(globs.no_match(patterns, every, place(path), command="strategy"))
    return text.SOUND


def _merge(path: str, strategy: Strategy, target: str, *, force: bool) -> None:
    files.check_output(target, force=force)
    if os.path.isdir(path):  # noqa: PTH112 -- paths are strings here
        # Operators are kept, which a Strategy does not have.
        merge_pipeline_strategys(path, target)
    else:
        save_strategy(strategy, target)


# -- for people ------------------------------------------------------------------------------------


def _lines(path: str, strategy: Strategy, rows: Sequence[Row], rank: int | None, terminal: Terminal) -> Iterator[str]:
    yield terminal.style(terminal.show(place(path)), bold=True)
    facts = [text.counted(strategy.ranks, "rank", "ranks"), text.counted(strategy.stages, "stage", "stages")]
    names = len(strategy.names())
    yield "  " + terminal.style(f"{', '.join(facts)}, {text.counted(names, 'name', 'names')}", dim=True)
    for stage in range(strategy.stages if strategy.stages > 1 else 0):
        held = strategy.ranks_of(stage)
        count = text.counted(len(strategy.layouts(stage)), "layout", "layouts")
        yield "  " + terminal.style(f"stage {stage}: ranks {held.start}-{held.stop - 1}, {count}", dim=True)
    if rank is not None:
        stage = strategy.stage_of(rank)
        yield f"  rank {rank}: stage {stage}, rank {rank - strategy.firsts[stage]} of it"
    if rows:
        yield ""
        yield from render(_columns(strategy, rows, rank, terminal), terminal)


def _columns(strategy: Strategy, rows: Sequence[Row], rank: int | None, terminal: Terminal) -> list[Column]:
    name, devices, entries = Column("NAME", fg="cyan"), Column("DEVICES", keep=5), Column("MAP", keep=7)
    stage, parts = Column("STAGE", keep=4), Column("PARTS", keep=8)
    shard, copies = Column("SHARD", keep=6), Column("COPIES", right=True, keep=8)
    part, same = Column("HOLDS", keep=8), Column("SAME ON", keep=3)
    for each, number, layout in rows:
        name.cells.append(terminal.show(each))
        stage.cells.append(str(number) if strategy.stages > 1 else "")
        devices.cells.append(" x ".join(map(str, layout.device_matrix)))
        entries.cells.append(cuts.as_map(layout))
        parts.cells.append(" x ".join(map(str, layout.parts)) or "1")
        shard.cells.append(str(cuts.shards(layout)) if layout.shard else "")
        copies.cells.append(str(cuts.copies(layout)))
        if rank is not None:
            first = strategy.firsts[number]
            local = rank - first
            part.cells.append(_held(layout, local))
            others = [first + other for other in cuts.held_by(layout, local) if other != local]
            same.cells.append(cuts.as_ranges(others[:_LISTED]) + (", ..." if len(others) > _LISTED else ""))
    if rank is not None:
        return [name, devices, entries, part, same]
    return [name, stage, devices, entries, parts, shard, copies]


def _held(layout: SliceLayout, rank: int) -> str:
    """Say which part of each axis a rank holds, counted from 1."""
    found = [f"{at + 1} of {of}" for at, of in zip(cuts.cell(layout, rank), cuts.grid(layout), strict=True)]
    return " x ".join(found) or "all"


def _picture(
    strategy: Strategy, rows: Sequence[Row], name: str | None, rank: int | None, terminal: Terminal
) -> Iterator[str]:
    """Draw one tensor, that with the most parts if none is named; of these the first."""
    if name is None:
        drawn = [row for row in rows if cuts.can_be_drawn(row[2])]
        chosen = max(drawn, key=lambda row: cuts.number(row[2]), default=None)
        if chosen is None or cuts.number(chosen[2]) == 1:
            return
    else:
        stage = strategy.stages_of(name)[0] if strategy.stages_of(name) else None
        chosen = (name, stage or 0, strategy.layout(name, stage))
        if not cuts.can_be_drawn(chosen[2]):
            raise ArgumentError("a picture of so many parts is too large", name=name, hint="list a rank with --rank")
    yield ""
    yield f"{terminal.show(chosen[0])}: which ranks hold which part"
    yield from cuts.draw(chosen[2], strategy.firsts[chosen[1]], rank, terminal)


# -- for programs ----------------------------------------------------------------------------------


def _as_data(path: str, strategy: Strategy, rows: Sequence[Row], rank: int | None) -> dict[str, Any]:
    data: dict[str, Any] = {
        "path": place(path),
        "ranks": strategy.ranks,
        "stages": [
            {
                "first": strategy.firsts[stage],
                "ranks": len(strategy.ranks_of(stage)),
                "layouts": len(strategy.layouts(stage)),
            }
            for stage in range(strategy.stages)
        ],
        "layouts": [_layout(strategy, row, rank) for row in rows],
    }
    return data


def _layout(strategy: Strategy, row: Row, rank: int | None) -> dict[str, Any]:
    name, stage, layout = row
    data: dict[str, Any] = {
        "name": name,
        "stage": stage,
        "device_matrix": list(layout.device_matrix),
        "tensor_map": [list(entry) for entry in layout.tensor_map],
        "parts": list(layout.parts),
        "shard": layout.shard,
        "shards": cuts.shards(layout),
        "copies": cuts.copies(layout),
        "split": list(layout.split),
        "field": layout.field,
    }
    if rank is not None:
        first = strategy.firsts[stage]
        data["part"] = cuts.cell(layout, rank - first)
        data["held_by"] = [first + other for other in cuts.held_by(layout, rank - first)]
    return data
