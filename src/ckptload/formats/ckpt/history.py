"""Infer which versions of MindSpore can have written a .ckpt.

The file does not say it, but some traits are written by some versions only (docs/format.md, "History by version").
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Final

from ckptload import dtypes
from ckptload.formats.ckpt import records, schema
from ckptload.formats.index import Evidence, Version

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from ckptload.formats.ckpt.fields import Piece, Record


_SCALAR_OLD: Final = Evidence("scalars with dims [0]", until=(2, 2))
_SCALAR_NEW: Final = Evidence("scalars without dims", since=(2, 1))
_STRINGS: Final = Evidence("strings", since=(1, 8))
_MAP_OLD: Final = Evidence("map tensors in cumulative records", since=(2, 0), until=(2, 0))
_MAP_NEW: Final = Evidence("map tensors in records of three", since=(2, 1))
_RANDOM: Final = Evidence("a random_op record", since=(2, 0), until=(2, 2))
_TRAILER: Final = Evidence("a CRC trailer", since=(2, 3))
_LATE_TYPES: Final = Evidence("types that came with 2.x", since=(2, 0))
_COMPLEX: Final = Evidence("complex types", since=(1, 4))
_CIPHERS: Final = {
    "AES-GCM": Evidence("AES-GCM", since=(1, 3)),
    "AES-CBC": Evidence("AES-CBC", since=(1, 3)),
    "SM4-CBC": Evidence("SM4-CBC", since=(2, 0)),
}
_LATE: Final = {
    dtype.name for dtype in (dtypes.bfloat16, dtypes.qint4x2, dtypes.float8_e4m3fn, dtypes.float8_e5m2, dtypes.hifloat8)
}


def evidence(
    by_name: Mapping[str, records.Found], *, has_checksum: bool, cipher: str | None, tagged: bool
) -> tuple[Evidence, ...]:
    """Collect the traits of a .ckpt, each once.

    Args:
        by_name: records by name, as `records.grouped` returns them.
        has_checksum: whether the file has a CRC trailer.
        cipher: mode of an encrypted file, or None.
        tagged: whether its blocks have tags, as those of AES-GCM have since 1.7.
    """
    found: dict[Evidence, None] = {}
    if cipher in _CIPHERS:
        found[Evidence("AES-GCM with tags", since=(1, 7)) if tagged else _CIPHERS[cipher]] = None
    if has_checksum:
        found[_TRAILER] = None
    seen: set[tuple[str | None, tuple[int, ...], bool]] = set()
    for of_one_name in by_name.values():
        for run in records.runs(of_one_name):
            if run[0].is_map:
                found[_map(run)] = None
                continue
            for piece in (piece for record in run for piece in record.pieces):
                # Most records have the same type and dims as an earlier one.
                look = (piece.type, piece.dims, piece.stop > piece.start)
                if look not in seen:
                    seen.add(look)
                    found.update(dict.fromkeys(_of_piece(piece)))
    return tuple(found)


def _of_piece(piece: Piece) -> Iterator[Evidence]:
    if piece.type == schema.STRING_TYPE:
        yield _STRINGS
        return
    if piece.type == schema.RANDOM_OP_TYPE:
        yield _RANDOM
        return
    if piece.dims == (0,) and piece.stop > piece.start:
        yield _SCALAR_OLD
    elif not piece.dims and piece.has_content:
        yield _SCALAR_NEW
    if piece.type in _LATE:
        yield _LATE_TYPES
    elif piece.type is not None and piece.type.startswith("Complex"):
        yield _COMPLEX


def _map(run: Sequence[Record]) -> Evidence:
    return _MAP_NEW if all(len(record.pieces) == records.MAP_PARTS for record in run) else _MAP_OLD


def written_by(found: Iterable[Evidence]) -> str | None:
    """Return the versions that fit all evidence, such as ``MindSpore 1.8 to 2.2``.

    None if the evidence is contradictory or sets no limit.
    """
    found = list(found)
    since = max((one.since for one in found if one.since), default=None)
    until = min((one.until for one in found if one.until), default=None)
    if since is None and until is None:
        return None
    if (since or (0, 0)) > (until or (math.inf, 0)):
        return None
    if until is None:
        return f"MindSpore {_name(since)} or newer"
    if since is None:
        return f"MindSpore {_name(until)} or older"
    return f"MindSpore {_name(since)}" + ("" if since == until else f" to {_name(until)}")


def _name(version: Version | None) -> str:
    return ".".join(map(str, version or ()))
