"""AES-GCM with tags: no byte that is not authentic, each tag once, and little memory."""

from __future__ import annotations

import functools
import io
import sys
import threading
import tracemalloc
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ckptload import load_checkpoint, open_checkpoint
from ckptload.encryption import authenticated
from ckptload.encryption.cache import Kept
from ckptload.encryption.chain import find_chain
from ckptload.encryption.opening import open_encrypted
from ckptload.errors import ChangedFileError, CheckpointError, ClosedReaderError, DecryptionError, OutOfMemoryError
from ckptload.reading.access import Access
from ckptload.reading.indexing import open_index
from ckptload.sources.memory import BufferSource
from encryption.sealing import KEY, PLAIN, TRAILER, Cramped, content, damaged, seal, seal_block, unseal, value_of
from strategies import CountingSource, floats, record

# -- what is read and kept -----------------------------------------------------------------------------


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


@pytest.mark.slow
def test_marks_take_a_hundred_and_fifty_bytes_for_each_mebibyte() -> None:
    size = 8
    sealed = unseal(BufferSource(seal("tagged", bytes(size << 20), [])), "tagged")
    sealed.authenticate()
    (marks,) = sealed._marks.values()  # type: ignore[attr-defined]
    assert len(marks) == 2 * size
    assert sys.getsizeof(marks) + sum(map(sys.getsizeof, marks)) <= 150 * size


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
@pytest.mark.once
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


# -- surveys -------------------------------------------------------------------------------------------


def test_blocks_without_a_header_are_not_read_at_opening() -> None:
    plain = record("first", (40_000,), "Float32", content(160_000)) + record("second", (1000,), "Int32", content(4000))
    source = Cramped(seal("tagged", plain, [10_000] * 17))
    index = open_index(source, Access(format="ckpt", key=KEY))
    assert list(index.names()) == ["first", "second"]
    assert source.bytes_read < 4 * 10_000
    assert bytes(index.source.read(20_000, 30_000)) == plain[20_000:30_000]
    index.source.authenticate()
    assert len(plain) < source.bytes_read < 2 * len(plain)


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


def test_a_survey_that_sees_much_compares_the_tags_first() -> None:
    sealed = unseal(damaged(4), "tagged")
    with pytest.raises(DecryptionError, match="block 5 of 5"):
        sealed.survey(lambda: [sealed.read(at, at + 100) for at in range(0, 4000, 100)])


# -- files that change or are closed -------------------------------------------------------------------


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


# -- what an attacker can do ---------------------------------------------------------------------------


GCM_FILE = seal("tagged", PLAIN, [200, 200])
#: Where bytes stand that nothing uses: the last four of each block's IV.
UNUSED = {at for offset in (0, 248, 496) for at in range(offset + 40, offset + 44)}


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


def test_gcm_a_cut_that_is_at_no_border_is_refused() -> None:
    at_border = {248: PLAIN[:200], 496: PLAIN[:400]}
    found = {cut: value_of(GCM_FILE[:cut], "tagged") for cut in range(4, len(GCM_FILE))}
    assert [cut for cut, got in found.items() if got != at_border.get(cut)] == []


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


def test_a_wrong_key_and_a_damaged_block_read_the_same() -> None:
    """They are not told apart."""
    file = seal("tagged", PLAIN, [])
    messages = set()
    for data, key in ((file, KEY[::-1]), (file[:-1] + b"?", KEY), (file[:4] + b"?" + file[5:], KEY)):
        with pytest.raises(DecryptionError) as caught:
            unseal(data, "tagged", key).read(0, 10)
        messages.add(str(caught.value))
    assert len(messages) == 1


# -- what no tag can tell ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("order", "names"),
    [([0, 1], "ab"), ([0], "a"), ([1, 0, 2], "bac"), ([0, 1, 2, 3], "abcd")],
    ids=["lost", "more lost", "swapped", "another file's"],
)
def test_blocks_that_are_whole_records_may_be_lost_swapped_or_another_file_s(order: list[int], names: str) -> None:
    """Each block is authentic; how many there are, and in which order, is written nowhere (docs/security.md)."""
    blocks = [seal_block("tagged", floats(name, 1.0), bytes([at]) * 16) for at, name in enumerate("abcd")]
    found = load_checkpoint(io.BytesIO(b"".join(blocks[at] for at in order)), dec_key=KEY)
    assert list(found) == list(names)


@pytest.mark.parametrize("order", [[0, 1], [0, 2, 1], [1, 2], [0, 1, 1, 2]], ids=str)
def test_blocks_that_are_lost_or_swapped_inside_a_record_are_noticed(order: list[int]) -> None:
    plain = record("a", (300,), "Int8", content(300)) + floats("b", 1.0)
    blocks = [seal_block("tagged", plain[at : at + 120], bytes([at]) * 16) for at in range(0, 360, 120)]
    with pytest.raises(CheckpointError):
        load_checkpoint(io.BytesIO(b"".join(blocks[at] for at in order)), dec_key=KEY)


def test_a_load_compares_the_tags_of_blocks_that_nobody_wants() -> None:
    """A lazy reader those of the blocks that it reads from; `authenticate` compares the rest."""
    blocks = [seal_block("tagged", floats(name, *[1.0] * 40), bytes([at]) * 16) for at, name in enumerate("abc")]
    broken = blocks[2][:-1] + bytes([blocks[2][-1] ^ 1])
    with pytest.raises(DecryptionError, match="block 3 of 3"):
        load_checkpoint(io.BytesIO(blocks[0] + blocks[1] + broken), dec_key=KEY, specify_prefix="a")
    # The last block has no header: it is the end of a tensor.
    plain = floats("a", *[1.0] * 40) + record("b", (300_000,), "Int8", content(300_000))
    parts = [seal_block("tagged", part, bytes([at]) * 16) for at, part in enumerate((plain[:200_000], plain[200_000:]))]
    with open_checkpoint(parts[0] + parts[1][:-1] + bytes([parts[1][-1] ^ 1]), dec_key=KEY) as reader:
        assert reader["a"].shape == (40,)
        for read in (lambda: reader["b"], reader.authenticate):
            with pytest.raises(DecryptionError, match="block 2 of 2"):
                read()
    with pytest.raises(DecryptionError, match="block 1 of 2"):
        open_checkpoint(parts[0][:-1] + bytes([parts[0][-1] ^ 1]) + parts[1], dec_key=KEY)
