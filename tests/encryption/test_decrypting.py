"""Sources that decrypt: the plain stream from any place, authentic or not at all, and never the key."""

from __future__ import annotations

import functools
import hashlib
import itertools
import json
import os
import struct
import threading
import traceback
import tracemalloc
import warnings
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from cryptography.hazmat.primitives import padding
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from hypothesis import given, settings
from hypothesis import strategies as st

from ckptload.encryption import authenticated
from ckptload.encryption.cache import Kept
from ckptload.encryption.chain import CBC, SM4, TAGGED_GCM, UNTAGGED, chain_at, find_chain
from ckptload.encryption.opening import open_encrypted
from ckptload.errors import (
    ArgumentTypeError,
    ChangedFileError,
    CheckpointError,
    ClosedReaderError,
    DecryptionError,
    LimitError,
    OutOfMemoryError,
)
from ckptload.formats.ckpt.schema import message_class
from ckptload.reading.access import Access
from ckptload.reading.indexing import open_index
from ckptload.sources.base import Profile, Source
from ckptload.sources.files import FileSource
from ckptload.sources.memory import BufferSource
from places import FIXTURES
from strategies import CountingSource, record

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ckptload.encryption.decrypting import DecryptingSource

ENCRYPTED = FIXTURES / "encrypted"
SAMPLES: list[dict[str, Any]] = json.loads((ENCRYPTED / "samples.json").read_text("utf-8"))["samples"]
#: Recognisable in any text that should not hold it.
KEY = b"do not show this"
TRAILER = b"crc_num" + bytes(10)
#: Every way in which a file can be encrypted, with the mode it is opened by.
KINDS = {
    "tagged": (TAGGED_GCM, "AES-GCM"),
    "untagged": (UNTAGGED, "AES-GCM"),
    "old-cbc": (UNTAGGED, "AES-CBC"),
    "cbc": (CBC, "AES-CBC"),
    "sm4": (SM4, "SM4-CBC"),
}
CBC_KINDS = ["old-cbc", "cbc", "sm4"]
every_kind = pytest.mark.parametrize("kind", KINDS)


def seal_block(kind: str, plain: bytes, iv: bytes, key: bytes = KEY) -> bytes:
    """Encrypt one block by the one-shot interfaces of ``cryptography``, which the package does not use."""
    variant, mode = KINDS[kind]
    tag = b""
    if mode == "AES-GCM":
        sealed = AESGCM(key).encrypt(iv[:12], plain, None)
        sealed, tag = sealed[:-16], sealed[-16:]
    else:
        algorithm = algorithms.SM4(key) if mode == "SM4-CBC" else algorithms.AES(key)
        padder = padding.PKCS7(128).padder()
        encryptor = Cipher(algorithm, modes.CBC(iv)).encryptor()
        sealed = encryptor.update(padder.update(plain) + padder.finalize()) + encryptor.finalize()
    header = struct.pack("<II16sI", len(sealed) + 24, 16, iv, len(sealed))
    return variant.magic + (tag if variant.tagged else b"") + header + sealed


def seal(kind: str, plain: bytes, sizes: list[int]) -> bytes:
    """Encrypt a stream in blocks of the sizes given, the rest in a last one."""
    out, at = b"", 0
    for number, size in enumerate([*sizes, len(plain)]):
        part = plain[at : at + size]
        if part:
            out += seal_block(kind, part, bytes([number]) * 16)
        at += size
    return out


def unseal(data: bytes | Source, kind: str, key: bytes = KEY, start: int = 0) -> DecryptingSource:
    """Open without complaint about what is not authenticated."""
    source = data if isinstance(data, Source) else Cramped(data)
    chain = chain_at(source, start) if start else find_chain(source)
    assert chain is not None
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        return open_encrypted(source, chain, key, KINDS[kind][1], allow_unauthenticated=True)


class Cramped(BufferSource):
    """A source read in pieces of 128 bytes, so that small files have many, and which counts what is read."""

    profile = Profile(near=16, far=16)
    bytes_read = 0

    def read(self, start: int, stop: int) -> memoryview:
        self.bytes_read += stop - start
        return super().read(start, stop)


def content(size: int) -> bytes:
    return np.random.default_rng(size).bytes(size)


# -- files of MindSpore -------------------------------------------------------------------------------


@pytest.mark.parametrize("row", SAMPLES, ids=lambda row: row["file"])
def test_files_of_every_mindspore_decrypt_to_what_was_saved(row: dict[str, Any]) -> None:
    source = FileSource(str(ENCRYPTED / row["file"]))
    start = (ENCRYPTED / row["file"]).read_bytes().index(b"\x5e\x3a\x7f") - 1
    kind = next(name for name, value in KINDS.items() if value[1] == row["mode"])
    sealed = unseal(source, kind, bytes.fromhex(row["key_hex"]), start)
    with sealed_closed(sealed):
        if row.get("must_refuse"):
            with pytest.raises(DecryptionError):
                sealed.authenticate()
            return
        sealed.authenticate()
        records = message_class("Checkpoint").FromString(bytes(sealed.read(0, sealed.size)))
    got: dict[str, list[bytes]] = {}
    for value in records.value:  # type: ignore[attr-defined]
        parts = [part.tensor_content for part in value.maptensor.tensor] or [value.tensor.tensor_content]
        # Records of one name are slices of one tensor.
        got[value.tag] = [b"".join(got.get(value.tag, [])) + parts[0], *parts[1:]]
    assert {name: [hashlib.sha256(part).hexdigest() for part in parts] for name, parts in got.items()} == {
        entry["name"]: [part["sha256"] for part in entry.get("tensors", [entry])] for entry in row["expected"]
    }


class sealed_closed:  # noqa: N801 -- reads as the statement it is
    """Close a source at the end of a with block."""

    def __init__(self, source: Source) -> None:
        self._source = source

    def __enter__(self) -> None:
        pass

    def __exit__(self, *_: object) -> None:
        self._source.close()


# -- the stream ---------------------------------------------------------------------------------------


@every_kind
@settings(max_examples=60)
@given(st.data())
def test_any_range_is_a_slice_of_the_whole(kind: str, data: st.DataObject) -> None:
    """Whatever the blocks, records in clear before them and a trailer behind included."""
    plain = content(data.draw(st.integers(0, 600)))
    clear = content(data.draw(st.sampled_from([0, 0, 1, 40])))
    sizes = data.draw(st.lists(st.integers(1, 200), max_size=5))
    trailer = data.draw(st.sampled_from([b"", TRAILER]))
    chain = seal(kind, plain or b"x", sizes)
    plain = clear + (plain or b"x")
    sealed = unseal(clear + chain + trailer, kind, start=len(clear))
    assert sealed.size == len(plain)
    assert bytes(sealed.read(0, sealed.size)) == plain
    ends = data.draw(st.lists(st.integers(0, len(plain)), max_size=8, unique=True).map(sorted))
    for start in ends:
        for stop in ends:
            if start <= stop:
                assert bytes(sealed.read(start, stop)) == plain[start:stop]
    spans = list(zip(ends[::2], ends[1::2], strict=False))
    # What lies around a buffer must not be touched: ciphers want more room than they use.
    around = b"?" * 20
    buffers = [bytearray(around + bytes(stop - start) + around) for start, stop in spans]
    sealed.read_many([(start, memoryview(out)[20:-20]) for (start, _), out in zip(spans, buffers, strict=True)])
    assert [bytes(out) for out in buffers] == [around + plain[start:stop] + around for start, stop in spans]


@every_kind
@pytest.mark.parametrize("block", [1 << 20, 700_000, 64 << 10])
def test_large_content_is_read_by_threads(kind: str, block: int) -> None:
    plain = content(5 << 20)
    sealed = unseal(BufferSource(seal(kind, plain, [block] * (len(plain) // block))), kind)
    borders = [0, 1, 17, 300_000, 2_000_000, 2_000_001, 5_000_000]
    buffers = [np.zeros(stop - start, np.uint8) for start, stop in itertools.pairwise(borders)]
    sealed.read_many([(start, out.data) for start, out in zip(borders, buffers, strict=False)])
    assert b"".join(out.tobytes() for out in buffers) == plain[: borders[-1]]


@every_kind
def test_several_threads_may_read_at_once(kind: str) -> None:
    plain = content(1 << 20)
    sealed = unseal(BufferSource(seal(kind, plain, [100_000] * 10)), kind)
    chosen = np.random.default_rng(7)
    spans = [(int(start), int(start + length)) for start, length in chosen.integers(0, 1 << 19, (60, 2))]
    with ThreadPoolExecutor(4) as pool:
        got = list(pool.map(lambda span: bytes(sealed.read(*span)), spans))
    assert got == [plain[start:stop] for start, stop in spans]


@every_kind
def test_a_system_without_more_threads_reads_all_the_same(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def none_left(*_: object) -> None:
        message = "can't start new thread"
        raise RuntimeError(message)

    plain = content(5 << 20)
    sealed = unseal(BufferSource(seal(kind, plain, [1 << 20] * 5)), kind)
    monkeypatch.setattr(threading.Thread, "start", none_left)
    sealed.authenticate()
    out = np.zeros(len(plain), np.uint8)
    sealed.read_many([(0, out.data)])
    assert out.tobytes() == plain
    assert bytes(sealed.read(100, 200)) == plain[100:200]


@pytest.mark.parametrize("kind", [*CBC_KINDS, "untagged"])
def test_without_tags_only_what_is_asked_for_is_decrypted(kind: str) -> None:
    source = Cramped(seal(kind, content(100_000), [50_000]))
    sealed = unseal(source, kind)
    assert source.bytes_read < 300
    source.bytes_read = 0
    sealed.read(70_001, 70_101)
    assert source.bytes_read <= 16 + 100 + 2 * 16


def test_reading_along_a_tagged_file_decrypts_each_block_once() -> None:
    plain = content(64_000)
    source = Cramped(seal("tagged", plain, [1000] * 64))
    sealed = unseal(source, "tagged")
    source.bytes_read = 0
    for start in range(0, len(plain), 100):
        assert bytes(sealed.read(start, start + 50)) == plain[start : start + 50]
    assert source.bytes_read == len(plain)


def test_of_large_blocks_only_the_pieces_asked_for_are_decrypted_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(authenticated, "_KEPT_PIECES", 4)
    plain = content(64_000)
    source = Cramped(seal("tagged", plain, [16_000] * 4))
    sealed = unseal(source, "tagged")
    sealed.authenticate()
    source.bytes_read = 0
    for start in range(0, len(plain), 1000):
        assert bytes(sealed.read(start, start + 50)) == plain[start : start + 50]
        assert bytes(sealed.read(start + 10, start + 20)) == plain[start + 10 : start + 20]
    # Each of them lies in one piece of 128 bytes, or in two, and is kept for the next.
    assert 64 * 128 <= source.bytes_read <= 64 * 2 * 128
    source.bytes_read = 0
    for start, stop in ((0, 8000), (1, 8000), (15_000, 22_000)):
        assert bytes(sealed.read(start, stop)) == plain[start:stop]
    assert source.bytes_read <= 8000 + 8000 + 7000 + 6 * 128


@pytest.mark.slow
def test_little_plaintext_is_kept_of_a_large_file() -> None:
    plain = bytes(160 << 20)
    source = BufferSource(seal("tagged", plain, [80 << 20]))
    sealed = unseal(source, "tagged")
    tracemalloc.start()
    try:
        for start in range(0, len(plain), 1 << 20):
            assert not any(sealed.read(start, start + 100))
        assert tracemalloc.get_traced_memory()[1] < 20 << 20
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("whole", [False, True])
def test_a_block_that_changes_after_its_tag_was_checked_is_refused(
    whole: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever can write to the file while it is open gains nothing by it."""
    monkeypatch.setattr(authenticated, "_KEPT_PIECES", 1)
    plain = content(3000)
    data = bytearray(seal("tagged", plain, []))
    sealed = unseal(Cramped(data, label="the file"), "tagged")
    sealed.authenticate()
    sealed.read(0, 10)
    data[-1000] ^= 1
    if whole:
        with pytest.raises(ChangedFileError, match="block 1 of 1 has changed"):
            sealed.read(0, 3000)
        return
    assert bytes(sealed.read(0, 1000)) == plain[:1000]
    for start, stop in ((1999, 2001), (1000, 2300)):
        with pytest.raises(ChangedFileError, match="block 1 of 1 has changed") as caught:
            sealed.read(start, stop)
        assert caught.value.path == "the file"
        assert caught.value.offset is not None
        assert len(data) - 3000 <= caught.value.offset <= len(data) - 1000


def test_what_a_survey_sees_is_held_against_the_authentic_plaintext() -> None:
    """A file that was another one only as long as its headers were read is refused."""
    plain = content(5000)
    data = bytearray(seal("tagged", plain, [3000]))
    for number, at in enumerate([10, 3500, 3001]):
        sealed = unseal(Cramped(data, label="the file"), "tagged")
        # 48 bytes stand before the content of a block.
        offset = at + (48 if at < 3000 else 2 * 48)
        data[offset] ^= 1
        assert sealed.survey(functools.partial(sealed.read, at - 5, at + 5)) != plain[at - 5 : at + 5]
        data[offset] ^= 1
        with pytest.raises(
            ChangedFileError, match=f"block {min(number, 1) + 1} of 2 has changed since it was first read"
        ):
            sealed.authenticate()


@pytest.mark.parametrize("kind", KINDS)
def test_a_survey_reads_little_and_its_errors_wait_for_the_tags(kind: str) -> None:
    plain = content(64_000)
    source = Cramped(seal(kind, plain, [16_000] * 4))
    sealed = unseal(source, kind)
    source.bytes_read = 0
    borders = range(15_990, 56_000, 8000)
    assert sealed.survey(lambda: [bytes(sealed.read(at, at + 20)) for at in borders]) == [
        plain[at : at + 20] for at in borders
    ]
    assert source.bytes_read < 1000
    sealed.authenticate()
    assert bytes(sealed.read(15_900, 16_100)) == plain[15_900:16_100]

    def fails() -> None:
        sealed.read(0, 10)
        raise LimitError("no more")

    with pytest.raises(LimitError, match="no more"):
        sealed.survey(fails)
    damaged_one = unseal(damaged(4), "tagged")
    with pytest.raises(DecryptionError, match="block 5 of 5"):
        damaged_one.survey(lambda: [damaged_one.read(4100, 4110), damaged_one.read(-1, 10)])


@every_kind
@pytest.mark.parametrize("sizes", [[], [1000] * 4, [100] * 40])
def test_what_is_asked_for_twice_is_given_twice(kind: str, sizes: list[int]) -> None:
    """In one call, overlapping and in any order, whether tags were compared before or not."""
    plain = content(4321)
    for first in (False, True):
        sealed = unseal(seal(kind, plain, sizes), kind)
        if first:
            sealed.authenticate()
        spans = [(10, 700), (10, 700), (600, 3000), (0, 4321), (50, 60), (0, 4321), (4320, 4321), (200, 328)]
        buffers = [bytearray(stop - start) for start, stop in spans]
        sealed.read_many([(start, memoryview(out)) for (start, _), out in zip(spans, buffers, strict=True)])
        assert [bytes(out) for out in buffers] == [plain[start:stop] for start, stop in spans]


def test_threads_that_want_one_block_compare_its_tag_once() -> None:
    plain = content(1 << 20)
    source = CountingSource(seal("tagged", plain, []))
    sealed = unseal(source, "tagged")
    source.reads.clear()
    barrier = threading.Barrier(8)

    def read(start: int) -> bytes:
        barrier.wait()
        return bytes(sealed.read(start, start + 10))

    with ThreadPoolExecutor(8) as pool:
        assert list(pool.map(read, range(8))) == [plain[at : at + 10] for at in range(8)]
    assert source.total <= len(plain) + 8 * (512 << 10)


@pytest.mark.slow
def test_many_tiny_blocks_cost_no_more_memory_than_their_places_do() -> None:
    block = seal_block("tagged", b"tiny", bytes(16))
    source = BufferSource(block * 20_000)
    sealed = unseal(source, "tagged")
    tracemalloc.start()
    try:
        sealed.authenticate()
        assert tracemalloc.get_traced_memory()[1] < 2 << 20
        assert bytes(sealed.read(0, sealed.size)) == b"tiny" * 20_000
    finally:
        tracemalloc.stop()


def test_a_source_closed_while_a_block_is_decrypted_says_so() -> None:
    """Its descriptor may be that of another file by then, whose bytes match no tag."""

    class Reused(Cramped):
        closed = False

        def read_into(self, start: int, out: memoryview) -> None:
            super().read_into(start, out)
            if self.closed:
                out[:] = bytes(len(out))

        def check_unchanged(self) -> None:
            if self.closed:
                raise ClosedReaderError("the checkpoint was closed")

    for size in (100, 1000):
        source = Reused(seal("tagged", content(size), []))
        sealed = unseal(source, "tagged")
        source.closed = True
        with pytest.raises(ClosedReaderError):
            sealed.read(0, 10)


def test_blocks_without_a_header_are_not_read_at_opening() -> None:
    plain = record("first", (40_000,), "Float32", content(160_000)) + record("second", (1000,), "Int32", content(4000))
    source = Cramped(seal("tagged", plain, [10_000] * 17))
    index = open_index(source, Access(format="ckpt", key=KEY))
    assert list(index.names()) == ["first", "second"]
    assert source.bytes_read < 4 * 10_000
    assert bytes(index.source.read(20_000, 30_000)) == plain[20_000:30_000]
    index.source.authenticate()
    assert len(plain) < source.bytes_read < 2 * len(plain)


def test_a_survey_that_sees_much_compares_the_tags_first() -> None:
    sealed = unseal(damaged(4), "tagged")
    with pytest.raises(DecryptionError, match="block 5 of 5"):
        sealed.survey(lambda: [sealed.read(at, at + 100) for at in range(0, 4000, 100)])


def test_too_little_memory_for_a_piece_is_our_error(monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise MemoryError

    monkeypatch.setattr(authenticated, "_KEPT_PIECES", 1)
    for size, piece in ((100, 100), (1000, 128)):
        with monkeypatch.context() as patched:
            sealed = unseal(seal("tagged", content(size), []), "tagged")
            sealed.authenticate()
            sealed.read(size - 10, size)
            sealed._kept.close()  # type: ignore[attr-defined]
            sealed._kept = Kept(1, "the file")  # type: ignore[attr-defined]
            patched.setattr(np, "empty", full)
            with pytest.raises(OutOfMemoryError, match=f"{piece} bytes of plaintext"):
                sealed.read(0, 10)


@every_kind
def test_a_range_outside_is_refused(kind: str) -> None:
    sealed = unseal(seal(kind, content(100), [30]), kind)
    for start, stop in ((0, 101), (-1, 5), (100, 101)):
        with pytest.raises(CheckpointError):
            sealed.read(start, stop)


@every_kind
def test_a_closed_source_gives_nothing_kept_or_not(kind: str) -> None:
    sealed = unseal(seal(kind, content(1000), [300, 300]), kind)
    sealed.read(0, 10)
    sealed.close()
    with pytest.raises(ClosedReaderError):
        sealed.read(0, 10)
    with pytest.raises(ClosedReaderError):
        sealed.read(0, 1000)


@every_kind
def test_a_file_that_changed_is_noticed(kind: str, tmp_path: Path) -> None:
    path = tmp_path / "a.ckpt"
    path.write_bytes(seal(kind, content(1000), []))
    sealed = unseal(FileSource(str(path)), kind)
    with sealed_closed(sealed):
        assert (sealed.path, sealed.label) == (str(path), str(path))
        sealed.check_unchanged()
        os.truncate(path, 50)
        with pytest.raises(ChangedFileError):
            sealed.check_unchanged()


# -- what an attacker can do --------------------------------------------------------------------------

PLAIN = content(500)
GCM_FILE = seal("tagged", PLAIN, [200, 200])
#: Where bytes stand that nothing uses: the last four of each block's IV.
UNUSED = {at for offset in (0, 248, 496) for at in range(offset + 40, offset + 44)}


def value_of(data: bytes, kind: str, key: bytes = KEY) -> bytes | None:
    """Return what a file decrypts to, or None if it is refused by an error of ours or is no chain."""
    try:
        if find_chain(Cramped(data)) is None:
            return None
        sealed = unseal(data, kind, key)
        return bytes(sealed.read(0, sealed.size))
    except DecryptionError:
        return None


@settings(max_examples=400)
@given(st.integers(0, len(GCM_FILE) - 1), st.integers(1, 255))
def test_gcm_any_change_inside_a_block_is_refused(at: int, flip: int) -> None:
    """The switch for unauthenticated files is on here: it must not help."""
    changed = bytearray(GCM_FILE)
    changed[at] ^= flip
    assert value_of(bytes(changed), "tagged") == (PLAIN if at in UNUSED else None)


@settings(max_examples=200)
@given(
    st.integers(0, len(GCM_FILE)), st.integers(0, 60), st.binary(max_size=60), st.sampled_from(["AES-GCM", "AES-CBC"])
)
def test_gcm_any_replaced_stretch_is_refused(start: int, length: int, new: bytes, mode: str) -> None:
    """Neither put in, cut out nor replaced, and not by asking for the mode that shares the magic."""
    changed = GCM_FILE[:start] + new + GCM_FILE[start + length :]
    kind = "tagged" if mode == "AES-GCM" else "old-cbc"
    at_border = {248: PLAIN[:200], 496: PLAIN[:400], len(GCM_FILE): PLAIN}.get(len(changed))
    got = value_of(changed, kind)
    unused = len(changed) == len(GCM_FILE) and not (
        {at for at, (old, now) in enumerate(zip(GCM_FILE, changed, strict=True)) if old != now} - UNUSED
    )
    if kind == "tagged" and (unused or (GCM_FILE.startswith(changed) and at_border is not None)):
        assert got == (PLAIN if unused else at_border)
    else:
        assert got is None


@pytest.mark.parametrize("cut", range(4, len(GCM_FILE)))
def test_gcm_a_cut_that_is_at_no_border_is_refused(cut: int) -> None:
    got = value_of(GCM_FILE[:cut], "tagged")
    assert got == {248: PLAIN[:200], 496: PLAIN[:400]}.get(cut)


@settings(max_examples=100)
@given(st.binary(min_size=1, max_size=300))
def test_gcm_any_bytes_appended_are_refused(more: bytes) -> None:
    assert value_of(GCM_FILE + more, "tagged") == (PLAIN if more == TRAILER else None)


def test_tags_that_were_cut_out_do_not_make_an_old_file() -> None:
    """Without the switch an untagged file is refused, so that removing tags gains nothing."""
    stripped = b""
    chain = find_chain(BufferSource(GCM_FILE))
    assert chain is not None
    for block in chain:
        stripped += GCM_FILE[block.offset : block.offset + 4] + GCM_FILE[block.offset + 20 : block.stop]
    source = BufferSource(stripped)
    chain = find_chain(source)
    assert chain is not None
    with pytest.raises(DecryptionError, match="no authentication tags") as caught:
        open_encrypted(source, chain, KEY, "AES-GCM", allow_unauthenticated=False)
    assert "allow_unauthenticated=True" in str(caught.value)


def damaged(number: int) -> bytes:
    """Return a tagged file of five blocks, one of which is damaged in its last byte."""
    blocks = [seal_block("tagged", content(1000), bytes([n]) * 16) for n in range(5)]
    blocks[number] = blocks[number][:-1] + bytes([blocks[number][-1] ^ 1])
    return b"".join(blocks)


@pytest.mark.parametrize("number", range(5))
def test_a_damaged_block_is_refused_each_time_and_the_others_stay_readable(number: int) -> None:
    sealed = unseal(damaged(number), "tagged")
    for _ in range(2):
        for block in range(5):
            start = block * 1000
            if block == number:
                with pytest.raises(DecryptionError, match=f"block {number + 1} of 5") as caught:
                    sealed.read(start + 10, start + 20)
                assert caught.value.offset == number * 1048
            else:
                assert bytes(sealed.read(start + 10, start + 20)) == content(1000)[10:20]
    for read in (sealed.authenticate, lambda: sealed.read(0, 5000), lambda: sealed.read(number * 1000, 5000)):
        with pytest.raises(DecryptionError, match=f"block {number + 1} of 5"):
            read()


def test_authenticate_checks_blocks_that_nobody_read() -> None:
    sealed = unseal(damaged(4), "tagged")
    sealed.read(0, 3000)
    with pytest.raises(DecryptionError, match="block 5 of 5"):
        sealed.authenticate()
    with pytest.raises(DecryptionError, match="block 5 of 5"):
        sealed.authenticate()


@every_kind
def test_authenticate_passes_a_good_file(kind: str) -> None:
    sealed = unseal(seal(kind, content(1000), [300, 300]), kind)
    sealed.authenticate()
    assert sealed.authenticated == (kind == "tagged")


@pytest.mark.parametrize("kind", CBC_KINDS)
@settings(max_examples=150)
@given(st.data())
def test_cbc_any_changed_file_gives_a_stream_or_our_error(kind: str, data: st.DataObject) -> None:
    file = seal(kind, PLAIN, [200, 150])
    start = data.draw(st.integers(0, len(file)))
    stop = data.draw(st.integers(start, min(start + 40, len(file))))
    changed = file[:start] + data.draw(st.binary(max_size=40)) + file[stop:]
    value_of(changed, kind)


@pytest.mark.parametrize("kind", CBC_KINDS)
@pytest.mark.parametrize("last", [b"\x00", b"\x11", b"\x01\x02", b"\x03\x02\x03", b"\xff"])
def test_cbc_wrong_padding_is_refused(kind: str, last: bytes) -> None:
    mode = KINDS[kind][1]
    algorithm = algorithms.SM4(KEY) if mode == "SM4-CBC" else algorithms.AES(KEY)
    encryptor = Cipher(algorithm, modes.CBC(bytes(16))).encryptor()
    sealed = encryptor.update(b"p" * (32 - len(last)) + last)
    file = KINDS[kind][0].magic + struct.pack("<II16sI", 56, 16, bytes(16), 32) + sealed
    good = seal(kind, PLAIN, [])
    with pytest.raises(DecryptionError, match="block 2 of 2 cannot be decrypted with this key"):
        unseal(good + file, kind)


@every_kind
def test_a_wrong_key_is_refused_or_gives_another_stream(kind: str) -> None:
    """One CBC key in about 250 passes the padding check; whoever parses the stream must then refuse."""
    file = seal(kind, PLAIN, [])
    got = [value_of(file, kind, KEY[:-1] + bytes([number])) for number in range(40)]
    assert PLAIN not in got
    refused = got.count(None)
    assert refused == {"tagged": 40, "untagged": 0}.get(kind, refused)
    assert kind in {"tagged", "untagged"} or refused > 30


# -- policy -------------------------------------------------------------------------------------------


def opened(data: bytes, mode: str, *, key: bytes = KEY, start: int = 0, allow: bool = False) -> DecryptingSource:
    source = BufferSource(data, label="the file")
    chain = chain_at(source, start)
    assert chain is not None
    return open_encrypted(source, chain, key, mode, allow_unauthenticated=allow)


@pytest.mark.parametrize(
    ("kind", "mode", "right"),
    [
        ("tagged", "AES-CBC", "dec_mode='AES-GCM'"),
        ("tagged", "SM4-CBC", "dec_mode='AES-GCM'"),
        ("cbc", "AES-GCM", "dec_mode='AES-CBC'"),
        ("sm4", "AES-CBC", "dec_mode='SM4-CBC'"),
        ("untagged", "AES-CBC", "dec_mode='AES-GCM'"),
        ("old-cbc", "SM4-CBC", "dec_mode='AES-GCM' or 'AES-CBC'"),
    ],
)
@pytest.mark.parametrize("allow", [False, True])
def test_a_wrong_mode_is_refused_with_the_one_to_pass(kind: str, mode: str, right: str, allow: bool) -> None:
    with pytest.raises(DecryptionError, match=f"not with {mode}") as caught:
        opened(seal(kind, PLAIN, []), mode, allow=allow)
    assert right in str(caught.value)
    assert caught.value.path == "the file"


@pytest.mark.parametrize("mode", ["", "aes-gcm", "AES-CTR"])
def test_an_unknown_mode_is_refused_with_all_that_exist(mode: str) -> None:
    with pytest.raises(DecryptionError, match="'AES-GCM', 'AES-CBC', 'SM4-CBC'"):
        opened(seal("tagged", PLAIN, []), mode)


def test_key_type_and_length_are_checked_first() -> None:
    with pytest.raises(DecryptionError, match="has 5 bytes"):
        opened(seal("tagged", PLAIN, []), "AES-GCM", key=b"short")
    with pytest.raises(ArgumentTypeError, match="must be bytes"):
        opened(seal("tagged", PLAIN, []), "AES-GCM", key="do not show this")  # type: ignore[arg-type]


def texts(caught: list[warnings.WarningMessage]) -> list[str]:
    return [str(one.message) for one in caught]


@every_kind
@pytest.mark.parametrize("allow", [False, True])
def test_a_file_that_keeps_its_mode_s_promise_needs_no_permission_and_no_warning(kind: str, allow: bool) -> None:
    if kind == "untagged":
        return
    with warnings.catch_warnings(record=True) as caught:
        assert opened(seal(kind, PLAIN, [100]), KINDS[kind][1], allow=allow).size == len(PLAIN)
    assert texts(caught) == []


def test_an_untagged_gcm_file_is_opened_on_request_with_a_warning() -> None:
    with pytest.warns(UserWarning, match="no authentication tags") as caught:
        sealed = opened(seal("untagged", PLAIN, []), "AES-GCM", allow=True)
    assert bytes(sealed.read(0, 500)) == PLAIN
    assert "the file" in texts(list(caught))[0]
    # The place shown is that of the caller, outside the package.
    assert Path(caught[0].filename).name == Path(__file__).name


@pytest.mark.parametrize("kind", ["tagged", "untagged"])
def test_records_in_clear_before_gcm_blocks_need_permission(kind: str) -> None:
    data = b"\x0a\x03\x0a\x01a" + seal(kind, PLAIN, [])
    with pytest.raises(DecryptionError, match="allow_unauthenticated=True"):
        opened(data, "AES-GCM", start=5)
    with pytest.warns(UserWarning, match="because unauthenticated data was allowed"):
        sealed = opened(data, "AES-GCM", start=5, allow=True)
    assert bytes(sealed.read(0, 505)) == data[:5] + PLAIN
    assert not sealed.authenticated


@pytest.mark.parametrize("kind", CBC_KINDS)
@pytest.mark.parametrize("allow", [False, True])
def test_records_in_clear_before_cbc_blocks_are_warned_about(kind: str, allow: bool) -> None:
    data = b"\x0a\x03\x0a\x01a" + seal(kind, PLAIN, [])
    with pytest.warns(UserWarning, match="first 5 bytes are records that its writer did not encrypt"):
        sealed = opened(data, KINDS[kind][1], start=5, allow=allow)
    assert bytes(sealed.read(0, 505)) == data[:5] + PLAIN


@every_kind
def test_a_clear_trailer_is_skipped_with_a_warning(kind: str) -> None:
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        sealed = opened(seal(kind, PLAIN, []) + TRAILER, KINDS[kind][1], allow=kind == "untagged")
    assert sealed.size == len(PLAIN)
    assert [text for text in texts(caught) if "CRC trailer" in text]


# -- the key does not show ----------------------------------------------------------------------------


def shown(value: object) -> Iterator[str]:
    """Yield what a person or a log may see of an object, three levels deep."""
    yield repr(value)
    for inner in vars(value).values() if hasattr(value, "__dict__") else ():
        yield repr(inner)
        for innermost in vars(inner).values() if hasattr(inner, "__dict__") else ():
            yield repr(innermost)


@every_kind
def test_no_representation_holds_the_key(kind: str) -> None:
    sealed = unseal(seal(kind, PLAIN, [100]), kind)
    sealed.read(0, 10)
    assert f"{KINDS[kind][0].description}"[:7] in repr(sealed)
    for text in shown(sealed):
        assert "do not show" not in text
        assert KEY.hex() not in text


@every_kind
def test_no_error_holds_the_key(kind: str) -> None:
    """Nor does any error depend on what was decrypted: a damaged and another key's file give the same words."""
    good = seal(kind, PLAIN, [])
    attempts = [
        (good[:-1], KINDS[kind][1]),
        (good, "SM4-CBC" if kind != "sm4" else "AES-GCM"),
        (good, "nothing"),
        (good[:-1] + bytes([good[-1] ^ 1]), KINDS[kind][1]),
    ]
    for data, mode in attempts:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            try:
                source = BufferSource(data)
                chain = find_chain(source)
                assert chain is not None
                open_encrypted(source, chain, KEY, mode, allow_unauthenticated=True).read(0, 500)
            except DecryptionError as error:
                text = "".join(traceback.format_exception(error))
                assert "do not show" not in text
                assert KEY.hex() not in text


def test_a_wrong_key_and_a_damaged_block_read_the_same() -> None:
    """They are not told apart."""
    file = seal("tagged", PLAIN, [])
    messages = set()
    for data, key in ((file, KEY[::-1]), (file[:-1] + b"?", KEY), (file[:4] + b"?" + file[5:], KEY)):
        with pytest.raises(DecryptionError) as caught:
            unseal(data, "tagged", key).read(0, 10)
        messages.add(str(caught.value))
    assert len(messages) == 1
