"""The dtypes under the module name of MindSpore's scripts."""

from ckptload.dtype import *  # noqa: F403 -- the same names, whatever they are
from ckptload.dtype import __all__ as __all__  # noqa: PLC0414 -- handed on
