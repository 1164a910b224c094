"""Maps that come with the package."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import numpy as np
import pytest

import ckptload
from ckptload import NameMap
from ckptload.binding.maps.conventions import convention, names
from ckptload.errors import ArgumentError, ArgumentTypeError
from places import DOCS

if TYPE_CHECKING:
    from pathlib import Path

#: Names of a net as mindformers writes them, which each convention must know all of, and what becomes of them.
KNOWN = {
    "mindformers-llama": {
        "model.tok_embeddings.embedding_weight": ["model.embed_tokens.weight"],
        "model.layers.11.attention.wq.weight": ["model.layers.11.self_attn.q_proj.weight"],
        "model.layers.12.attention.w_qkv.weight": [
            f"model.layers.12.self_attn.{part}_proj.weight" for part in ("q", "k", "v")
        ],
        "model.layers.12.ffn_norm.weight": ["model.layers.12.post_attention_layernorm.weight"],
        "model.norm_out.weight": ["model.norm.weight"],
        "lm_head.weight": ["lm_head.weight"],
    },
    "mindformers-qwen2": {"model.layers.3.attention.wk.bias": ["model.layers.3.self_attn.k_proj.bias"]},
    "mindformers-bert": {
        "bert.dense.weight": ["bert.pooler.dense.weight"],
        "dense.bias": ["pooler.dense.bias"],
        "bert.mlmloss.layernorm.gamma": ["cls.predictions.transform.LayerNorm.weight"],
        "bert.mlmloss.vocab_dense.weight": ["cls.predictions.decoder.weight"],
    },
    "mindformers-chatglm": {
        "transformer.embedding.embedding_table": ["transformer.embedding.word_embeddings.weight"],
        "transformer.encoder.layers.0.mlp.dense_h_to_4h.weight": [
            "transformer.encoder.layers.0.mlp.dense_h_to_4h.weight"
        ],
    },
}


def test_every_convention_is_a_map_that_says_what_it_is_for_and_goes_back() -> None:
    assert len(names()) == len(set(names())) > 0
    for name in names():
        found = convention(name)
        assert found.about, name
        assert found.inverse().inverse().inverse() == found.inverse(), name
        assert NameMap.parse(found.text().encode()) == found


@pytest.mark.parametrize("name", KNOWN)
def test_names_become_those_of_the_other_library(name: str) -> None:
    for old, new in KNOWN[name].items():
        assert [recipe.name for recipe in convention(name).recipes([old])] == new


def test_the_name_of_a_convention_is_a_name_map(tmp_path: Path) -> None:
    ckptload.save_checkpoint({"model.norm_out.weight": ckptload.Parameter(np.ones(2))}, tmp_path / "net.ckpt")
    with ckptload.open_checkpoint(tmp_path / "net.ckpt") as reader:
        ckptload.convert_checkpoint(reader, tmp_path / "net.safetensors", name_map="mindformers-llama")
    with ckptload.open_checkpoint(tmp_path / "net.safetensors") as reader:
        assert list(reader) == ["model.norm.weight"]


def test_a_cut_beside_rules_for_its_parts_is_another_way_to_store_them() -> None:
    back = convention("mindformers-llama").inverse()
    names_of = [f"model.layers.0.self_attn.{part}_proj.weight" for part in ("q", "k", "v")]
    assert [recipe.name for recipe in back.recipes(names_of)] == [
        f"model.layers.0.attention.{part}.weight" for part in ("wq", "wk", "wv")
    ]
    back = convention("mindformers-llama-concat").inverse()
    assert [recipe.name for recipe in back.recipes(names_of)] == ["model.layers.0.attention.w_qkv.weight"]


def test_an_unknown_name_is_told_with_those_that_are_known() -> None:
    with pytest.raises(ArgumentError, match=r"no map with the name 'mindformer-llama'") as caught:
        convention("mindformer-llama")
    assert "did you mean 'mindformers-llama'" in str(caught.value)
    assert ", ".join(names()) in str(caught.value)
    with pytest.raises(ArgumentTypeError, match="must be a str"):
        convention(3)  # type: ignore[arg-type]
    with pytest.raises(ArgumentError, match="no map with the name"):
        convention("../conventions/mindone")


def test_the_page_lists_all_conventions() -> None:
    page = (DOCS / "binding.md").read_text("utf-8")
    section = page.partition("### Maps that come with the package")[2].partition("\n## ")[0]
    assert sorted(re.findall(r"^\| `([^`]+)` \|", section, re.MULTILINE)) == list(names())
