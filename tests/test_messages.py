"""Names of classes in messages."""

from __future__ import annotations

import io
from typing import Any

import numpy as np
import pytest

import ckptload
from ckptload.messages import type_name


@pytest.mark.parametrize(
    ("value", "name"),
    [
        (1, "int"),
        (None, "NoneType"),
        (np.ones(1), "numpy.ndarray"),
        (np.float32(1), "numpy.float32"),
        (io.StringIO(), "io.StringIO"),
        (ckptload.Tensor(1), "ckptload.Tensor"),
        (ckptload.Parameter(1), "ckptload.Parameter"),
        (ckptload.nn.Cell(), "ckptload.Cell"),
    ],
    ids=str,
)
def test_a_class_has_the_name_by_which_people_import_it(value: Any, name: str) -> None:
    assert type_name(value) == name


def test_a_class_made_inside_a_function_has_its_own_name() -> None:
    local = type("Local", (), {})
    assert type_name(local()) == "Local"
    assert type_name(type("Local", (dict,), {})()) == "dict"
