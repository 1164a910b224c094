"""Sources that decrypt, of every kind: the plain stream from any place, errors of ours only, and never the key."""

from __future__ import annotations

import hashlib
import io
import itertools
import json
import os
import struct
import traceback
import warnings
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from hypothesis import given, settings
from hypothesis import strategies as st

from ckptload import load_checkpoint, open_checkpoint, threads
from ckptload.encryption.chain import find_chain
from ckptload.encryption.opening import open_encrypted
from ckptload.errors import ChangedFileError, CheckpointError, ClosedReaderError, DecryptionError, LimitError
from ckptload.formats.ckpt.schema import message_class
from ckptload.sources.files import FileSource
from ckptload.sources.memory import BufferSource
from encryption.sealing import (
    CBC_KINDS,
    KEY,
    KINDS,
    PLAIN,
    TRAILER,
    Cramped,
    content,
    damaged,
    every_kind,
    seal,
    seal_block,
    unseal,
    value_of,
)
from measured import peak
from places import FIXTURES
from strategies import floats, record

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from ckptload.sources.base import Source

ENCRYPTED = FIXTURES / "encrypted"
SAMPLES: list[dict[str, Any]] = json.loads((ENCRYPTED / "samples.json").read_text("utf-8"))["samples"]


# -- files of MindSpore --------------------------------------------------------------------------------


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


# -- the stream ----------------------------------------------------------------------------------------


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
    monkeypatch.setattr(threads, "start_new_thread", none_left)
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


# -- damaged files and wrong keys ----------------------------------------------------------------------


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


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["cbc", "sm4"])
def test_a_wrong_cbc_key_that_passes_the_padding_check_is_reported_as_a_wrong_key(kind: str) -> None:
    """What it decrypts to does not begin with a record; the words differ, which is what a padding oracle lives on."""
    sealed = seal(kind, floats("a", 1.0), [])
    said: dict[str, int] = {}
    for number in range(3000):
        key = number.to_bytes(16, "big")
        if len(said) == 2 and number > 600:
            break
        with pytest.raises(DecryptionError) as caught:
            open_checkpoint(sealed, dec_key=key, dec_mode=KINDS[kind][1])
        said[caught.value.problem] = said.get(caught.value.problem, 0) + 1
        assert "dec_key" in str(caught.value.hint)
    usual, rare = sorted(said, key=said.__getitem__, reverse=True)
    assert "cannot be decrypted with this key" in usual
    assert rare == "the decrypted data does not begin with a record"
    assert said[usual] > 50 * said[rare]


@pytest.mark.parametrize("kind", ["cbc", "sm4"])
def test_cbc_a_change_that_is_chosen_goes_unnoticed(kind: str) -> None:
    """16 bytes change as an attacker wants, the 16 before them to anything, and nobody can tell (docs/security.md)."""
    values = np.zeros(100, np.uint8)
    plain = record("a", values.shape, "UInt8", values.tobytes())
    head = len(plain) - 100
    sealed = bytearray(seal(kind, plain, []))
    # Ciphertext begins behind 32 bytes; what is changed in one cipher block changes the plaintext of the next.
    block = (head + 40) // 16
    for at, byte in enumerate(b"as an attacker ."):
        sealed[32 + (block - 1) * 16 + at] ^= byte
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        got = load_checkpoint(io.BytesIO(sealed), dec_key=KEY, dec_mode=KINDS[kind][1])["a"].get_bytes()
    at = block * 16 - head
    assert got[at : at + 16] == b"as an attacker ."
    assert any(got[at - 16 : at])
    assert not any(got[: at - 16] + got[at + 16 :])


@pytest.mark.parametrize("kind", ["cbc", "sm4"])
@pytest.mark.parametrize(("order", "names"), [([0], "a"), ([1, 0, 2], "bac"), ([0, 3], "ad")], ids=str)
def test_cbc_blocks_may_be_removed_moved_or_inserted(kind: str, order: list[int], names: str) -> None:
    blocks = [seal_block(kind, floats(name, 1.0), bytes([at]) * 16) for at, name in enumerate("abcd")]
    found = load_checkpoint(io.BytesIO(b"".join(blocks[at] for at in order)), dec_key=KEY, dec_mode=KINDS[kind][1])
    assert list(found) == list(names)


@pytest.mark.slow
@every_kind
def test_a_load_decrypts_in_three_mebibytes_at_most(kind: str) -> None:
    """One for the caller's thread and one for each of two that help it; and without tags a reader keeps nothing."""
    size = 24 << 20
    sealed = BufferSource(seal(kind, bytes(size), [8 << 20] * 2))
    room = np.empty(size, np.uint8)

    def load() -> None:
        opened = unseal(sealed, kind)
        opened.read_many([(at, room.data[at : at + size // 3]) for at in range(0, size, size // 3)])

    assert peak(load) < (3 << 20) + (256 << 10)

    def look() -> None:
        opened = unseal(sealed, kind)
        for at in range(0, size, 1 << 20):
            opened.read(at, at + 100)

    assert peak(look) < (10 if kind == "tagged" else 1) * (1 << 20) + (256 << 10)


# -- the key does not show -----------------------------------------------------------------------------


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
