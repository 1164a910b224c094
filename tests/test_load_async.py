"""Loading in the background: what comes from the call, and what from the future."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

import ckptload
from ckptload import ParamDictFuture, load_checkpoint, load_checkpoint_async, nn, save_checkpoint
from ckptload.errors import ArgumentTypeError, CheckpointError, EncryptedCheckpointError, ReadError
from ckptload.tensors.parameter import Parameter

if TYPE_CHECKING:
    from pathlib import Path

KEY = bytes(range(16))


@pytest.fixture
def path(tmp_path: Path) -> Path:
    save_checkpoint({"a": np.arange(3.0), "b": np.zeros(2, np.int8), "s": "text"}, tmp_path / "x.ckpt")
    return tmp_path / "x.ckpt"


def test_the_result_is_what_load_checkpoint_returns(path: Path) -> None:
    future = load_checkpoint_async(str(path))
    assert type(future) is ParamDictFuture
    found = future.result()
    assert future.done()
    assert repr(found) == repr(load_checkpoint(path))
    assert future.result() is found


@pytest.mark.parametrize(
    ("arguments", "kept"),
    [
        ({"specify_prefix": "a"}, ["a"]),
        ({"filter_prefix": "a"}, ["b", "s"]),
        ({"choice_func": lambda name: name == "b"}, ["b"]),
    ],
)
def test_filters_are_passed_on(path: Path, arguments: dict[str, Any], kept: list[str]) -> None:
    assert list(load_checkpoint_async(path, **arguments).result()) == kept


def test_a_name_in_safetensors_is_loaded_as_that(path: Path, tmp_path: Path) -> None:
    ckptload.ckpt_to_safetensors(path)
    assert list(load_checkpoint_async(tmp_path / "x.safetensors").result()) == ["a", "b"]
    ckptload.ckpt_to_safetensors(path, max_shard_size=5)
    assert list(load_checkpoint_async(str(tmp_path / "model.safetensors.index.json")).result()) == ["a", "b"]


def test_errors_come_from_the_result_and_every_time(tmp_path: Path) -> None:
    future = load_checkpoint_async(str(tmp_path / "missing.ckpt"))
    for _ in range(2):
        with pytest.raises(ReadError):
            future.result()
    assert future.done()


@pytest.mark.parametrize("arguments", [{"specify_prefix": 1}, {"dec_key": "text"}, {"dec_mode": None}])
def test_wrong_arguments_beside_the_name_are_told_by_the_result(path: Path, arguments: dict[str, Any]) -> None:
    with pytest.raises(ArgumentTypeError):
        load_checkpoint_async(path, **arguments).result()


@pytest.mark.parametrize("name", [1, None, b"x.ckpt", ["x.ckpt"]])
def test_a_name_of_a_wrong_type_is_told_at_once(name: Any) -> None:
    with pytest.raises(ArgumentTypeError):
        load_checkpoint_async(name)


def test_mindspores_function_has_no_more_arguments(path: Path) -> None:
    with pytest.raises(TypeError):
        load_checkpoint_async(path, crc_check=True)  # type: ignore[call-arg]


def test_encrypted_files_take_a_key(tmp_path: Path) -> None:
    save_checkpoint({"a": np.arange(3.0)}, tmp_path / "x.ckpt", enc_key=KEY)
    assert list(load_checkpoint_async(tmp_path / "x.ckpt", dec_key=KEY).result()) == ["a"]
    with pytest.raises(EncryptedCheckpointError):
        load_checkpoint_async(tmp_path / "x.ckpt").result()


def test_a_net_is_filled(tmp_path: Path) -> None:
    class Net(nn.Cell):
        def __init__(self) -> None:
            super().__init__()
            self.a = Parameter(np.zeros(3, np.float32), name="a")

    save_checkpoint({"a": np.arange(3, dtype=np.float32)}, tmp_path / "x.ckpt")
    net = Net()
    load_checkpoint_async(tmp_path / "x.ckpt", net).result()
    assert net.a.asnumpy().tolist() == [0, 1, 2]


def test_the_call_does_not_wait_and_several_load_at_once(path: Path) -> None:
    """Each waits in choice_func until all are there: one thread for all would never end."""
    together = threading.Barrier(4, timeout=30)

    def meet(_: str) -> bool:
        if threading.current_thread() is threading.main_thread():
            raise AssertionError("called in the thread of the caller")
        if len(met) < 3:
            met.append(threading.current_thread())
            together.wait()
        return True

    met: list[threading.Thread] = []
    futures = [load_checkpoint_async(path, choice_func=meet) for _ in range(3)]
    assert not any(future.done() for future in futures)
    together.wait()
    for future in futures:
        assert list(future.result()) == ["a", "b", "s"]


def test_an_interrupt_in_choice_func_comes_from_the_result(path: Path) -> None:
    def stop(name: str) -> bool:
        raise KeyboardInterrupt(name)

    with pytest.raises(KeyboardInterrupt):
        load_checkpoint_async(path, choice_func=stop).result()


def test_a_system_without_more_threads_loads_in_the_callers(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def none_left(_: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(threading.Thread, "start", none_left)
    future = load_checkpoint_async(path)
    missing = load_checkpoint_async(path.with_name("missing.ckpt"))
    assert list(future.result()) == ["a", "b", "s"]
    with pytest.raises(CheckpointError):
        missing.result()


def test_the_function_stands_where_scripts_import_it_from() -> None:
    for module in (ckptload, ckptload.train, ckptload.train.serialization):
        assert module.load_checkpoint_async is load_checkpoint_async
