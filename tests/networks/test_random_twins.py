"""Conventions without a recorded net: all names and shapes of a random one, there and back."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import ckptload

pytest.importorskip("torch")

import torch

from ckptload.binding.maps.conventions import convention
from networks.twins import SMALL, transformer

pytestmark = [pytest.mark.torch, pytest.mark.slow, pytest.mark.filterwarnings("default")]

SIZES: dict[str, Any] = {"vocab_size": 100, "num_key_value_heads": 2, "head_dim": 8, **SMALL}
QWEN2 = transformer("Qwen2ForCausalLM", "Qwen2Config", **SIZES)
GLM = transformer("GlmForCausalLM", "GlmConfig", pad_token_id=0, attention_bias=True, **SIZES)
LLAMA = transformer("LlamaForCausalLM", "LlamaConfig", attention_bias=True, **SIZES)

#: What mindformers calls the tensors of one layer.
QWEN2_LAYER = {
    "attention.wq.weight": (32, 32),
    "attention.wq.bias": (32,),
    "attention.wk.weight": (16, 32),
    "attention.wk.bias": (16,),
    "attention.wv.weight": (16, 32),
    "attention.wv.bias": (16,),
    "attention.wo.weight": (32, 32),
    "feed_forward.w1.weight": (48, 32),
    "feed_forward.w2.weight": (32, 48),
    "feed_forward.w3.weight": (48, 32),
    "attention_norm.weight": (32,),
    "ffn_norm.weight": (32,),
}
GLM_LAYER = {
    "self_attention.query_key_value.weight": (64, 32),
    "self_attention.query_key_value.bias": (64,),
    "self_attention.dense.weight": (32, 32),
    "mlp.dense_h_to_4h.weight": (96, 32),
    "mlp.dense_4h_to_h.weight": (32, 48),
    "input_layernorm.weight": (32,),
    "post_attention_layernorm.weight": (32,),
}
LLAMA_LAYER = {
    "attention.w_qkv.weight": (64, 32),
    "attention.w_qkv.bias": (64,),
    "attention.wo.weight": (32, 32),
    "attention.wo.bias": (32,),
    "feed_forward.w_gate_hidden.weight": (96, 32),
    "feed_forward.w2.weight": (32, 48),
    "attention_norm.weight": (32,),
    "ffn_norm.weight": (32,),
}
LLAMA_ENDS = {
    "model.tok_embeddings.embedding_weight": (100, 32),
    "model.norm_out.weight": (32,),
    "lm_head.weight": (100, 32),
}
GLM_ENDS = {
    "transformer.embedding.embedding_table": (100, 32),
    "transformer.encoder.final_layernorm.weight": (32,),
    "transformer.output_layer.weight": (100, 32),
}
CASES = {
    "mindformers-qwen2": (QWEN2, "model.layers", QWEN2_LAYER, LLAMA_ENDS),
    "mindformers-glm": (GLM, "transformer.encoder.layers", GLM_LAYER, GLM_ENDS),
    "mindformers-llama-concat": (LLAMA, "model.layers", LLAMA_LAYER, LLAMA_ENDS),
}


@pytest.mark.parametrize("name", CASES)
def test_all_names_and_shapes_are_those_of_mindformers(name: str) -> None:
    make, layers, layer, ends = CASES[name]
    net = make()
    with torch.no_grad():
        for parameter in net.parameters():
            parameter.normal_()
    values = ckptload.from_torch(net, name_map=name)
    found = {key: value.shape for key, value in values.items()}
    assert found == ends | {f"{layers}.{k}.{key}": shape for k in range(2) for key, shape in layer.items()}
    again = make()
    assert ckptload.load_param_into_net(again, values, name_map=name) == ([], [])
    for key, tensor in net.state_dict().items():
        assert np.array_equal(again.state_dict()[key].numpy(), tensor.numpy()), key


def test_rules_with_groups_fit_files_that_are_stored_in_groups_of_heads() -> None:
    net = LLAMA()
    rules = [
        rule._replace(groups=2 if "w_qkv" in rule.sources[0] else 48) if len(rule.targets) > 1 else rule
        for rule in convention("mindformers-llama-concat").rules
    ]
    values = ckptload.from_torch(net, name_map=ckptload.NameMap(rules))
    layer = "model.layers.1"
    state = {key: tensor.numpy() for key, tensor in net.state_dict().items()}
    # Two heads for keys: of each, the rows of two heads of q, then those of k and v.
    heads = [state[f"{layer}.self_attn.{part}_proj.weight"].reshape(2, -1, 32) for part in ("q", "k", "v")]
    assert np.array_equal(values[f"{layer}.attention.w_qkv.weight"].asnumpy(), np.hstack(heads).reshape(64, 32))
    rows = [state[f"{layer}.mlp.{part}_proj.weight"] for part in ("gate", "up")]
    assert np.array_equal(
        values[f"{layer}.feed_forward.w_gate_hidden.weight"].asnumpy(), np.stack(rows, 1).reshape(96, 32)
    )
