"""Keys in objects that do not show them, so that no variable of this package does.

A crash reporter prints the variables of every frame of a traceback. So each public function puts a key into a `Key`
by its first statement, and only the cipher takes it out again, inside an expression.
"""

from __future__ import annotations

import hmac
import secrets
from inspect import signature
from typing import TYPE_CHECKING, Any, Final, NoReturn

from ckptload.errors import CheckpointError
from ckptload.messages import type_name

if TYPE_CHECKING:
    from collections.abc import Callable

#: The arguments of public functions that are keys.
_ARGUMENTS: Final = frozenset({"dec_key", "enc_key"})


class Key:
    """A key, or what was given in its place.

    Its bytes are kept masked by random ones, so that no attribute shows them, however deep a crash reporter looks.

    Args:
        given: the key; of anything but bytes, only the type is kept.

    Attributes:
        is_bytes: whether it is bytes, as a key has to be.
        type_name: its type, for messages.
    """

    __slots__ = ("_mask", "_masked", "_size", "is_bytes", "type_name")

    def __init__(self, given: object) -> None:
        self.is_bytes = isinstance(given, bytes)
        self.type_name = type_name(given)
        given = given if isinstance(given, bytes) else b""
        self._size = len(given)
        self._mask = secrets.randbits(8 * self._size)
        self._masked = self._mask ^ int.from_bytes(given, "big")
        # An exception may be raised while this frame is there, such as KeyboardInterrupt.
        given = None

    def __len__(self) -> int:
        """Return the number of bytes."""
        return self._size

    def reveal(self) -> bytes:
        """Return the bytes. Use them in an expression, never as a variable."""
        return (self._mask ^ self._masked).to_bytes(self._size, "big")

    def __bool__(self) -> bool:
        # An empty key is a wrong one, and not none.
        return True

    def __repr__(self) -> str:
        return "<key>"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Key) and hmac.compare_digest(self.reveal(), other.reveal())

    def __hash__(self) -> int:
        return hash((Key, self._size))

    def __copy__(self) -> Key:
        return self

    def __deepcopy__(self, _: object) -> Key:
        return self

    def __reduce__(self) -> NoReturn:
        raise CheckpointError("a key cannot be pickled", hint="pass the key itself to the other process")


class Carried:
    """A key that may go to another process, inside of a task.

    Nothing shows it here, and in the other process it is hidden again. On the way, pickle has its bytes: whoever can
    read what an executor sends can read the key.

    Args:
        key: a key, hidden or not.

    Attributes:
        key: the hidden key.
    """

    __slots__ = ("key",)

    def __init__(self, key: Key | bytes) -> None:
        self.key: Key = hidden(key)
        key = b""

    def __repr__(self) -> str:
        return "<key>"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Carried) and self.key == other.key

    def __hash__(self) -> int:
        return hash(self.key)

    def __reduce__(self) -> tuple[Any, ...]:
        return (Carried, (self.key.reveal(),))


def hidden(given: object) -> Any:
    """Return a key in a `Key`, and None as None.

    The result is typed as what it takes the place of: ``dec_key = hidden(dec_key)``.
    """
    return given if given is None or isinstance(given, Key) else Key(given)


def places_of(function: Callable[..., Any]) -> frozenset[int]:
    """Return the places of the arguments that are keys, for `hidden_in`."""
    return frozenset(place for place, name in enumerate(signature(function).parameters) if name in _ARGUMENTS)


def hidden_in(
    places: frozenset[int], args: tuple[Any, ...], kwargs: dict[str, Any]
) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """Return the arguments of a call with the keys among them hidden.

    Args:
        places: where keys are among the positional arguments.
        args: the positional arguments.
        kwargs: the keyword arguments.
    """
    return (
        tuple(hidden(value) if place in places else value for place, value in enumerate(args)),
        {name: hidden(value) if name in _ARGUMENTS else value for name, value in kwargs.items()},
    )
