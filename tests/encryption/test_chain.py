"""The structure of encrypted files: which are, where their blocks lie, and what may stand around them."""

from __future__ import annotations

import json
import struct
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ckptload.encryption import chain
from ckptload.encryption.chain import CBC, SM4, TAGGED_GCM, UNTAGGED, Variant, chain_at, find_chain
from ckptload.errors import DecryptionError
from ckptload.sources.memory import BufferSource
from places import FIXTURES

ENCRYPTED = FIXTURES / "encrypted"
SAMPLES: list[dict[str, Any]] = json.loads((ENCRYPTED / "samples.json").read_text("utf-8"))["samples"]
VARIANTS = [TAGGED_GCM, UNTAGGED, CBC, SM4]
TRAILER = b"crc_num" + bytes(10)
#: A record of a plain checkpoint: a Value with a tag and nothing else.
RECORD = b"\x0a\x03\x0a\x01a"


def block(variant: Variant, cipher: bytes, iv: bytes = bytes(range(16)), tag: bytes = b"t" * 16) -> bytes:
    """Put a block together by hand; no cipher is at work."""
    header = struct.pack("<II16sI", len(cipher) + 24, 16, iv, len(cipher))
    return variant.magic + (tag if variant.tagged else b"") + header + cipher


def found(data: bytes) -> chain.Chain:
    result = find_chain(BufferSource(data))
    assert result is not None
    return result


def refused(data: bytes) -> DecryptionError:
    with pytest.raises(DecryptionError) as caught:
        find_chain(BufferSource(data))
    return caught.value


@pytest.mark.parametrize(
    "data", [b"", b"\x0a", RECORD, b"\xd8\x5e\x3a", b"PK\x03\x04" + bytes(100), b"\xdb\x5e\x3a\x7f"]
)
def test_what_does_not_begin_with_a_block_is_no_chain(data: bytes) -> None:
    assert find_chain(BufferSource(data)) is None


@pytest.mark.parametrize("variant", VARIANTS)
def test_blocks_are_found_with_their_places_ivs_and_tags(variant: Variant) -> None:
    ivs = [bytes([n]) * 16 for n in range(3)]
    tags = [bytes([100 + n]) * 16 for n in range(3)]
    ciphers = [bytes([200 + n]) * size for n, size in enumerate((32, 16, 64))]
    data = b"".join(block(variant, *parts) for parts in zip(ciphers, ivs, tags, strict=True))
    result = found(data)
    assert result.variant is variant
    assert (result.start, result.stop, result.trailer, len(result)) == (0, len(data), False, 3)
    assert [one.number for one in result] == [0, 1, 2]
    assert [data[one.start : one.stop] for one in result] == ciphers
    assert [one.iv for one in result] == ivs
    assert [one.tag for one in result] == (tags if variant.tagged else [b""] * 3)
    assert [one.offset for one in result][1:] == [one.stop for one in result][:-1]


@pytest.mark.parametrize("row", SAMPLES, ids=lambda row: row["file"])
def test_files_of_every_mindspore_are_told_apart_by_structure(row: dict[str, Any]) -> None:
    data = (ENCRYPTED / row["file"]).read_bytes()
    start = data.index(b"\x5e\x3a\x7f") - 1
    result = chain_at(BufferSource(data), start)
    assert result is not None
    assert row["mode"] in result.modes
    old = "1.3.0" in row["file"]
    assert result.describe().endswith("1.6)" if old else "newer)")
    assert result.variant.tagged == (row["mode"] == "AES-GCM" and not old)
    assert result.trailer == ("gcm_crc" in row["file"])
    assert (find_chain(BufferSource(data)) is None) == (start > 0)


def test_lengths_can_rule_cbc_out_but_not_gcm() -> None:
    assert found(block(UNTAGGED, bytes(16)) + block(UNTAGGED, bytes(15))).modes == ("AES-GCM",)
    assert found(block(UNTAGGED, bytes(16)) + block(UNTAGGED, bytes(32))).modes == ("AES-GCM", "AES-CBC")


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (block(TAGGED_GCM, b"c"), "AES-GCM (MindSpore 1.7 or newer)"),
        (block(UNTAGGED, b"c"), "AES-GCM (MindSpore 1.3 to 1.6)"),
        (block(UNTAGGED, bytes(16)), "AES-GCM or AES-CBC (MindSpore 1.3 to 1.6)"),
        (block(CBC, bytes(16)), "AES-CBC (MindSpore 1.7 or newer)"),
        (block(SM4, bytes(16)), "SM4-CBC (MindSpore 2.0 or newer)"),
    ],
)
def test_a_chain_describes_its_cipher_and_the_releases_that_write_it(data: bytes, words: str) -> None:
    result = found(data)
    assert result.describe() == words
    assert words in repr(result)


def test_a_chain_that_fits_with_and_without_tags_counts_as_tagged() -> None:
    """An untagged reading needs no tag to be right, so it must never be the one that wins."""
    cipher = bytes(32)
    # As an untagged block: block_len and iv_len are the tag's first 8 bytes, cipher_len the iv's first 4.
    tag = struct.pack("<II", len(cipher) + 16 + 24, 16) + bytes(8)
    iv = struct.pack("<I", len(cipher) + 16) + bytes(12)
    data = block(TAGGED_GCM, cipher, iv, tag)
    assert chain._walk(BufferSource(data), 0, UNTAGGED).stop == len(data)
    assert found(data).variant is TAGGED_GCM


@pytest.mark.parametrize("variant", VARIANTS)
def test_a_clear_trailer_of_value_zero_may_follow(variant: Variant) -> None:
    data = block(variant, bytes(16)) * 2
    result = found(data + TRAILER)
    assert (result.trailer, result.stop, len(result)) == (True, len(data), 2)


@pytest.mark.parametrize("variant", VARIANTS)
@pytest.mark.parametrize(
    "more",
    [
        b"\0",
        bytes(17),
        b"crc_num" + bytes(9) + b"\1",
        b"crc_nun" + bytes(10),
        TRAILER + b"\0",
        TRAILER[:-1],
        TRAILER + TRAILER,
        RECORD,
        bytes(60),
    ],
)
def test_nothing_else_may_follow(variant: Variant, more: bytes) -> None:
    data = block(variant, bytes(16)) * 2
    assert refused(data + more).offset == len(data)


@pytest.mark.parametrize(
    ("first", "second"), [(TAGGED_GCM, UNTAGGED), (UNTAGGED, TAGGED_GCM), (CBC, SM4), (CBC, TAGGED_GCM)]
)
def test_all_blocks_are_of_one_variant(first: Variant, second: Variant) -> None:
    assert "block 2" in str(refused(block(first, bytes(16)) + block(second, bytes(16))))


@pytest.mark.parametrize("variant", VARIANTS)
def test_a_chain_cut_anywhere_but_at_a_border_is_refused(variant: Variant) -> None:
    """A cut between blocks cannot be seen: the format does not count them (docs/security.md)."""
    data = block(variant, bytes(32)) + block(variant, bytes(16)) + block(variant, bytes(16))
    borders = {one.stop for one in found(data)}
    for cut in range(4, len(data)):
        if cut in borders:
            assert found(data[:cut]).stop == cut
        else:
            error = refused(data[:cut])
            assert error.hint is not None
            assert error.offset is not None
            assert error.offset <= cut


@pytest.mark.parametrize(
    ("damage", "offset", "fact"),
    [
        (lambda data: data[:8] + b"\x11" + data[9:], 8, "IV must have 16 bytes"),
        (lambda data: data[:4] + b"\x39" + data[5:], 28, "disagree"),
        (lambda data: data[:28] + b"\x21" + data[29:], 28, "disagree"),
        (lambda data: data[:-1], 32, "32 bytes of ciphertext, and 31 are left"),
        (lambda data: data[:20], 0, "header needs 32 bytes, and 20 are left"),
        (lambda _: block(CBC, b""), 32, "no ciphertext"),
        (lambda _: block(CBC, bytes(17)), 32, "not a multiple of 16"),
    ],
)
def test_the_error_says_what_is_wrong_and_where(damage: Any, offset: int, fact: str) -> None:
    error = refused(damage(block(CBC, bytes(32))))
    assert (error.offset, error.path) == (offset, "<bytes>")
    assert "block 1" in error.problem
    assert fact in error.problem


def test_of_two_readings_the_error_tells_of_the_one_that_came_further() -> None:
    data = block(UNTAGGED, bytes(32)) * 2
    assert "32 bytes of ciphertext, and 30 are left" in str(refused(data[:-2]))
    data = block(TAGGED_GCM, bytes(32)) * 2
    assert "32 bytes of ciphertext, and 30 are left" in str(refused(data[:-2]))


@pytest.mark.parametrize("variant", VARIANTS)
def test_records_in_clear_may_come_first(variant: Variant) -> None:
    start = len(RECORD)
    data = RECORD + block(variant, bytes(16)) * 2 + TRAILER
    result = chain_at(BufferSource(data), start)
    assert result is not None
    assert (result.start, result.variant, result.trailer, len(result)) == (start, variant, True, 2)
    assert find_chain(BufferSource(data)) is None


@pytest.mark.parametrize("variant", VARIANTS)
def test_a_plain_file_is_not_taken_for_a_chain(variant: Variant) -> None:
    """Four bytes that look like a block are not enough: the rest must be blocks to the last byte."""
    data = RECORD + block(variant, bytes(16))
    assert chain_at(BufferSource(data), 0) is None
    assert chain_at(BufferSource(data + b"\0"), len(RECORD)) is None
    assert chain_at(BufferSource(data[:-1]), len(RECORD)) is None
    assert chain_at(BufferSource(data), len(data)) is None
    assert chain_at(BufferSource(data), len(data) - 2) is None


class Counted(BufferSource):
    """Counts how much is read."""

    bytes_read = 0

    def read(self, start: int, stop: int) -> memoryview:
        self.bytes_read += stop - start
        return super().read(start, stop)


def test_only_headers_are_read() -> None:
    source = Counted(block(SM4, bytes(1 << 20)) * 3)
    result = find_chain(source)
    assert result is not None
    assert len(result) == 3
    assert source.bytes_read < 3 * 64


def pieces() -> st.SearchStrategy[bytes]:
    """What files of this kind are made of, whole and broken."""
    whole = st.builds(
        block,
        st.sampled_from(VARIANTS),
        st.binary(max_size=40),
        st.binary(min_size=16, max_size=16),
        st.binary(min_size=16, max_size=16),
    )
    return st.one_of(whole, st.sampled_from([TRAILER, RECORD, *chain.MAGICS]), st.binary(max_size=50))


@settings(max_examples=300)
@given(st.lists(pieces(), max_size=6))
def test_any_bytes_are_a_whole_chain_or_none_or_an_error(parts: list[bytes]) -> None:
    data = b"".join(parts)
    if data[:4] not in chain.MAGICS:
        assert find_chain(BufferSource(data)) is None
    elif chain_at(BufferSource(data), 0) is None:
        error = refused(data)
        assert error.path == "<bytes>"
        assert error.offset is not None
    else:
        check_tiling(data, found(data))


def check_tiling(data: bytes, result: chain.Chain) -> None:
    at = result.start
    for one in result:
        assert one.offset == at
        assert data[at : at + 4] == result.variant.magic
        assert one.start == at + result.variant.header_size < one.stop
        at = one.stop
    assert at == result.stop
    assert data[at:] == (TRAILER if result.trailer else b"")
