"""Loading and saving under the name that MindSpore's scripts import them from."""

from ckptload.load import load_checkpoint

__all__ = ["load_checkpoint"]
