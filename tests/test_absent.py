"""Names that ckptload does not have say where MindSpore has them, in every module that scripts know."""

from __future__ import annotations

import importlib
import subprocess
import sys
from typing import Any

import pytest

import ckptload
from ckptload import errors

#: The modules that have a counterpart of the same name in MindSpore.
MODULES = [
    "ckptload", "ckptload.common", "ckptload.common.api", "ckptload.common.dtype", "ckptload.common.initializer",
    "ckptload.common.parameter", "ckptload.common.seed", "ckptload.common.tensor", "ckptload.context",
    "ckptload.dtype", "ckptload.log", "ckptload.mint", "ckptload.nn", "ckptload.numpy", "ckptload.ops",
    "ckptload.ops.functional", "ckptload.ops.operations", "ckptload.train", "ckptload.train.serialization",
]  # fmt: skip


@pytest.mark.parametrize("module", MODULES)
def test_a_missing_name_says_where_mindspore_has_it(module: str) -> None:
    theirs = module.replace("ckptload", "mindspore")
    with pytest.raises(errors.MissingAttributeError, match=rf"{module}'.*\n.*from {theirs} import Model"):
        importlib.import_module(module).Model  # noqa: B018 -- it is the access that raises


@pytest.mark.parametrize("module", MODULES)
def test_a_missing_private_name_has_no_advice(module: str) -> None:
    with pytest.raises(errors.MissingAttributeError) as caught:
        importlib.import_module(module).__wrapped__  # noqa: B018
    assert caught.value.hint is None


@pytest.mark.parametrize(
    ("module", "name", "near"),
    [("ckptload", "load_chekpoint", "load_checkpoint"), ("ckptload.ops", "concate", "concat")],
)
def test_a_name_with_an_error_gets_the_nearest(module: str, name: str, near: str) -> None:
    with pytest.raises(AttributeError, match=f"did you mean '{near}'"):
        getattr(importlib.import_module(module), name)


@pytest.mark.parametrize("name", ["Model", "load", "export", "dataset", "amp", "mindir_saver", "Dense"])
def test_a_name_of_mindspore_is_not_taken_for_an_error_in_writing(name: str) -> None:
    with pytest.raises(AttributeError) as caught:
        getattr(ckptload, name)
    assert "did you mean" not in str(caught.value)
    with pytest.raises(ImportError, match=name):
        exec(f"from ckptload import {name}")  # noqa: S102


@pytest.mark.parametrize("module", ["ckptload", "ckptload.parallel"])
def test_what_belongs_to_a_running_graph_says_so(module: str) -> None:
    for name in ("shard", "Layout", "parameter_broadcast", "sync_pipeline_shared_parameters", "set_op_strategy_config"):
        with pytest.raises(AttributeError, match=f"a running graph; take it from MindSpore: .* import {name}"):
            getattr(importlib.import_module(module), name)


def test_a_layer_has_another_way_out() -> None:
    with pytest.raises(AttributeError, match="write a Cell"):
        ckptload.nn.Dense  # type: ignore[attr-defined]  # noqa: B018


#: Run in a process of its own, which has imported nothing of the package.
_WALK = """
import contextlib, importlib, pkgutil, ckptload
for module in pkgutil.walk_packages(ckptload.__path__, "ckptload."):
    with contextlib.suppress(ModuleNotFoundError):  # of a framework that is not installed
        importlib.import_module(module.name)
for name in sorted(set(ckptload._HOMES) | set(ckptload.__all__)):
    home = ckptload._HOMES.get(name)
    if home is None or home == "ckptload." + name:
        continue
    wanted = getattr(importlib.import_module(home), name)
    assert getattr(ckptload, name) is wanted, name
    assert vars(ckptload).get(name, wanted) is wanted, name
print("all")
"""


def test_no_module_takes_the_place_of_a_function() -> None:
    """After every module was imported, each public name is still what its home has, such as `tensor`."""
    done = subprocess.run([sys.executable, "-c", _WALK], check=False, capture_output=True, text=True)
    assert done.stdout == "all\n", done.stderr


def test_functions_and_classes_are_callable_by_their_names() -> None:
    modules = {
        "common",
        "context",
        "dtype",
        "errors",
        "log",
        "mindspore",
        "mint",
        "nn",
        "numpy",
        "ops",
        "parallel",
        "train",
    }
    values: dict[str, Any] = {name: getattr(ckptload, name) for name in ckptload.__all__ if name not in modules}
    not_callable = {name for name, value in values.items() if not callable(value)}
    constants = {"COMPATIBLE", "GRAPH_MODE", "LAX", "PYNATIVE_MODE", "STRICT", "__version__"}
    assert not_callable == constants | {name for name, value in values.items() if isinstance(value, ckptload.Type)}
