"""Weights are loaded, and optimizer state and copies are not, whatever the order of the entries and the format.

The files are those of MindSpore's optimizers, and of averages as libraries keep them (fixtures/make_optimizers.py).
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import numpy as np
import pytest

import ckptload
from places import FIXTURES

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

FILES = sorted((FIXTURES / "optimizers").glob("*.ckpt"))
#: What stands before the weights' names in a file; ``vit.`` in all others.
PREFIXES = {"copies.holder": "optimizer.vit.", "copies.ema_child": "ema.model."}
#: The names of the net that was saved, and the shapes.
NET = {
    "embed.embedding_table": (3, 2),
    "block.fc1.weight": (2, 2),
    "block.fc1.bias": (2,),
    "block.norm.gamma": (2,),
    "block.norm.beta": (2,),
    "block.fc2.weight": (2, 2),
    "block.fc2.bias": (2,),
    "head.weight": (2, 2),
}

every_file = pytest.mark.parametrize("path", FILES, ids=[path.stem for path in FILES])


def prefix_of(path: Path) -> str:
    return PREFIXES.get(path.stem, "vit.")


def assert_weights(path: Path, saved: Path) -> None:
    """Load a file into the bare net, whole and in part, as a dictionary and lazily; compare with the saved weights."""
    suffix = saved.suffix.removeprefix(".")
    weights = ckptload.load_checkpoint(path)
    for part in ("", "block."):
        names = [name for name in NET if name.startswith(part)]
        with ckptload.open_checkpoint(saved) as reader:
            for given in (reader, ckptload.load_checkpoint(saved, format=suffix)):
                net = ckptload.nn.Cell()
                for name in names:
                    fresh = ckptload.Parameter(np.full(NET[name], -1, np.float32))
                    net.insert_param_to_cell(name.removeprefix(part), fresh, check_name_contain_dot=False)
                with pytest.warns(UserWarning, match=re.escape(f"after the prefix {prefix_of(path) + part!r}")):
                    assert ckptload.load_param_into_net(net, given)[0] == []
                found = {parameter.name: parameter.get_bytes() for parameter in net.get_parameters()}
                expected = {name: weights[prefix_of(path) + name].get_bytes() for name in names}
                assert found == {name.removeprefix(part): content for name, content in expected.items()}


def test_every_file_has_the_net_and_more() -> None:
    """Nothing else has the values of a weight, so that the other tests cannot pass by chance."""
    assert len(FILES) > 40
    for path in FILES:
        entries = ckptload.load_checkpoint(path)
        weights = {prefix_of(path) + name for name in NET}
        contents = [entries[name].get_bytes() for name in weights]
        assert weights < entries.keys()
        assert not any(entries[name].get_bytes() in contents for name in entries.keys() - weights)


@every_file
@pytest.mark.parametrize("order", [list, sorted, lambda names: list(names)[::-1]], ids=["saved", "names", "reversed"])
def test_the_order_of_the_entries_does_not_matter(
    path: Path, order: Callable[[object], list[str]], tmp_path: Path
) -> None:
    entries = ckptload.load_checkpoint(path)
    saved = tmp_path / "ordered.ckpt"
    ckptload.save_checkpoint({name: entries[name] for name in order(entries)}, saved)
    with ckptload.open_checkpoint(saved) as reader:
        assert list(reader) == order(entries)
    assert_weights(path, saved)


@pytest.mark.slow
@every_file
def test_conversions_keep_what_is_loaded(path: Path, tmp_path: Path) -> None:
    """To the other format, back, and there again."""
    source = path
    for number, suffix in enumerate(("safetensors", "ckpt", "safetensors")):
        target = tmp_path / f"{number}.{suffix}"
        with ckptload.open_checkpoint(source) as reader:
            ckptload.convert_checkpoint(reader, target)
        assert_weights(path, target)
        source = target
