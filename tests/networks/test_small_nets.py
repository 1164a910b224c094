"""Real nets, trained nowhere but recorded under MindSpore: loaded into other libraries, they compute the same."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

import ckptload
from places import SHARED

pytest.importorskip("torch")

import torch

from networks.twins import TWINS

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from networks.twins import Twin

SMALL = SHARED / "realnets" / "small"
pytestmark = [
    pytest.mark.torch,
    pytest.mark.slow,
    pytest.mark.skipif(not SMALL.is_dir(), reason="the recorded nets are not here"),
    # Other libraries warn of what they like.
    pytest.mark.filterwarnings("default"),
]
each_net = pytest.mark.parametrize("name", TWINS)

#: Of the way by which another input moves the output; some nets were computed in float16.
EQUAL = 2e-3


def recorded_in(name: str) -> str:
    """Return the name of the files that a twin belongs to."""
    return name.partition(" ")[0]


def loaded(name: str) -> Any:
    """Return a net that is loaded completely."""
    twin = TWINS[name]
    net = twin.make()
    values = ckptload.load_checkpoint(SMALL / f"{recorded_in(name)}.ckpt")
    missing, unused = ckptload.load_param_into_net(net, values, name_map=twin.name_map)
    assert (missing, unused) == ([], [])
    return net


def outputs(name: str, twin: Twin, net: Any) -> Iterator[tuple[Any, Any, Any]]:
    """Yield of each output what the net computes, what was recorded, and the same for another input."""
    with np.load(SMALL / f"{recorded_in(name)}.npz") as recorded, torch.no_grad():
        if twin.run is None:
            found = net(torch.from_numpy(recorded["input"]))
            yield found.numpy(), recorded["output"], recorded["output2"]
            return
        first, second = twin.run(net, 0), twin.run(net, 1)
        for number, (found, other) in enumerate(zip(first, second, strict=True)):
            yield found.numpy(), recorded[f"arr_{number}"].astype(np.float32), other.numpy()


@each_net
def test_outputs_are_those_of_mindspore(name: str) -> None:
    net = loaded(name)
    for found, recorded, other in outputs(name, TWINS[name], net):
        assert np.abs(found - recorded).max() / np.abs(other - recorded).max() < EQUAL


@pytest.mark.parametrize(
    "name", ["densenet", "convnext", "vit", "mindone_bert", "mindone_llama", "mindone_t5", "mindone_vit"]
)
def test_a_proposed_map_is_certain_and_outputs_are_those_of_mindspore(name: str) -> None:
    twin = TWINS[name]
    net = twin.make()
    with ckptload.open_checkpoint(SMALL / f"{name}.ckpt") as reader:
        assert ckptload.load_param_into_net(net, reader, name_map="auto") == ([], [])
    for found, recorded, other in outputs(name, twin, net):
        assert np.abs(found - recorded).max() / np.abs(other - recorded).max() < EQUAL


@pytest.mark.parametrize("name", [name for name in TWINS if name.startswith("mf_")])
def test_a_map_of_mindformers_is_not_guessed_but_fits_by_its_name(name: str) -> None:
    twin = TWINS[name]
    with ckptload.open_checkpoint(SMALL / f"{recorded_in(name)}.ckpt") as reader:
        assert not ckptload.propose_name_map(twin.make(), reader).certain
        proposal = ckptload.propose_name_map(twin.make(), reader, convention=twin.name_map)
    assert proposal.certain, str(proposal)


@each_net
def test_the_way_back_gives_the_checkpoint(name: str) -> None:
    twin = TWINS[name]
    back = ckptload.from_torch(loaded(name), name_map=twin.name_map)
    values = ckptload.load_checkpoint(SMALL / f"{recorded_in(name)}.ckpt")
    assert set(back) - set(twin.tied) == set(values)
    for key, value in values.items():
        assert np.array_equal(back[key].asnumpy(), value.asnumpy()), key


@pytest.mark.parametrize("name", [name for name, twin in TWINS.items() if str(twin.name_map).startswith("mindformers")])
def test_a_convention_gives_all_names_without_a_module(name: str, tmp_path: Path) -> None:
    with ckptload.open_checkpoint(SMALL / f"{recorded_in(name)}.ckpt") as reader:
        ckptload.convert_checkpoint(reader, tmp_path / "net.safetensors", name_map=TWINS[name].name_map)
    expected = loaded(name).state_dict()
    with ckptload.open_checkpoint(tmp_path / "net.safetensors") as reader:
        for key in reader:
            assert np.array_equal(reader[key].asnumpy(), expected[key].numpy()), key
        tied = {"lm_head.weight"} if name == "mf_gpt2" else set()
        assert set(expected) - set(reader) == tied


def test_llama_is_loaded_by_one_name_however_it_is_stored() -> None:
    twin = TWINS["mf_llama_concat"]
    net = twin.make()
    values = ckptload.load_checkpoint(SMALL / "mf_llama_concat.ckpt")
    assert ckptload.load_param_into_net(net, values, name_map="mindformers-llama") == ([], [])
    for found, recorded, other in outputs("mf_llama_concat", twin, net):
        assert np.abs(found - recorded).max() / np.abs(other - recorded).max() < EQUAL
    assert "model.layers.0.attention.wq.weight" in ckptload.from_torch(net, name_map="mindformers-llama")


#: Nets of mindcv, and the kinds of layers in their twins that differ from them.
UNLIKE = {"densenet": set(), "convnext": {"GELU"}, "vit": {"GELU", "LayerNorm"}}


@pytest.mark.parametrize("name", UNLIKE)
def test_what_a_plan_says_makes_outputs_exactly_equal(name: str) -> None:
    """They are nearly equal without the edits, and the difference is that of rounding with them."""
    twin, net = TWINS[name], loaded(name)
    recorded = SMALL / f"{name}.npz"
    assert ckptload.compare_outputs(net, recorded).equal == (not UNLIKE[name])
    with ckptload.open_checkpoint(SMALL / f"{name}.ckpt") as reader:
        found = {each.kind: each for each in ckptload.plan_binding(net, reader, name_map=twin.name_map).differences}
    for kind in UNLIKE[name]:
        for code, paths in found[kind].edits.items():
            for path in paths:
                exec(code, {"layer": net.get_submodule(path), "nn": torch.nn})  # noqa: S102 -- the edit is code
    assert ckptload.compare_outputs(net, recorded, limit=1e-6).equal
