"""Loading and saving under the name that MindSpore's scripts import them from."""

from ckptload.load import load_checkpoint
from ckptload.save import save_checkpoint

__all__ = ["load_checkpoint", "save_checkpoint"]
