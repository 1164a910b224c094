"""Loading and saving under the module name of MindSpore's scripts."""

from ckptload.binding.loading import load_param_into_net
from ckptload.converting.converters import ckpt_to_safetensors, safetensors_to_ckpt
from ckptload.loading import load_checkpoint, load_checkpoint_async
from ckptload.saving import save_checkpoint

__all__ = [
    "ckpt_to_safetensors",
    "load_checkpoint",
    "load_checkpoint_async",
    "load_param_into_net",
    "safetensors_to_ckpt",
    "save_checkpoint",
]
