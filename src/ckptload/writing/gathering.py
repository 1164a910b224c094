"""Gather what is to be saved: name, type and data of each entry, checked before any file is touched.

Tensor data stays in the caller's arrays or in an open checkpoint until it is written. Only numbers and
strings are encoded here, because they have no bytes of their own yet.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final, TypeGuard

import numpy as np

from ckptload import dtypes
from ckptload.errors import ArgumentError, ArgumentTypeError, CheckpointError, IntegerRangeError, UnsavableTypeError
from ckptload.filters import MAX_NAME, check_choice
from ckptload.foreign.taking import check_array
from ckptload.formats.ckpt import records as ckpt_records
from ckptload.formats.ckpt import schema
from ckptload.formats.entry import BYTES, MAP, STRING, TENSOR
from ckptload.formats.item import Item
from ckptload.messages import counted, listed, type_name, warn
from ckptload.nets.foreign import module_parameters
from ckptload.reading.reader import Reader
from ckptload.tensors.parameter import Parameter, as_ours
from ckptload.tensors.tensor import Tensor

if TYPE_CHECKING:
    from ckptload.dtypes import Array
    from ckptload.formats.entry import Entry

#: MindSpore sets this key of ``append_dict`` when it saves after an exception; it is not data
#: (MindSpore 2.10.0, train/serialization.py:743).
_EXCEPTION_MARK: Final = "__exception_save__"


def gather(
    save_obj: object, append_dict: Mapping[str, object] | None, choice_func: Callable[[str], Any] | None
) -> list[Item]:
    """Return the items that a call of ``save_checkpoint`` saves, in file order.

    A repeated name keeps its first place and its last value, with a warning unless both are the same object. Exceptions
    of `choice_func` pass through.

    Args:
        save_obj: a cell, a module, an open reader, a dictionary or a list; see docs/saving.md, "What can be saved".
        append_dict: values to add after the others, or None.
        choice_func: returns whether to save the entry of a name; None saves all. It is not called for `append_dict`.

    Returns:
        Items that refer to the caller's memory or to the open reader; see `snapshot`.

    Raises:
        ArgumentTypeError: a value is of a type that cannot be saved.
        ArgumentError: a name cannot be stored.

    Warns:
        UserWarning: several values have the same name.
    """
    check_choice(choice_func)
    found: dict[str, Item] = {}
    last: dict[str, object] = {}
    repeated: dict[str, None] = {}
    parameters = module_parameters(save_obj)
    for asked, name, make, value in _everything(save_obj if parameters is None else parameters):
        if choice_func is None or choice_func(asked):
            if last.setdefault(name, value) is not value:
                repeated[name] = None
            found[name] = _made(make, name, value)
            last[name] = value
    if repeated:
        warn(
            f"{counted(len(repeated), 'name is', 'names are')} given to several parameters, of which only the last is "
            f"saved: {listed(list(repeated))}"
        )
    for name, value in (append_dict or {}).items():
        if name != _EXCEPTION_MARK:
            found[name] = _made(_value, name, value)
    return list(found.values())


def _made(make: Callable[[str, Any], Item], name: str, value: object) -> Item:
    """Make an item, and add the name to an error about a value of another framework, which does not know it."""
    checked = _checked(name)
    try:
        return make(checked, value)
    except CheckpointError as error:
        error.name = name if error.name is None else error.name
        raise


def check_append_dict(append_dict: object) -> None:
    """Check the types of keys and values (MindSpore 2.10.0, train/serialization.py:1019).

    Raises:
        ArgumentTypeError: it is not a dictionary from names to numbers, strings or tensors.
    """
    if append_dict is None:
        return
    if not isinstance(append_dict, dict):
        raise ArgumentTypeError(f"append_dict must be a dict or None, not {type_name(append_dict)}")
    for name, value in append_dict.items():
        if not isinstance(name, str):
            raise ArgumentTypeError(f"a key of append_dict must be a str, not {type_name(name)}")
        if not _is_number(value) and not isinstance(as_ours(value), (str, Tensor)):
            raise ArgumentTypeError(
                f"a value of append_dict must be a number, a str, a Tensor or a Parameter, not {type_name(value)}",
                name=name,
                hint="make a Tensor of it, for example Tensor(numpy.asarray(value))",
            )


def _checked(name: str) -> str:
    """Return a name if readers accept it (docs/format.md, "Names").

    Raises:
        ArgumentError: it is too long, or not valid Unicode.
    """
    if len(name) > MAX_NAME:
        raise ArgumentError(
            f"the name has {len(name)} characters; MindSpore allows {MAX_NAME}",
            name=f"{name[:60]}...",
        )
    try:
        name.encode()
    except UnicodeEncodeError as error:
        raise ArgumentError("the name cannot be written as UTF-8", name=name) from error
    return name


# -- the types that save_obj can have ---------------------------------------------------------------------


def _everything(save_obj: Any) -> Iterator[tuple[str, str, Callable[[str, Any], Item], Any]]:
    """Yield the name for `choice_func`, the name to store, a function that makes an item, and its argument."""
    if isinstance(save_obj, Reader):
        for name in save_obj:
            yield name, name, _from_reader, save_obj
    elif isinstance(save_obj, Mapping):
        for name, value in save_obj.items():
            if not isinstance(name, str):
                raise ArgumentTypeError(f"a key of save_obj must be a str, not {type_name(name)}")
            yield name, name, _value, value
    elif isinstance(save_obj, list):
        for name, value in _listed(save_obj):
            yield name, name, _tensor, value
    else:
        # A cell, ours or MindSpore's.
        for _, parameter in save_obj.parameters_and_names():
            # A parameter with a cache carries its key in the name; loading removes it again
            # (MindSpore 2.10.0, train/serialization.py:935).
            key = f"{schema.PARAM_KEY_MARK}{parameter.key}" if parameter.cache_enable else ""
            yield parameter.name, parameter.name + key, _value, parameter


def _listed(entries: Sequence[object]) -> Iterator[tuple[str, Tensor]]:
    """Yield names and tensors of a list of dictionaries or of Parameters; the first entry decides which.

    The rules are those of MindSpore (2.10.0, train/serialization.py:867).
    """
    if entries and isinstance(entries[0], dict):
        yield from map(_named, entries)
        return
    for number, entry in enumerate(entries):
        parameter = as_ours(entry)
        # Arrays, and tensors of torch, have no name.
        if not isinstance(parameter, Parameter) or not getattr(entry, "name", None):
            raise ArgumentTypeError(
                f"a list to be saved holds Parameters; entry {number} is {type_name(entry)}",
                hint="give other values by name: [{'name': name, 'data': tensor}, ...] or a dict",
            )
        yield parameter.name, parameter


def _named(entry: object) -> tuple[str, Tensor]:
    if not isinstance(entry, dict) or "name" not in entry or "data" not in entry:
        raise ArgumentTypeError(
            "each entry of the list to be saved must be a dict with 'name' and 'data'; "
            + (f"one has {sorted(map(str, entry))}" if isinstance(entry, dict) else f"one is {type_name(entry)}")
        )
    name, value = entry["name"], as_ours(entry["data"])
    if not isinstance(name, str):
        raise ArgumentTypeError(f"'name' in a list to be saved must be a str, not {type_name(name)}")
    if not isinstance(value, Tensor):
        raise ArgumentTypeError(
            f"'data' in a list to be saved must be a Tensor or a Parameter, not {type_name(value)}",
            name=name,
            hint="a dict of names and values may hold arrays, numbers and strings too",
        )
    return name, value


# -- single values ------------------------------------------------------------------------------------------


def _value(name: str, value: object) -> Item:
    """Make an item of a value of a dictionary, such as `load_checkpoint` returns, or of ``append_dict``."""
    if isinstance(value, Tensor):
        return _tensor(name, value)
    if isinstance(value, str):
        return _string(name, value)
    if isinstance(value, np.ndarray):
        return _array(name, value)
    if isinstance(value, list):
        return _map(name, value)
    if isinstance(value, bytes):
        return Item(name, BYTES, None, (), len(value), value)
    if _is_number(value):
        return _number(name, value)
    tensor = as_ours(value)
    if isinstance(tensor, Tensor):
        return _tensor(name, tensor)
    raise UnsavableTypeError(
        f"a value to be saved must be a Parameter, a Tensor, a numpy array, a number or a str, not {type_name(value)}",
        name=name,
        hint="from_torch(module) gives what can be saved of a torch module",
    )


def _tensor(name: str, value: Tensor) -> Item:
    array = value.asnumpy()
    return Item(name, TENSOR, value.dtype, tuple(array.shape), array.nbytes, array)


def _array(name: str, value: Array) -> Item:
    try:
        check_array(value)
        dtype = dtypes.from_numpy(value.dtype)
    except ArgumentTypeError as error:
        raise UnsavableTypeError(error.problem, name=name, hint=error.advice) from error
    # Without the methods of a subclass, such as a masked array that masks nothing.
    return Item(name, TENSOR, dtype, value.shape, value.nbytes, np.asarray(value))


def _is_number(value: object) -> TypeGuard[float | np.generic]:
    """Tell whether a value is a number of Python or of numpy; texts and bytes of numpy are not."""
    return isinstance(value, (int, float)) or (isinstance(value, np.generic) and not isinstance(value, (str, bytes)))


def _number(name: str, value: float | np.generic) -> Item:
    """Make an item of a number, which becomes a scalar tensor.

    Its dtype is the one that MindSpore chooses for ``append_dict`` (2.10.0, train/serialization.py:750; docs/format.md,
    "Appended values"). Numbers of numpy keep their dtype, as ``numpy.float64`` does there.
    """
    if isinstance(value, (bool, np.generic)):
        return _array(name, np.array(value))
    if isinstance(value, int):
        for width in (np.int64, np.uint64):
            if np.iinfo(width).min <= value <= np.iinfo(width).max:
                return _array(name, np.array(value, width))
        raise IntegerRangeError("the integer fits neither Int64 nor UInt64", name=name)
    with np.errstate(over="ignore"):
        return _array(name, np.array(value, np.float32))


def _string(name: str, value: str) -> Item:
    """Encode a string as UTF-32, and the empty string as one NUL (docs/format.md, "Strings")."""
    content = (value or "\0").encode("utf-32-le", "surrogatepass")
    return Item(name, STRING, None, (0,), len(content), content)


def _map(name: str, value: list[object]) -> Item:
    parts = []
    for part in value:
        if not isinstance(part, np.ndarray) or not part.ndim:
            raise UnsavableTypeError(
                f"a list is saved as a map and must hold arrays of one dimension or more, not {type_name(part)}",
                name=name,
            )
        parts.append(_array(name, part))
    return _whole_map(name, parts)


def _whole_map(name: str, parts: Sequence[Item]) -> Item:
    if not 1 <= len(parts) <= ckpt_records.MAP_PARTS:
        raise UnsavableTypeError(
            f"a map consists of {ckpt_records.MAP_PARTS} arrays (keys, values, status), the list has {len(parts)}",
            name=name,
        )
    return Item(name, MAP, None, (), sum(part.nbytes for part in parts), b"", tuple(parts))


# -- entries of an open checkpoint --------------------------------------------------------------------------


def _from_reader(name: str, reader: Reader) -> Item:
    """Make an item whose tensor data is read when it is written."""
    entry = reader.readable(name)
    if entry.kind == STRING:
        return _string(name, reader[name])
    if entry.kind == MAP:
        return _whole_map(name, [_streamed(reader, part) for part in entry.parts])
    return _streamed(reader, entry)


def _streamed(reader: Reader, entry: Entry) -> Item:
    kind = BYTES if entry.kind == BYTES else TENSOR
    return Item(entry.name, kind, entry.dtype, entry.shape, entry.nbytes, lambda: reader.pieces(entry))


# -- snapshots ----------------------------------------------------------------------------------------------


def snapshot(item: Item) -> Item:
    """Return an item with a copy of the data, so that the caller can change its arrays or close the reader."""
    if item.parts:
        return item._replace(parts=tuple(map(snapshot, item.parts)))
    if isinstance(item.content, bytes):
        return item
    copy = np.empty(item.nbytes, np.uint8).data
    done = 0
    for piece in item.pieces():
        copy[done : done + len(piece)] = piece
        done += len(piece)
    return item._replace(content=lambda: iter((copy,)))


def detached(item: Item) -> Item:
    """Return an item that does not read from an open file, whose position two processes would share."""
    return snapshot(item) if item.parts or callable(item.content) else item
