"""What is opened and what is refused: modes, keys, and data that no tag covers."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from ckptload.encryption.chain import chain_at
from ckptload.encryption.opening import open_encrypted
from ckptload.errors import ArgumentTypeError, DecryptionError
from ckptload.sources.memory import BufferSource
from encryption.sealing import CBC_KINDS, KEY, KINDS, PLAIN, TRAILER, every_kind, seal

if TYPE_CHECKING:
    from ckptload.encryption.decrypting import DecryptingSource


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
