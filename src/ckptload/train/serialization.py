"""Loading and saving under the name that MindSpore's scripts import them from."""

from ckptload.binding import load_param_into_net
from ckptload.load import load_checkpoint
from ckptload.save import save_checkpoint

__all__ = ["load_checkpoint", "load_param_into_net", "save_checkpoint"]
