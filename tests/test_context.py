"""Settings are kept, and have no effect."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

import ckptload
from ckptload import context, errors

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture(autouse=True)
def _restored() -> Iterator[None]:
    yield
    context._GENERAL.values.clear()
    context._PARALLEL.values.clear()


def test_an_option_is_returned_as_it_was_set_and_before_as_mindspore_has_it() -> None:
    assert (context.get_context("mode"), context.get_context("device_target")) == (1, "CPU")
    ckptload.set_context(mode=ckptload.GRAPH_MODE, device_target="Ascend", device_id=3)
    assert [ckptload.get_context(name) for name in ("mode", "device_target", "device_id")] == [0, "Ascend", 3]


@pytest.mark.parametrize(
    ("option", "value", "kept"),
    [
        ("save_graphs", True, 2),
        ("save_graphs", False, 0),
        ("save_graphs", 1, 1),
        ("max_device_memory", "3.5GB", 3.5),
        ("memory_optimize_level", "O1", 1),
        ("device_target", "Davinci", "Ascend"),
        ("jit_config", {"jit_level": "O0"}, {"jit_level": "O0"}),
    ],
)
def test_some_options_are_returned_in_another_form(option: str, value: Any, kept: Any) -> None:
    context.set_context(**{option: value})
    assert context.get_context(option) == kept


def test_what_is_kept_is_a_copy() -> None:
    options = {"jit_level": "O0"}
    context.set_context(jit_config=options)
    options["jit_level"] = "O2"
    context.get_context("jit_config")["jit_level"] = "O1"
    assert context.get_context("jit_config") == {"jit_level": "O0"}


@pytest.mark.parametrize("options", [{"mode": 0, "nonsense": 1}, {"mode": 0, "device_id": -1}])
def test_nothing_is_kept_if_an_option_is_wrong(options: dict[str, Any]) -> None:
    with pytest.raises(errors.ArgumentError):
        context.set_context(**options)
    assert context.get_context("mode") == 1


def test_an_unknown_option_names_the_nearest() -> None:
    with pytest.raises(errors.ArgumentError, match="device_target"):
        context.set_context(device_targe="CPU")
    with pytest.raises(errors.ArgumentError, match="gigabytes"):
        context.set_context(max_device_memory="much")


def test_other_functions_set_the_same_options() -> None:
    ckptload.set_device("GPU", 2)
    ckptload.set_deterministic(deterministic=True)
    ckptload.set_recursion_limit(7)
    assert ckptload.get_current_device() == ("GPU", 2)
    assert (context.get_context("deterministic"), context.get_context("max_call_depth")) == ("ON", 7)
    with pytest.raises(errors.ArgumentError, match="Davinci"):
        ckptload.set_device("Davinci")


def test_parallel_options_are_kept_until_they_are_reset() -> None:
    mode = ckptload.ParallelMode.DATA_PARALLEL
    ckptload.set_auto_parallel_context(parallel_mode=mode, device_num=8, full_batch=True, search_mode="dynamic")
    got = [context.get_auto_parallel_context(name) for name in ("parallel_mode", "device_num", "dataset_strategy")]
    assert got == ["data_parallel", 8, "full_batch"]
    assert context.get_auto_parallel_context("auto_parallel_search_mode") == "dynamic"
    ckptload.set_auto_parallel_context(dataset_strategy="data_parallel")
    assert context.get_auto_parallel_context("full_batch") is False
    ckptload.reset_auto_parallel_context()
    assert context.get_auto_parallel_context("parallel_mode") == ckptload.ParallelMode.STAND_ALONE
