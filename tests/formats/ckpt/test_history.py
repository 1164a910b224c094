"""What a file tells about itself beside its entries, on files whose writer is known."""

from __future__ import annotations

import pickle
from typing import TYPE_CHECKING

import pytest

import ckptload
from ckptload.errors import EncryptedCheckpointError
from ckptload.formats.ckpt import history
from ckptload.formats.index import Evidence
from places import FIXTURES

if TYPE_CHECKING:
    from pathlib import Path


def version(text: str) -> tuple[int, ...]:
    return tuple(map(int, text.split(".")))[:2]


@pytest.mark.parametrize("path", sorted(FIXTURES.glob("plain_*.ckpt")), ids=lambda path: path.stem)
def test_the_version_that_wrote_a_file_lies_in_the_range_that_its_traits_give(path: Path) -> None:
    """The names of these fixtures say which MindSpore wrote them."""
    writer = version(path.stem.split("_")[1])
    with ckptload.open_checkpoint(path) as reader:
        for one in reader.facts.evidence:
            assert (one.since or (0, 0)) <= writer <= (one.until or (9, 9)), one.trait


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("plain_2.0.0_maptensor", "MindSpore 2.0"),
        ("plain_2.0.0_random_op", "MindSpore 2.0 to 2.2"),
        ("plain_1.10.0_append", "MindSpore 1.8 to 2.2"),
        ("plain_2.10.0_crc", "MindSpore 2.3 or newer"),
        ("plain_1.0.0_dtypes", "MindSpore 2.2 or older"),
        ("lenet5", None),
    ],
)
def test_traits_are_put_together_into_one_range(name: str, expected: str | None) -> None:
    with ckptload.open_checkpoint(FIXTURES / f"{name}.ckpt") as reader:
        assert reader.facts.written_by == expected


def test_traits_that_contradict_each_other_give_no_version() -> None:
    """A file that a tool put together from two can have traits of both."""
    assert history.written_by([Evidence("old", until=(1, 3)), Evidence("new", since=(2, 3))]) is None
    assert history.written_by([]) is None


def test_what_vouches_for_the_content_is_told_apart() -> None:
    with ckptload.open_checkpoint(FIXTURES / "plain_2.10.0_crc.ckpt") as reader:
        assert reader.facts.has_checksum
        assert not reader.facts.authenticated
    with ckptload.open_checkpoint(FIXTURES / "lenet5.ckpt") as reader:
        assert not reader.facts.has_checksum
        assert reader.facts.size == (FIXTURES / "lenet5.ckpt").stat().st_size
    with ckptload.open_checkpoint(FIXTURES / "crc.safetensors") as reader:
        assert reader.facts.has_checksum


@pytest.mark.parametrize(("name", "mode"), [("enc_gcm", "AES-GCM"), ("enc_cbc", "AES-CBC"), ("enc_sm4", "SM4-CBC")])
def test_the_error_for_a_missing_key_says_which_modes_can_open_the_file(name: str, mode: str) -> None:
    with pytest.raises(EncryptedCheckpointError) as caught:
        ckptload.open_checkpoint(FIXTURES / f"{name}.ckpt")
    assert caught.value.modes == (mode,)
    assert pickle.loads(pickle.dumps(caught.value)).modes == (mode,)


def test_a_tensor_can_be_read_in_flat_pieces_whatever_its_shape() -> None:
    with ckptload.open_checkpoint(FIXTURES / "sliced.ckpt") as reader:
        for name in reader:
            if reader.info(name).kind != "tensor":
                continue
            whole = reader.get_tensor(name).asnumpy().reshape(-1)
            pieces = reader.get_slice(name)
            for start in range(0, whole.size + 1, 7):
                assert pieces.flat(start, start + 7).asnumpy().tobytes() == whole[start : start + 7].tobytes()
