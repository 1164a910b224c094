"""Selecting entries by name: prefixes and `choice_func`."""

from __future__ import annotations

from bisect import bisect_right
from typing import TYPE_CHECKING, Any, Final

from ckptload import shown
from ckptload.errors import ArgumentError, ArgumentTypeError, CheckpointError, Hint
from ckptload.messages import type_name

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    Prefixes = str | list[str] | tuple[str, ...] | None


#: MindSpore refuses longer names of parameters when it loads.
MAX_NAME: Final = 1024


def prefixes(value: object, argument: str) -> tuple[str, ...] | None:
    """Check a prefix argument, and return its prefixes or None for no filter.

    The checks are MindSpore's (2.10.0, train/serialization.py, _check_prefix).

    Raises:
        ArgumentTypeError: it is not a str, or a list or tuple of str.
        ArgumentError: it is empty, or an element is.
    """
    if value is None:
        return None
    if not isinstance(value, (str, list, tuple)):
        raise ArgumentTypeError(
            f"{argument} must be a str, a list or a tuple of str, not {type_name(value)}", hint=_PREFIX_HINT
        )
    found = (value,) if isinstance(value, str) else tuple(value)
    if not found:
        raise ArgumentError(f"{argument} is empty", hint="pass None for no filter")
    for index, prefix in enumerate(found):
        if not isinstance(prefix, str):
            raise ArgumentTypeError(f"{argument}[{index}] must be a str, not {type_name(prefix)}", hint=_PREFIX_HINT)
        if not prefix:
            raise ArgumentError(
                f"{argument} has an empty prefix, which matches every name", hint="pass None for no filter"
            )
    return found


_PREFIX_HINT: Final = Hint("{prefixes}")


def check_choice(choice_func: object) -> None:
    """Check that `choice_func` is a function, before anything is opened.

    Raises:
        ArgumentTypeError: it is neither None nor callable.
    """
    if choice_func is not None and not callable(choice_func):
        raise ArgumentTypeError(
            f"choice_func must be a function of a name, not {type_name(choice_func)}",
            hint=Hint("choose by the beginning of names, ", "{prefixes}"),
        )


def select(
    names: Iterable[str],
    *,
    choice_func: Callable[[str], Any] | None = None,
    specify_prefix: Prefixes = None,
    filter_prefix: Prefixes = None,
) -> list[str]:
    """Return the selected names in their order.

    `choice_func` is called once with each name and may return any value, true or false. It is not called if
    a prefix is given (MindSpore 2.10.0, train/serialization.py, _load_ckpt_into_param_dict).

    Raises:
        CheckpointError: `choice_func` raised an exception, which is the cause. KeyboardInterrupt and
            SystemExit are not caught.
        ArgumentTypeError: `choice_func` is not callable, or a prefix is of the wrong type.
    """
    check_choice(choice_func)
    specify = prefixes(specify_prefix, "specify_prefix")
    leave_out = prefixes(filter_prefix, "filter_prefix")
    if specify is None and leave_out is None:
        return list(names) if choice_func is None else [name for name in names if _chosen(choice_func, name)]
    keep, drop = _beginning_with(specify), _beginning_with(leave_out)
    return [name for name in names if (keep is None or keep(name)) and (drop is None or not drop(name))]


def _beginning_with(prefixes: tuple[str, ...] | None) -> Callable[[str], bool] | None:
    """Return a function that tells whether a name begins with one of some prefixes, however many there are.

    Of prefixes of which none begins with another, the last one before a name in their order is the only one that the
    name can begin with.
    """
    if prefixes is None:
        return None
    ordered: list[str] = []
    for prefix in sorted(prefixes):
        if not ordered or not prefix.startswith(ordered[-1]):
            ordered.append(prefix)
    return lambda name: (at := bisect_right(ordered, name)) > 0 and name.startswith(ordered[at - 1])


def _chosen(choice_func: Callable[[str], Any], name: str) -> bool:
    try:
        return bool(choice_func(name))
    except Exception as error:
        raise CheckpointError(
            f"the filter raised {type(error).__name__} for this name: {shown.foreign(error)}",
            name=name,
            hint=Hint("{filter_result}"),
        ) from error
