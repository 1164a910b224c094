"""Reads MindSpore .ckpt files without MindSpore.

Public names are imported when they are first used (PEP 562), so that ``import ckptload`` costs next to nothing.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any, Final

from ckptload import errors
from ckptload._version import __version__
from ckptload.absent import absent
from ckptload.dtypes import (
    DType,
    bfloat16,
    bool_,
    complex64,
    complex128,
    float8_e4m3fn,
    float8_e5m2,
    float16,
    float32,
    float64,
    hifloat8,
    int8,
    int16,
    int32,
    int64,
    qint4x2,
    uint8,
    uint16,
    uint32,
    uint64,
)
from ckptload.errors import (
    ArgumentError,
    ArgumentIndexError,
    ArgumentNameError,
    ArgumentOverflowError,
    ArgumentTypeError,
    BackgroundSaveError,
    BindingError,
    ChangedFileError,
    CheckpointError,
    ChecksumError,
    CipherUnavailableError,
    ClosedReaderError,
    ComputationError,
    CorruptCheckpointError,
    DecryptionError,
    EmptyCheckpointError,
    EncryptedCheckpointError,
    ForeignFieldWarning,
    IntegerRangeError,
    LayerDifferenceWarning,
    LimitError,
    MissingAttributeError,
    MissingFileError,
    MissingFolderError,
    MissingPackageError,
    MissingShardError,
    NothingSelectedError,
    OutOfMemoryError,
    ParentIsFileError,
    PartialChecksumWarning,
    RankError,
    ReadError,
    TargetIsFolderError,
    TargetIsNoFileError,
    UnknownNameError,
    UnsavableTypeError,
    UnsupportedTypeError,
    WriteError,
    WritePermissionError,
    WrongFormatError,
)

if TYPE_CHECKING:
    from ckptload import common, context, dtype, log, mindspore, mint, nn, numpy, ops, parallel, train
    from ckptload.binding.loading import BindingPlan, load_param_into_net, plan_binding
    from ckptload.binding.maps.name_map import NameMap
    from ckptload.binding.maps.proposal import Proposal, Question
    from ckptload.binding.maps.proposing import propose_name_map
    from ckptload.binding.maps.rules import Rule
    from ckptload.binding.plan import Load, Misfit
    from ckptload.binding.renaming import renamed
    from ckptload.common.api import jit
    from ckptload.common.seed import get_seed, set_seed
    from ckptload.common.tensor import from_numpy, is_tensor, tensor
    from ckptload.comparing.measures import ArrayDifference
    from ckptload.comparing.outputs import Comparison, compare_outputs
    from ckptload.context import (
        COMPATIBLE,
        GRAPH_MODE,
        LAX,
        PYNATIVE_MODE,
        STRICT,
        ParallelMode,
        get_auto_parallel_context,
        get_context,
        get_current_device,
        reset_auto_parallel_context,
        set_auto_parallel_context,
        set_context,
        set_deterministic,
        set_device,
        set_recursion_limit,
    )
    from ckptload.converting.converters import ckpt_to_safetensors, safetensors_to_ckpt, to_npz
    from ckptload.converting.moves import Move, Moves
    from ckptload.converting.rewriting import convert_checkpoint
    from ckptload.dtype import (
        Type,
        byte,
        cdouble,
        cfloat,
        double,
        dtype_to_nptype,
        dtype_to_pytype,
        float_,
        half,
        int_,
        intc,
        intp,
        list_,
        long,
        number,
        pytype_to_dtype,
        short,
        single,
        string,
        tensor_type,
        tuple_,
        type_none,
        ubyte,
        uint,
        uintc,
        uintp,
        ushort,
    )
    from ckptload.formats.coverage import Coverage
    from ckptload.formats.entry import Entry
    from ckptload.formats.index import Evidence, Facts, Foreign, ForeignField, Note
    from ckptload.formats.item import Item
    from ckptload.frameworks import from_torch, to_mindspore, to_torch_state_dict
    from ckptload.loading import ParamDictFuture, load_checkpoint, load_checkpoint_async
    from ckptload.nets.cell import Cell
    from ckptload.nets.containers import CellList, SequentialCell
    from ckptload.nets.pytorch.difference import LayerDifference
    from ckptload.nets.pytorch.groups import guess_torch_names
    from ckptload.ranks.joining import merge_sliced_parameter
    from ckptload.ranks.layout import SliceLayout
    from ckptload.ranks.layout_forms import read_layout
    from ckptload.ranks.opening import open_distributed
    from ckptload.ranks.replicas import get_ckpt_path_with_strategy, restore_group_info_list
    from ckptload.ranks.strategy import Strategy
    from ckptload.ranks.strategy_files import build_searched_strategy, read_strategy
    from ckptload.reading.opening import open_checkpoint
    from ckptload.reading.reader import Reader
    from ckptload.reading.slices import TensorSlice
    from ckptload.reading.torch_files import open_torch_file
    from ckptload.resharding.cutting import RankFiles, reshard_checkpoints
    from ckptload.resharding.distributed import load_distributed_checkpoint, load_segmented_checkpoints
    from ckptload.resharding.holders import rank_list_for_transform
    from ckptload.resharding.merging import merge_checkpoints
    from ckptload.resharding.rank_files import RankFile
    from ckptload.resharding.strategies import merge_pipeline_strategys, save_strategy
    from ckptload.resharding.transforming import transform_checkpoint_by_rank, transform_checkpoints
    from ckptload.resharding.unifying import unified_safetensors
    from ckptload.samples import sample
    from ckptload.saving import save_checkpoint
    from ckptload.tensors.parameter import Parameter, ParameterTuple
    from ckptload.tensors.tensor import Tensor

__all__ = [
    "COMPATIBLE", "GRAPH_MODE", "LAX", "PYNATIVE_MODE", "STRICT", "ArgumentError", "ArgumentIndexError",
    "ArgumentNameError", "ArgumentOverflowError", "ArgumentTypeError", "ArrayDifference", "BackgroundSaveError",
    "BindingError", "BindingPlan", "Cell", "CellList", "ChangedFileError", "CheckpointError", "ChecksumError",
    "CipherUnavailableError", "ClosedReaderError", "Comparison", "ComputationError", "CorruptCheckpointError",
    "Coverage", "DType", "DecryptionError", "EmptyCheckpointError", "EncryptedCheckpointError", "Entry", "Evidence",
    "Facts", "Foreign", "ForeignField", "ForeignFieldWarning", "IntegerRangeError", "Item", "LayerDifference",
    "LayerDifferenceWarning", "LimitError", "Load", "Misfit", "MissingAttributeError", "MissingFileError",
    "MissingFolderError", "MissingPackageError", "MissingShardError", "Move", "Moves", "NameMap", "Note",
    "NothingSelectedError", "OutOfMemoryError", "ParallelMode", "ParamDictFuture", "Parameter", "ParameterTuple",
    "ParentIsFileError", "PartialChecksumWarning", "Proposal", "Question", "RankError", "RankFile", "RankFiles",
    "ReadError", "Reader", "Rule", "SequentialCell", "SliceLayout", "Strategy", "TargetIsFolderError",
    "TargetIsNoFileError", "Tensor", "TensorSlice", "Type", "UnknownNameError", "UnsavableTypeError",
    "UnsupportedTypeError", "WriteError", "WritePermissionError", "WrongFormatError", "__version__", "bfloat16",
    "bool_", "build_searched_strategy", "byte", "cdouble", "cfloat", "ckpt_to_safetensors", "common",
    "compare_outputs", "complex64", "complex128", "context", "convert_checkpoint", "double", "dtype",
    "dtype_to_nptype", "dtype_to_pytype", "errors", "float8_e4m3fn", "float8_e5m2", "float16", "float32", "float64",
    "float_", "from_numpy", "from_torch", "get_auto_parallel_context", "get_ckpt_path_with_strategy", "get_context",
    "get_current_device", "get_seed", "guess_torch_names", "half", "hifloat8", "int8", "int16", "int32", "int64",
    "int_", "intc", "intp", "is_tensor", "jit", "list_", "load_checkpoint", "load_checkpoint_async",
    "load_distributed_checkpoint", "load_param_into_net", "load_segmented_checkpoints", "log", "long",
    "merge_checkpoints", "merge_pipeline_strategys", "merge_sliced_parameter", "mindspore", "mint", "nn", "number",
    "numpy", "open_checkpoint", "open_distributed", "open_torch_file", "ops", "parallel", "plan_binding",
    "propose_name_map", "pytype_to_dtype", "qint4x2", "rank_list_for_transform", "read_layout", "read_strategy",
    "renamed", "reset_auto_parallel_context", "reshard_checkpoints", "restore_group_info_list",
    "safetensors_to_ckpt", "sample", "save_checkpoint", "save_strategy", "set_auto_parallel_context", "set_context",
    "set_deterministic", "set_device", "set_recursion_limit", "set_seed", "short", "single", "string", "tensor",
    "tensor_type", "to_mindspore", "to_npz", "to_torch_state_dict", "train", "transform_checkpoint_by_rank",
    "transform_checkpoints", "tuple_", "type_none", "ubyte", "uint", "uint8", "uint16", "uint32", "uint64", "uintc",
    "uintp", "unified_safetensors", "ushort",
]  # fmt: skip

#: Where each name that is imported late is found; a module stands for itself.
_HOMES: Final = {
    name: f"ckptload.{module}"
    for module, names in {
        "binding.loading": "BindingPlan load_param_into_net plan_binding",
        "binding.maps.name_map": "NameMap",
        "binding.maps.proposal": "Proposal Question",
        "binding.maps.proposing": "propose_name_map",
        "binding.maps.rules": "Rule",
        "binding.plan": "Load Misfit",
        "binding.renaming": "renamed",
        "common.api": "jit",
        "common.seed": "get_seed set_seed",
        "common.tensor": "from_numpy is_tensor tensor",
        "comparing.measures": "ArrayDifference",
        "comparing.outputs": "Comparison compare_outputs",
        "context": (
            "context COMPATIBLE GRAPH_MODE LAX PYNATIVE_MODE STRICT ParallelMode get_auto_parallel_context get_context "
            "get_current_device reset_auto_parallel_context set_auto_parallel_context set_context set_deterministic "
            "set_device set_recursion_limit"
        ),
        "converting.converters": "ckpt_to_safetensors safetensors_to_ckpt to_npz",
        "converting.moves": "Move Moves",
        "converting.rewriting": "convert_checkpoint",
        "formats.coverage": "Coverage",
        "formats.entry": "Entry",
        "formats.index": "Evidence Facts Foreign ForeignField Note",
        "formats.item": "Item",
        "frameworks": "from_torch to_mindspore to_torch_state_dict",
        "loading": "ParamDictFuture load_checkpoint load_checkpoint_async",
        "nets.cell": "Cell",
        "nets.containers": "CellList SequentialCell",
        "nets.pytorch.difference": "LayerDifference",
        "nets.pytorch.groups": "guess_torch_names",
        "ranks.joining": "merge_sliced_parameter",
        "ranks.layout": "SliceLayout",
        "ranks.layout_forms": "read_layout",
        "ranks.replicas": "get_ckpt_path_with_strategy restore_group_info_list",
        "ranks.opening": "open_distributed",
        "ranks.strategy": "Strategy",
        "ranks.strategy_files": "build_searched_strategy read_strategy",
        "reading.opening": "open_checkpoint",
        "reading.torch_files": "open_torch_file",
        "reading.reader": "Reader",
        "reading.slices": "TensorSlice",
        "resharding.strategies": "merge_pipeline_strategys save_strategy",
        "resharding.cutting": "RankFiles reshard_checkpoints",
        "resharding.distributed": "load_distributed_checkpoint load_segmented_checkpoints",
        "resharding.holders": "rank_list_for_transform",
        "resharding.merging": "merge_checkpoints",
        "resharding.rank_files": "RankFile",
        "resharding.transforming": "transform_checkpoint_by_rank transform_checkpoints",
        "resharding.unifying": "unified_safetensors",
        "samples": "sample",
        "saving": "save_checkpoint",
        "tensors.parameter": "Parameter ParameterTuple",
        "tensors.tensor": "Tensor",
        "common": "common",
        "dtype": (
            "dtype Type byte cdouble cfloat double dtype_to_nptype dtype_to_pytype float_ half int_ intc intp list_ "
            "long number pytype_to_dtype short single string tensor_type tuple_ type_none ubyte uint uintc uintp "
            "ushort bool float int"
        ),
        "log": "log",
        "mindspore": "mindspore",
        "mint": "mint",
        "nn": "nn",
        "numpy": "numpy",
        "ops": "ops",
        "parallel": "parallel",
        "train": "train",
    }.items()
    for name in names.split()
}


def __dir__() -> list[str]:
    return __all__


if not TYPE_CHECKING:  # or a type checker would take any name for a public one

    def __getattr__(name: str) -> Any:
        home = _HOMES.get(name)
        if home is None:
            raise absent("ckptload", name)
        with errors.importable(home):
            module = importlib.import_module(home)
        found = module if home == f"ckptload.{name}" else getattr(module, name)
        globals()[name] = found
        return found
