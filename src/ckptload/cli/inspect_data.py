"""The output of `ckptload inspect` for programs."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from ckptload.cli import text, tree

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ckptload import Foreign
    from ckptload.cli.listing import Listing, Row
    from ckptload.cli.stats import Number, Stats
    from ckptload.errors import CheckpointError


def file(one: Listing, sort: Sequence[str], *, with_tree: bool) -> dict[str, Any]:
    """Return what is known of a file; the tree with its levels sorted by some keys, if it is wanted."""
    total = one.nbytes
    data: dict[str, Any] = {
        "path": one.path,
        "format": one.format,
        "size": one.size,
        "cipher": one.cipher,
        "authenticated": one.facts.authenticated,
        "has_checksum": one.facts.has_checksum,
        "written_by": one.facts.written_by,
        "evidence": [trait.trait for trait in one.facts.evidence],
        "foreign": _foreign(one.facts.foreign),
        "metadata": one.metadata,
        "set": None if one.described is None else one.described.as_data(),
        "entries": [_row(row, total) for row in one.shown],
        "total": {
            "entries": len(one.rows),
            "entries_in_file": one.names,
            "elements": one.elements,
            "optimizer_elements": one.state,
            "bytes": total,
            "by_type": {
                kind: {"entries": found.entries, "elements": found.elements, "bytes": found.nbytes}
                for kind, found in one.by_type().items()
            },
        },
    }
    if with_tree:
        root = tree.grow(one.rows)
        tree.order(root, sort)
        data["tree"] = tree.as_data(root)["children"] if root.children else []
    return data


def _foreign(found: Foreign) -> dict[str, Any]:
    first = [{"offset": one.offset, "bytes": one.nbytes, "what": one.what, "record": one.record} for one in found.first]
    return {"number": found.number, "bytes": found.nbytes, "first": first}


def _row(row: Row, total: int) -> dict[str, Any]:
    if row.entry is None:
        return {"name": row.name, "kind": row.type, "error": error(row.damage)}
    entry = row.entry
    data: dict[str, Any] = {
        "name": row.name,
        "kind": entry.kind,
        "dtype": entry.type_name or (str(entry.dtype) if entry.dtype is not None else None),
        "shape": list(entry.shape),
        "bytes": entry.nbytes,
        "share": entry.nbytes / total if total else 0,
        "offset": entry.offset,
        "slices": entry.slices,
    }
    if row.value is not None:
        data["value"] = number(row.value) if isinstance(row.value, float) else row.value
    if entry.parts:
        data["parts"] = [{"dtype": str(part.dtype), "shape": list(part.shape)} for part in entry.parts]
    if row.stats is not None:
        data["stats"] = _stats(row.stats)
    return data


def _stats(stats: Stats) -> dict[str, Any]:
    return {
        "min": number(stats.min),
        "max": number(stats.max),
        "mean": number(stats.mean),
        "std": number(stats.std),
        "nan": stats.nan,
        "inf": stats.inf,
        "zeros": stats.zeros,
        "dead": stats.dead,
        "constant": stats.constant,
    }


def number(found: Number | None) -> Number | None:
    """Return the number, or None for NaN and infinity, which JSON does not have."""
    return found if found is not None and math.isfinite(found) else None


def error(found: CheckpointError | None) -> dict[str, Any]:
    """Return an error, whether of a whole file or of an entry."""
    if found is None:
        return {}
    return {
        "kind": text.KINDS[text.exit_code(found)],
        "type": type(found).__name__,
        "problem": text.problem(found),
        "offset": found.offset,
        "hint": text.hint(found),
    }
