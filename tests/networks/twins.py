"""The nets of ``../shared/realnets/small`` as other libraries have them: how they are made, loaded and run.

Names, widths and inputs were found with these libraries: the outputs are equal only so.
"""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import torch

from ckptload import NameMap
from networks.libraries import library

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

#: A map written by hand, where no convention is known.
DENSENET = NameMap(
    {
        "features.denseblock{i}.cell_list.{j}": "features.denseblock{i}.denselayer{j+1}",
        "features.transition{i}.features": "features.transition{i}",
    }
)


def _convnext() -> NameMap:
    rules = {"norm": "head.norm", "classifier": "head.fc"}
    for stage in range(4):
        blocks = f"feature.{2 * stage + 1}.{{i}}"
        new = f"stages.{stage}.blocks.{{i}}"
        rules[f"feature.{2 * stage}"] = f"stages.{stage}.downsample" if stage else "stem"
        rules |= {
            f"{blocks}.gamma_": f"{new}.gamma",
            f"{blocks}.dwconv": f"{new}.conv_dw",
            f"{blocks}.norm": f"{new}.norm",
        }
        rules |= {f"{blocks}.pwconv1": f"{new}.mlp.fc1", f"{blocks}.pwconv2": f"{new}.mlp.fc2"}
    return NameMap(rules)


class Twin(NamedTuple):
    """A net, and what it is compared by.

    Attributes:
        make: makes it.
        name_map: the map of the checkpoint.
        run: returns its outputs for the first input, and for a second one; None if both inputs' outputs were recorded.
        tied: names of tied tensors that go back besides those that the checkpoint has.
    """

    make: Callable[[], Any]
    name_map: NameMap | str | None
    run: Callable[[Any, int], Sequence[Any]] | None
    tied: tuple[str, ...] = ()


SMALL: dict[str, Any] = {"num_hidden_layers": 2, "num_attention_heads": 4, "hidden_size": 32, "intermediate_size": 48}
IMAGES: dict[str, Any] = {"image_size": 32, "patch_size": 8}


def transformer(name: str, config: str, **sizes: Any) -> Callable[[], Any]:
    """Return what makes a net of Hugging Face transformers."""

    def make() -> Any:
        transformers = library("transformers")
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return getattr(transformers, name)(getattr(transformers, config)(**sizes)).eval()

    return make


def classifier(module: str, name: str, **sizes: Any) -> Callable[[], Any]:
    """Return what makes a net of torchvision or timm."""

    def make() -> Any:
        library(module.partition(".")[0])
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return getattr(library(module), name)(**sizes).eval()

    return make


def words(turn: int) -> torch.Tensor:
    """Return the words that the nets were recorded with, or others."""
    return torch.arange(3, 19)[None] + (37 if turn else 0)


def image(turn: int) -> torch.Tensor:
    """Return the image that the nets were recorded with, or another."""
    return torch.from_numpy(np.random.default_rng(1 + turn).standard_normal((1, 3, 32, 32)).astype(np.float32))


def on_words(*outputs: int | str) -> Callable[[Any, int], Sequence[Any]]:
    """Return what runs a net on words, and gives some of its outputs."""
    return lambda net, turn: [net(words(turn))[which] for which in outputs]


def _mean_of_patches(net: Any, turn: int) -> Sequence[Any]:
    """Run the ViT of transformers as mindformers does: the mean of the patches, then the norm, then the classifier."""
    hidden = net.vit(image(turn), output_hidden_states=True).hidden_states[-1]
    return [net.classifier(net.vit.layernorm(hidden[:, 1:].mean(1)))]


LLAMA = transformer(
    "LlamaForCausalLM", "LlamaConfig", vocab_size=100, num_key_value_heads=2, rms_norm_eps=1e-5, **SMALL
)
BERT = {"vocab_size": 100, **SMALL}
TWINS: dict[str, Twin] = {
    "mf_llama": Twin(LLAMA, "mindformers-llama", on_words("logits")),
    "mf_llama_concat": Twin(LLAMA, "mindformers-llama-concat", on_words("logits")),
    "mf_gpt2": Twin(
        transformer("GPT2LMHeadModel", "GPT2Config", vocab_size=100, n_embd=32, n_layer=2, n_head=4, n_positions=16),
        "mindformers-gpt2",
        on_words("logits"),
    ),
    "mf_bertmodel": Twin(
        transformer("BertModel", "BertConfig", max_position_embeddings=16, hidden_act="gelu_new", **BERT),
        "mindformers-bert",
        on_words(0, 1),
    ),
    "mf_vit": Twin(
        classifier(
            "timm.models.vision_transformer",
            "VisionTransformer",
            img_size=32,
            patch_size=8,
            embed_dim=32,
            depth=2,
            num_heads=4,
            mlp_ratio=1.5,
            num_classes=1000,
            global_pool="avg",
        ),
        "mindformers-vit-timm",
        lambda net, turn: [net(image(turn))],
    ),
    "mf_vit as in transformers": Twin(
        transformer("ViTForImageClassification", "ViTConfig", num_labels=1000, layer_norm_eps=1e-6, **IMAGES, **SMALL),
        "mindformers-vit",
        _mean_of_patches,
    ),
    "mindone_llama": Twin(
        transformer("LlamaModel", "LlamaConfig", vocab_size=100, num_key_value_heads=2, rms_norm_eps=1e-6, **SMALL),
        "mindone",
        on_words(0),
    ),
    "mindone_bert": Twin(
        transformer("BertModel", "BertConfig", max_position_embeddings=40, hidden_act="relu", **BERT),
        "mindone",
        on_words(0, 1),
    ),
    "mindone_t5": Twin(
        transformer(
            "T5EncoderModel", "T5Config", vocab_size=100, d_model=32, d_kv=8, d_ff=48, num_layers=2, num_heads=4
        ),
        "mindone",
        on_words(0),
        ("encoder.embed_tokens.weight",),
    ),
    "mindone_vit": Twin(
        transformer("ViTModel", "ViTConfig", layer_norm_eps=1e-12, **IMAGES, **SMALL),
        "mindone",
        lambda net, turn: list(net(image(turn)).values())[:2],
    ),
    "densenet": Twin(
        classifier(
            "torchvision.models",
            "DenseNet",
            growth_rate=4,
            block_config=(2, 2, 2, 2),
            num_init_features=8,
            num_classes=5,
        ),
        DENSENET,
        None,
    ),
    "convnext": Twin(
        classifier("timm.models.convnext", "ConvNeXt", depths=(1, 1, 2, 1), dims=(8, 12, 16, 24), num_classes=5),
        _convnext(),
        None,
    ),
    "vit": Twin(
        classifier(
            "timm.models.vision_transformer",
            "VisionTransformer",
            img_size=32,
            patch_size=8,
            embed_dim=24,
            depth=2,
            num_heads=3,
            num_classes=5,
        ),
        None,
        None,
    ),
}
