"""torchvision, timm and transformers, where they are installed."""

from __future__ import annotations

import importlib
import sys
import warnings
from typing import Any

import pytest

#: Operators without a kernel, which torchvision wants to describe; kept, since they end with the object.
_OPERATORS: list[Any] = []


def library(name: str) -> Any:
    """Return a library's module; the test is skipped where it is not installed."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        _try_torchvision()
        return pytest.importorskip(name)


def _try_torchvision() -> None:
    """Import torchvision, if it is installed.

    Its compiled part does not fit a build of torch for the CPU only, and then it lacks two operators, which no
    classifier uses. timm and transformers import it, too.
    """
    import torch

    try:
        importlib.import_module("torchvision")
    except ImportError:
        return
    except RuntimeError:
        for name in [name for name in sys.modules if name.partition(".")[0] == "torchvision"]:
            del sys.modules[name]
        operators = torch.library.Library("torchvision", "DEF")
        for name in ("nms", "qnms"):
            operators.define(f"{name}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
        _OPERATORS.append(operators)
