"""The net that `--module` names: code of the user, which is imported and called."""

from __future__ import annotations

import ast
import importlib
import os
import sys
from contextlib import redirect_stdout, suppress
from typing import TYPE_CHECKING, Any

from ckptload.errors import ArgumentError
from ckptload.messages import shown_text
from ckptload.shown import foreign

if TYPE_CHECKING:
    from collections.abc import Iterable

    from ckptload.cli.terminal import Terminal

_FORM = "give it as package.module:name, such as torchvision.models:resnet50"


def load_module(told: str, arguments: Iterable[str], terminal: Terminal) -> Any:
    """Import what `--module` names, and call it unless it is a net already.

    The current folder is searched first, as by ``python -m``. What the code prints goes to stderr. A class or function
    of PyTorch is called on torch's meta device, where parameters take no memory, if it can be.

    Args:
        told: such as ``torchvision.models:resnet50``.
        arguments: such as ``num_classes=5``; values are Python's literals, and all else is text.
        terminal: is told that code runs.

    Raises:
        ArgumentError: it cannot be imported or called.
    """
    name, colon, attribute = told.partition(":")
    if not colon or not name or not attribute:
        raise ArgumentError(f"--module {shown_text(told)} does not name anything in a module", hint=_FORM)
    keywords = dict(map(_argument, arguments))
    terminal.say(f"ckptload: note: --module runs the code of {terminal.show(shown_text(name))}")
    if os.getcwd() not in sys.path:  # noqa: PTH109 -- a str, as in sys.path
        sys.path.insert(0, os.getcwd())  # noqa: PTH109
    with redirect_stdout(sys.stderr):
        try:
            found: Any = importlib.import_module(name)
            for part in attribute.split("."):
                found = getattr(found, part)
        except (Exception, SystemExit) as error:
            raise _failed(f"{shown_text(told)} cannot be imported", error) from error
        if _is_net(found) or not callable(found):
            if keywords:
                raise ArgumentError(f"{shown_text(told)} is not called, so --argument does not apply to it")
            return found
        return _made(told, found, keywords)


def _argument(told: str) -> tuple[str, Any]:
    name, sign, value = told.partition("=")
    if not sign or not name.isidentifier():
        raise ArgumentError(
            f"--argument {shown_text(told)} is not NAME=VALUE", hint="for example --argument num_classes=5"
        )
    try:
        return name, ast.literal_eval(value)
    except (ValueError, SyntaxError, MemoryError, RecursionError):
        return name, value


def _is_net(found: Any) -> bool:
    # PyTorch's modules, and cells.
    marks = ("state_dict", "parameters_and_names")
    return not isinstance(found, type) and any(callable(getattr(found, mark, None)) for mark in marks)


def _made(told: str, make: Any, keywords: dict[str, Any]) -> Any:
    """Call a class or a function; without the meta device if that fails, since some compute when they are made."""
    torch = sys.modules.get("torch")
    if torch is not None:
        with suppress(Exception, SystemExit), torch.device("meta"):
            return make(**keywords)
    try:
        return make(**keywords)
    except (Exception, SystemExit) as error:
        raise _failed(f"{shown_text(told)} cannot be called", error) from error


def _failed(what: str, error: BaseException) -> ArgumentError:
    said = foreign(error).strip().splitlines() or [""]
    return ArgumentError(
        f"--module {what}: {type(error).__name__}: {said[0][:300]}",
        hint="check that it can be imported from here, and pass what it needs with --argument NAME=VALUE",
    )
