"""The dtypes under the module name of MindSpore's scripts."""

from typing import TYPE_CHECKING

from ckptload.absent import absent_from
from ckptload.dtype import *  # noqa: F403 -- the same names, whatever they are
from ckptload.dtype import __all__ as __all__  # noqa: PLC0414 -- handed on
from ckptload.dtype import bool, float, int  # noqa: A004, F401 -- not in that list

if not TYPE_CHECKING:  # otherwise a type checker would accept any name
    __getattr__ = absent_from(__name__)
