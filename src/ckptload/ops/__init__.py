"""Functions on tensors under the module name of MindSpore's scripts: what they use on weights."""

from typing import TYPE_CHECKING

from ckptload.absent import absent_from
from ckptload.ops import functional, operations
from ckptload.ops.functional import *  # noqa: F403 -- the same names, whatever they are
from ckptload.ops.functional import __all__ as _functions
from ckptload.ops.operations import *  # noqa: F403
from ckptload.ops.operations import __all__ as _classes

P = operations

__all__ = ["P", "functional", "operations", *_functions, *_classes]  # noqa: PLE0604 -- lists of str

if not TYPE_CHECKING:  # otherwise a type checker would accept any name
    __getattr__ = absent_from(__name__)
