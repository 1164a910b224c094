"""Settings of MindSpore's scripts: kept and returned, without any effect.

Options, their types, defaults and checks are those of MindSpore 2.10.0; ``python/mindspore/context.py`` describes them.
Every device can be set: a script that prepares a checkpoint for an Ascend runs on any machine.
"""

from __future__ import annotations

import os
import re
import sys
from copy import deepcopy
from typing import TYPE_CHECKING, Any, Final

from ckptload.absent import absent_from
from ckptload.errors import ArgumentError, ArgumentTypeError
from ckptload.messages import closest, shown_text, shown_value, type_name

if TYPE_CHECKING:
    from collections.abc import Callable, Container

__all__ = [
    "COMPATIBLE", "GRAPH_MODE", "LAX", "PYNATIVE_MODE", "STRICT", "ParallelMode", "get_auto_parallel_context",
    "get_context", "get_current_device", "reset_auto_parallel_context", "set_auto_parallel_context", "set_context",
    "set_deterministic", "set_device", "set_recursion_limit",
]  # fmt: skip

GRAPH_MODE: Final = 0
PYNATIVE_MODE: Final = 1
STRICT: Final = 0
COMPATIBLE: Final = 1
LAX: Final = 2


class ParallelMode:
    """Names of the modes of `set_auto_parallel_context`."""

    STAND_ALONE: Final = "stand_alone"
    DATA_PARALLEL: Final = "data_parallel"
    HYBRID_PARALLEL: Final = "hybrid_parallel"
    SEMI_AUTO_PARALLEL: Final = "semi_auto_parallel"
    AUTO_PARALLEL: Final = "auto_parallel"
    MODE_LIST: Final = (STAND_ALONE, DATA_PARALLEL, HYBRID_PARALLEL, SEMI_AUTO_PARALLEL, AUTO_PARALLEL)


class _Settings:
    """A table of options with their defaults, and what a script has set.

    Args:
        function: the function that sets them, for messages.
        defaults: default of each option; an option accepts values of its default's type.
        types: types that an option accepts, where these are others.
        choices: the valid values of an option.
    """

    def __init__(
        self, function: str, defaults: dict[str, Any], types: dict[str, Any], choices: dict[str, Container[Any]]
    ) -> None:
        self._function = function
        self._defaults = defaults
        self._types = types
        self._choices = choices
        self.values: dict[str, Any] = {}

    def get(self, name: object) -> Any:
        """Return an option that was set, or its default."""
        if not isinstance(name, str):
            raise ArgumentTypeError(f"an option is a str, not {type_name(name)}")
        self._known(name)
        return deepcopy(self.values.get(name, self._defaults[name]))

    def check(self, options: dict[str, Any]) -> None:
        """Raise an error for the first option that does not exist or has a wrong value."""
        for name, value in options.items():
            self._known(name)
            types = self._types.get(name, type(self._defaults[name]))
            if not isinstance(value, types):
                wanted = " or ".join(kind.__name__ for kind in (types if isinstance(types, tuple) else (types,)))
                raise ArgumentTypeError(f"{name} must be of type {wanted}, not {type_name(value)}")
            choices = self._choices.get(name)
            if choices is not None and value not in choices:
                raise ArgumentError(f"{name} must be one of {choices}, not {shown_value(value)}")

    def _known(self, name: str) -> None:
        if name not in self._defaults:
            near = closest(name, self._defaults, 1)
            raise ArgumentError(
                f"{self._function} has no option {shown_text(name)}",
                hint=f"did you mean {near[0]!r}?" if near else None,
            )


_GENERAL: Final = _Settings(
    "set_context",
    {
        "mode": PYNATIVE_MODE, "device_target": "CPU", "device_id": 0, "aoe_config": {}, "aoe_tune_mode": "",
        "ascend_config": {}, "check_bprop": False, "debug_level": 0, "deterministic": "OFF",
        "disable_format_transform": False, "enable_auto_mixed_precision": False, "enable_compile_cache": None,
        "enable_graph_kernel": False, "enable_profiling": False, "enable_reduce_precision": True,
        "enable_sparse": False, "env_config_path": "", "exec_order": "bfs", "gpu_config": {}, "graph_kernel_flags": "",
        "inter_op_parallel_num": 0, "jit_config": {}, "jit_enable_inplace_ops": True, "jit_level": "",
        "jit_syntax_level": LAX, "load_compile_cache": False, "max_call_depth": 1000, "max_device_memory": 1024.0,
        "memory_optimize_level": 0, "mempool_block_size": 1.0, "op_timeout": 900,
        "print_file_path": "", "pynative_synchronize": False, "reserve_class_name_in_scope": True,
        "runtime_num_threads": 30, "save_compile_cache": False, "save_graphs": 0, "save_graphs_path": ".",
        "variable_memory_max_size": "0",
    },
    {
        **dict.fromkeys(("max_device_memory", "mempool_block_size", "memory_optimize_level"), str),
        "enable_compile_cache": bool,
        "save_graphs": (bool, int),
    },
    {
        "mode": (GRAPH_MODE, PYNATIVE_MODE),
        "device_target": ("CPU", "GPU", "Ascend", "Davinci"),
        "deterministic": ("ON", "OFF"),
        "device_id": range(4096),
        "max_call_depth": range(1, sys.maxsize),
        "memory_optimize_level": ("O0", "O1"),
    },
)  # fmt: skip

_PARALLEL: Final = _Settings(
    "set_auto_parallel_context",
    {
        "all_reduce_fusion_config": [], "auto_parallel_search_mode": "recursive_programming", "comm_fusion": {},
        "communi_parallel_mode": "all_group_parallel", "dataset_strategy": "data_parallel", "device_num": 1,
        "enable_alltoall": False, "enable_parallel_optimizer": False, "force_fp32_communication": False,
        "full_batch": False, "global_rank": 0, "grad_accumulation_step": 1, "gradient_fp32_sync": True,
        "gradients_mean": False, "group_ckpt_save_file": "", "loss_repeated_mean": True,
        "optimizer_weight_shard_aggregated_save": False, "optimizer_weight_shard_size": -1,
        "parallel_mode": ParallelMode.STAND_ALONE, "parallel_optimizer_config": {}, "parameter_broadcast": False,
        "pipeline_config": {}, "pipeline_result_broadcast": False, "pipeline_segments": 1, "pipeline_stages": 1,
        "search_mode": "recursive_programming", "sharding_propagation": False, "strategy_ckpt_config": {},
        "strategy_ckpt_load_file": "", "strategy_ckpt_save_file": "",
    },
    {"dataset_strategy": (str, tuple)},
    {"parallel_mode": ParallelMode.MODE_LIST, "device_num": range(1, sys.maxsize)},
)  # fmt: skip

_GIGABYTES: Final = re.compile(r"([1-9]\d*(?:\.\d+)?|0\.\d+)GB")


def set_context(**options: Any) -> None:
    """Keep options of MindSpore, such as ``mode`` and ``device_target``; they have no effect.

    Raises:
        ArgumentError: MindSpore has no such option, or the value is not valid.
        ArgumentTypeError: a value is of another type.
    """
    _GENERAL.check(options)
    kept = {name: _KEPT[name](value) if name in _KEPT else deepcopy(value) for name, value in options.items()}
    _GENERAL.values.update(kept)


def _gigabytes(value: str) -> float:
    match = _GIGABYTES.fullmatch(value)
    if match is None:
        raise ArgumentError(f"a size must be a number of gigabytes such as '3.5GB', not {shown_value(value)}")
    return float(match[1])


#: Options that `get_context` returns in another form than the one in which they were set.
_KEPT: Final[dict[str, Callable[[Any], Any]]] = {
    "device_target": lambda name: "Ascend" if name == "Davinci" else name,
    "max_device_memory": _gigabytes,
    "memory_optimize_level": lambda level: int(level[1:]),
    "mempool_block_size": _gigabytes,
    # True means everything, which is level 2.
    "save_graphs": lambda level: 2 * level if isinstance(level, bool) else level,
    "save_graphs_path": os.path.realpath,
}


def get_context(attr_key: str) -> Any:
    """Return an option as it was set, or MindSpore's default.

    Args:
        attr_key: name of the option, such as ``"mode"``.

    Raises:
        ArgumentError: MindSpore has no such option.
        ArgumentTypeError: ``attr_key`` is not a str.
    """
    return _GENERAL.get(attr_key)


def set_device(device_target: str, device_id: int | None = None) -> None:
    """Keep a device; tensors are in CPU memory all the same.

    Args:
        device_target: ``"CPU"``, ``"GPU"`` or ``"Ascend"``.
        device_id: number of the device; None for 0.

    Raises:
        ArgumentError: there is no such device.
        ArgumentTypeError: an argument is of another type.
    """
    if device_target == "Davinci":
        raise ArgumentError("device_target must be 'CPU', 'GPU' or 'Ascend', not 'Davinci'")
    set_context(device_target=device_target, device_id=0 if device_id is None else device_id)


def get_current_device() -> tuple[str, int]:
    """Return the device and its number as they were set."""
    return _GENERAL.get("device_target"), _GENERAL.get("device_id")


def set_deterministic(deterministic: bool) -> None:
    """Keep whether a training run should be repeatable; everything in ckptload is."""
    if not isinstance(deterministic, bool):
        raise ArgumentTypeError(f"deterministic must be a bool, not {type_name(deterministic)}")
    set_context(deterministic="ON" if deterministic else "OFF")


def set_recursion_limit(recursion_limit: int = 1000) -> None:
    """Keep MindSpore's limit for nested calls in graphs."""
    set_context(max_call_depth=recursion_limit)


def set_auto_parallel_context(**options: Any) -> None:
    """Keep options for training on many devices, such as ``parallel_mode``; they have no effect.

    Raises:
        ArgumentError: MindSpore has no such option, or the value is not valid.
        ArgumentTypeError: a value is of another type.
    """
    _PARALLEL.check(options)
    kept = deepcopy(options)
    # Two names of one option.
    if "dataset_strategy" in kept:
        kept["full_batch"] = kept["dataset_strategy"] == "full_batch"
    elif "full_batch" in kept:
        kept["dataset_strategy"] = "full_batch" if kept["full_batch"] else "data_parallel"
    for name, other in (("search_mode", "auto_parallel_search_mode"), ("auto_parallel_search_mode", "search_mode")):
        if name in options:
            kept[other] = options[name]
    _PARALLEL.values.update(kept)


def get_auto_parallel_context(attr_key: str) -> Any:
    """Return an option as it was set, or MindSpore's default; see `get_context`."""
    return _PARALLEL.get(attr_key)


def reset_auto_parallel_context() -> None:
    """Set all options of `set_auto_parallel_context` to their defaults."""
    _PARALLEL.values.clear()


if not TYPE_CHECKING:  # otherwise a type checker would accept any name
    __getattr__ = absent_from(__name__)
