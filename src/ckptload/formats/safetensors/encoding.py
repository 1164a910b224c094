"""Encode items as a safetensors file, as MindSpore writes it: the header, then tensor data without a copy.

The layout is that of the safetensors library (safetensors/src/tensor.rs, prepare): the header is compact JSON,
padded with blanks to a multiple of 8 bytes, and tensors are in the library's order.
tests/formats/safetensors/test_encoding.py compares the two. The library's own serializer is not used because it
holds the whole file in memory.
"""

from __future__ import annotations

import json
from itertools import chain
from typing import TYPE_CHECKING, Final

from safetensors import SafetensorError

from ckptload import dtypes
from ckptload.errors import ArgumentError, Hint, UnsavableTypeError
from ckptload.formats.safetensors import checksum, order, strings
from ckptload.formats.safetensors.header import METADATA
from ckptload.formats.safetensors.index import LENGTH_SIZE, MAX_HEADER
from ckptload.formats.safetensors.weight_map import SET

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from ckptload.formats.item import Item

    Buffer = bytes | memoryview


#: The library's order of types: larger elements first, so that each tensor is aligned to its element size.
_ORDER: Final = (
    "U64", "I64", "F64", "C64", "F32", "U32", "I32", "BF16", "F16", "U16", "I16", "F8_E4M3", "F8_E5M2", "I8", "U8",
    "BOOL",
)  # fmt: skip
#: Keys of the metadata that are not names of tensors.
_TAKEN: Final = frozenset({"format", "remove_redundancy", checksum.KEY, strings.KEY, order.KEY, checksum.ENTRIES, SET})
_RANK: Final = {name: rank for rank, name in enumerate(_ORDER)}


class UnsavableSafetensorError(UnsavableTypeError, SafetensorError):
    """A value that safetensors cannot store; callers of MindSpore catch it as SafetensorError."""

    __str__ = UnsavableTypeError.__str__


def check(items: Sequence[Item]) -> None:
    """Check that a safetensors file can hold all items.

    Raises:
        UnsavableSafetensorError: an item is not a tensor, or safetensors does not have its type.
        ArgumentError: the header is too long, or a tensor has the name that is reserved for the metadata.
    """
    _header(_laid_out(items), {})


def safetensors(
    items: Sequence[Item],
    *,
    crc_check: bool = False,
    sums_entries: bool = False,
    remove_redundancy: bool | None = None,
    metadata: Mapping[str, str] | None = None,
) -> Iterator[Buffer]:
    """Return the bytes of a whole safetensors file; each buffer is valid until the next one is requested.

    Buffers may share memory with the items. With `crc_check`, the tensor data is read twice, because the sum is
    in the header.

    Args:
        items: the tensors, in any order; `check` must accept them.
        crc_check: whether to add the CRC-32 to the metadata.
        sums_entries: with `crc_check`, whether to add our own sum of names, dtypes and shapes, which MindSpore does not
            write.
        remove_redundancy: a flag for the metadata, or None to leave it out.
        metadata: further keys and texts for the metadata.

    Raises:
        UnsavableSafetensorError, ArgumentError: as `check` does.
    """
    laid_out = _laid_out(items)
    text = _metadata(items, crc_check=crc_check, remove_redundancy=remove_redundancy) | dict(metadata or {})
    if crc_check and sums_entries:
        text[checksum.ENTRIES] = _sum_of_entries(items, text)
    # MindSpore writes no metadata if there are no tensors.
    head = _header(laid_out, text if laid_out or metadata else {})
    return chain([head], chain.from_iterable(item.pieces() for item in laid_out))


def _laid_out(items: Iterable[Item]) -> list[Item]:
    return sorted(items, key=lambda item: (_RANK[_type(item)], item.name))


def _header(laid_out: Sequence[Item], metadata: dict[str, str]) -> bytes:
    """Return the bytes before the tensor data: the length of the header and the header."""
    header: dict[str, object] = {METADATA: metadata} if metadata else {}
    at = 0
    for item in laid_out:
        stop = at + item.nbytes
        header[item.name] = {"dtype": _type(item), "shape": item.shape, "data_offsets": (at, stop)}
        at = stop
    text = json.dumps(header, ensure_ascii=False, separators=(",", ":")).encode()
    text += b" " * (-len(text) % LENGTH_SIZE)
    if len(text) > MAX_HEADER:
        raise ArgumentError(
            f"the names and shapes of {len(laid_out)} tensors make a header of {len(text)} bytes; "
            f"safetensors allows {MAX_HEADER}",
            hint="save them in several files",
        )
    return len(text).to_bytes(LENGTH_SIZE, "little") + text


def _type(item: Item) -> str:
    """Return safetensors' name for the type of an item."""
    if item.name == METADATA:
        raise ArgumentError(
            f"a safetensors file cannot hold a tensor named {METADATA}: that name is reserved for its metadata",
            hint="rename it, or save as .ckpt",
        )
    if item.dtype is None:
        raise UnsavableSafetensorError(
            f"a safetensors file can only hold tensors, not a {item.kind}",
            name=item.name,
            hint=Hint("leave the entry out with {exclude}, or save as .ckpt"),
        )
    if item.dtype is dtypes.qint4x2 and item.name in _TAKEN:
        raise ArgumentError(
            f"a safetensors file cannot hold a tensor of {item.dtype} with this name: the type would be noted under it "
            "in the metadata, where it has another meaning",
            name=item.name,
            hint="rename it, or save as .ckpt",
        )
    # MindSpore stores Int4 as int8 and notes it in the metadata (docs/format.md, "safetensors as MindSpore writes it").
    name = dtypes.int8.safetensors if item.dtype is dtypes.qint4x2 else item.dtype.safetensors
    if name is None:
        raise UnsavableSafetensorError(
            f"safetensors has no type for {item.dtype}", name=item.name, hint="save as .ckpt, or convert it first"
        )
    return name


def _metadata(items: Sequence[Item], *, crc_check: bool, remove_redundancy: bool | None) -> dict[str, str]:
    """Return MindSpore's metadata (MindSpore 2.10.0, train/serialization.py:436)."""
    metadata = {"format": "ms"}
    if remove_redundancy is not None:
        metadata["remove_redundancy"] = str(remove_redundancy)
    ordered = sorted(items, key=lambda item: item.name)
    metadata.update({item.name: str(item.dtype) for item in ordered if item.dtype is dtypes.qint4x2})
    if crc_check:
        value = 0
        for item in ordered:
            if item.dtype is not None:
                value = checksum.add(value, item.name, item.dtype, item.shape, item.pieces())
        metadata[checksum.KEY] = str(value)
    return metadata


def _sum_of_entries(items: Iterable[Item], metadata: Mapping[str, str]) -> str:
    """Return our own sum of names, dtypes and shapes, in the order in which they are read (`checksum.ENTRIES`)."""
    found = {item.name: item for item in items}
    ordered = (found[name] for name in order.restored(found, metadata))
    return checksum.of_entries(
        ((item.name, str(item.dtype), item.shape) for item in ordered), metadata.get(strings.KEY, "")
    )
