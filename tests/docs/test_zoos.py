"""The examples of docs/zoos.md run as they stand, with files that have the zoos' names."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

import ckptload
from ckptload import LayerDifferenceWarning
from networks.libraries import library
from pages import run_page
from places import ROOT

if TYPE_CHECKING:
    from pathlib import Path

PAGE = ROOT / "docs" / "zoos.md"

pytestmark = [
    pytest.mark.torch,
    pytest.mark.slow,
    pytest.mark.skipif(not PAGE.exists(), reason="the documentation is not here"),
    # Other libraries warn of what they like.
    pytest.mark.filterwarnings("default"),
]


def test_the_page_shows_what_happens(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("torch")
    timm, transformers = library("timm"), library("transformers")
    monkeypatch.chdir(tmp_path)
    names = {f"layer{n}.0.down_sample": f"layer{n}.0.downsample" for n in (2, 3, 4)} | {"classifier": "fc"}
    resnet = ckptload.from_torch(timm.create_model("resnet18", num_classes=10), name_map=names)
    ckptload.save_checkpoint(resnet, "resnet18.ckpt")
    config = transformers.GPT2Config(vocab_size=100, n_positions=16, n_embd=32, n_layer=2, n_head=4)
    gpt2 = ckptload.from_torch(transformers.GPT2LMHeadModel(config), name_map="mindformers-gpt2")
    ckptload.save_checkpoint(gpt2, "gpt2.ckpt")
    assert run_page(PAGE, shown=LayerDifferenceWarning) > 15
