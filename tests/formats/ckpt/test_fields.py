"""What is noted of fields that MindSpore's writers never make, wherever they are."""

from __future__ import annotations

import io
import warnings
from typing import TYPE_CHECKING

import pytest

from ckptload import load_checkpoint, open_checkpoint
from ckptload.encryption.ciphers import MODES
from ckptload.encryption.encrypting import EncryptingWriter
from ckptload.errors import DecryptionError, ForeignFieldWarning
from ckptload.formats.ckpt.walk import walk
from ckptload.sources.memory import BufferSource
from places import FIXTURES
from strategies import FIXED32, FIXED64, block, floats, group, integer, mapping, record, tag, tensor, value, with_crc

if TYPE_CHECKING:
    from pathlib import Path

    from ckptload import Foreign

A, B = floats("a", 1.0), floats("b", 2.0)
KEY = b"0123456789abcdef"
W = tensor((1,), "Int8", b"x")
PACKED = tensor((1,), "Int8", b"x", packed=True)


def found(data: bytes) -> Foreign:
    layout = walk(BufferSource(data))
    assert layout.damage is None
    return layout.strangers.found()


def places(data: bytes) -> list[tuple[int, int, str, str | None]]:
    return [tuple(one) for one in found(data).first]  # type: ignore[misc]


@pytest.mark.parametrize(
    ("field", "what"),
    [
        (block(2, A), "field 2 of wire type 2"),
        (block(9, b""), "field 9 of wire type 2"),
        (integer(1, 5), "field 1 of wire type 0"),
        (tag(1, FIXED32) + b"1234", "field 1 of wire type 5"),
        (tag(7, FIXED64) + b"12345678", "field 7 of wire type 1"),
        (group(1, block(2, b"x")), "field 1 of wire type 3"),
    ],
)
def test_a_field_between_records_is_noted_with_place_and_size(field: bytes, what: str) -> None:
    for data, at in ((field + A, 0), (A + field + B, len(A)), (A + field, len(A))):
        assert places(data) == [(at, len(field), what, None)]


@pytest.mark.parametrize("text", [b"normal", b"fusion", b"quant"])
@pytest.mark.parametrize("number", [2, 3])
def test_the_model_type_of_old_versions_is_theirs(text: bytes, number: int) -> None:
    """Its number is not known (docs/format.md, "History by version")."""
    assert found(A + block(number, text) + B).number == 0
    assert found(A + integer(number, 1) + B).number == 1
    assert found(A + block(number, text + b"x")).number == 1


@pytest.mark.parametrize(
    ("data", "what"),
    [
        (value("w", block(2, W), block(4, b"x")), "field 4 of wire type 2"),
        (value("w", integer(2, 1), block(2, W)), "field 2 of wire type 0"),
        (value("w", block(2, W), integer(1, 1)), "field 1 of wire type 0"),
        (value("w", block(2, W), block(1, b"w")), "a second name"),
        (value("w", block(2, W), block(2, b"")), "a second tensor or map"),
        (value("w", block(3, block(1, W)), block(2, W)), "a second tensor or map"),
        (value("w", block(2, tensor((), "Int8", b"x") + integer(9, 1))), "field 9 of wire type 0"),
        (value("w", block(2, tag(1, FIXED32) + b"1234" + W)), "field 1 of wire type 5"),
        (value("w", block(2, W + block(2, b"Int8"))), "a second type"),
        (value("w", block(2, W + block(3, b"y"))), "a second content"),
        (value("w", block(2, PACKED + integer(1, 1))), "a single dim beside packed ones"),
        (value("w", block(2, W + block(1, b"\1"))), "packed dims beside others"),
        (value("w", block(2, tensor((), "Int8", b"x", packed=True))), "packed dims without a number"),
        (value("w", block(3, block(1, W) + block(2, b""))), "field 2 of wire type 2"),
        (value("w", block(3, block(1, W + integer(8, 1)))), "field 8 of wire type 0"),
    ],
)  # fmt: skip
def test_a_field_inside_a_record_is_noted_with_its_entry(data: bytes, what: str) -> None:
    foreign = found(A + data + B)
    assert [(one.what, one.record) for one in foreign.first] == [(what, "w")]
    assert len(A) < foreign.first[0].offset < len(A + data)
    assert 0 < foreign.nbytes < len(data)


def test_packed_dims_alone_are_another_writers_and_lose_nothing() -> None:
    assert found(value("w", block(2, tensor((1, 1), "Int8", b"x", packed=True)))).number == 0


def test_a_name_that_comes_again_after_others_is_noted_and_slices_are_not() -> None:
    """The value that is replaced would be gone without a word."""
    with pytest.warns(ForeignFieldWarning, match="another value of a name at byte"):
        reader = open_checkpoint(A + B + A)
    assert list(reader) == ["a", "b"]
    assert tuple(reader.facts.foreign.first[0]) == (len(A + B), len(A), "another value of a name", "a")
    half = record("s", (2,), "Int8", b"x")
    with open_checkpoint(A + half + half + B) as reader:
        assert reader.facts.foreign.number == 0


def test_slices_of_several_types_are_noted() -> None:
    mixed = record("s", (2,), "Float32", bytes(4)) + record("s", (2,), "Int32", bytes(4))
    with pytest.warns(ForeignFieldWarning, match="slices of several types at byte"):
        reader = open_checkpoint(A + mixed + B)
    assert tuple(reader.facts.foreign.first[0]) == (len(A), len(mixed), "slices of several types", "s")


def test_of_very_many_only_the_first_are_kept() -> None:
    foreign = found(A + integer(9, 1) * 1000)
    assert (foreign.number, foreign.nbytes, len(foreign.first)) == (1000, 2000, 8)
    assert str(foreign).endswith("and 992 more")
    inside = found(value("w", block(2, W), integer(9, 1) * 1000) + integer(9, 1))
    assert (inside.number, len(inside.first)) == (1001, 8)


@pytest.mark.parametrize("path", sorted(FIXTURES.glob("*.ckpt")), ids=lambda path: path.name)
def test_what_mindspore_wrote_has_none(path: Path) -> None:
    """What it left unencrypted before the blocks, its trailer and its maps are no strangers."""
    if not path.name.startswith("enc_"):
        assert found(path.read_bytes()).number == 0


# -- the warning ----------------------------------------------------------------------------------


@pytest.mark.parametrize("crc_check", [False, True])
def test_every_door_warns_once_and_says_where(tmp_path: Path, crc_check: bool) -> None:
    """Also where the CRC-32 matches: it says that the writer wrote the field, not what it means."""
    path = tmp_path / "x.ckpt"
    path.write_bytes(with_crc(A + block(2, B)))
    for door in (
        lambda: load_checkpoint(str(path), crc_check=crc_check),
        lambda: load_checkpoint(io.BytesIO(path.read_bytes()), crc_check=crc_check),
        lambda: open_checkpoint(path).close(),
        lambda: open_checkpoint(path, mmap=True).close(),
    ):
        with pytest.warns(ForeignFieldWarning, match=f"1 field of .* field 2 of wire type 2 at byte {len(A)}") as told:
            door()
        assert len(told) == 1
        assert told[0].filename == __file__


def test_a_warning_that_is_made_an_error_leaves_nothing_open(tmp_path: Path) -> None:
    path = tmp_path / "x.ckpt"
    path.write_bytes(A + block(2, B))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with pytest.raises(ForeignFieldWarning):
            open_checkpoint(path)


def sealed(data: bytes, mode: str) -> bytes:
    file = io.BytesIO()
    writer = EncryptingWriter(file, KEY, mode)
    writer.write(data)
    writer.finish()
    return file.getvalue()


@pytest.mark.parametrize("mode", MODES)
def test_an_encrypted_file_warns_like_a_plain_one(mode: str) -> None:
    data = sealed(A + block(2, B), mode)
    for door in (
        lambda: load_checkpoint(io.BytesIO(data), dec_key=KEY, dec_mode=mode),
        lambda: load_checkpoint(io.BytesIO(data), dec_key=KEY, dec_mode=mode, choice_func=lambda _: True),
        lambda: open_checkpoint(data, dec_key=KEY, dec_mode=mode),
    ):
        with pytest.warns(ForeignFieldWarning, match=f"at byte {len(A)}") as told:
            door()
        assert len(told) == 1


def test_nothing_is_told_about_what_no_tag_vouches_for() -> None:
    """One changed bit of the ciphertext makes a stranger of a record; the tag does not match then."""
    rest = record("c", (100,), "Int8", bytes(100))
    data = bytearray(sealed(A + rest, "AES-GCM"))
    # A block ends with its ciphertext, which is as long as the plaintext, and each bit of it is one of the plaintext.
    data[-len(rest)] ^= 0x0A ^ 0x12
    for choice in (None, lambda _: True):
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            with pytest.raises(DecryptionError):
                load_checkpoint(io.BytesIO(bytes(data)), dec_key=KEY, choice_func=choice)


def test_a_map_before_the_blocks_is_no_stranger() -> None:
    data = mapping("m", W, W, W) + sealed(A, "AES-CBC")
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        assert set(load_checkpoint(io.BytesIO(data), dec_key=KEY, dec_mode="AES-CBC")) == {"m", "a"}
    assert not [one for one in told if issubclass(one.category, ForeignFieldWarning)]
