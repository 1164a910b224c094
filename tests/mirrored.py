"""ckptload in a mirror: the machine's byte order is to the file's what a big-endian machine's is to a .ckpt.

On a big-endian machine, content and arrays are little-endian and so not in the machine's own order. There is none
to run tests on; but on a little-endian one the same happens when all that ckptload takes for little-endian is
big-endian. Run as a program, this imports the package with its byte orders turned round and uses it.
"""

from __future__ import annotations

import importlib.abc
import importlib.machinery
import io
import re
import sys
import tempfile
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np

if TYPE_CHECKING:
    import types
    from collections.abc import Sequence

#: What says that content is little-endian. Numbers of the layout around it, which Python decodes, stay as they are.
_TURNED: Final = (
    (re.compile(rb'newbyteorder\("<"\)'), b'newbyteorder(">")'),
    (re.compile(rb'"<([uif][248])"'), rb'">\1"'),
    (re.compile(rb'sys\.byteorder == "little"'), b'sys.byteorder == "big"'),
    (re.compile(rb"utf-32-le"), b"utf-32-be"),
    (re.compile(rb'content, "little"'), b'content, "big"'),
)


class _Loader(importlib.machinery.SourceFileLoader):
    """Loads a module whose byte orders are turned round."""

    def path_stats(self, path: str) -> Any:
        # Without a time there is no compiled module that could be taken instead.
        raise OSError(path)

    def get_data(self, path: str) -> bytes:
        data = super().get_data(path)
        for found, put in _TURNED:
            data = found.sub(put, data)
        return data


class Finder(importlib.abc.MetaPathFinder):
    """Finds the modules of ckptload."""

    def find_spec(
        self, name: str, path: Sequence[str] | None, target: types.ModuleType | None = None
    ) -> importlib.machinery.ModuleSpec | None:
        if name.partition(".")[0] != "ckptload":
            return None
        spec = importlib.machinery.PathFinder.find_spec(name, path, target)
        if spec is not None and spec.origin is not None:
            spec.loader = _Loader(name, spec.origin)
        return spec


def main() -> None:
    """Use everything that reads or makes content."""
    sys.dont_write_bytecode = True
    # What is imported from now on comes from behind the mirror.
    sys.meta_path.insert(0, Finder())
    from ckptload import dtypes

    order = ">" if sys.byteorder == "little" else "<"
    assert dtypes.float32.numpy.str == order + "f4", dtypes.float32.numpy.str
    with tempfile.TemporaryDirectory() as folder:
        for check in (_roundtrip, _lazily, _strings, _wide, _casts, _computes, _nets, _others):
            check(Path(folder) / "x")
            sys.stdout.write(f"{check.__name__}\n")


def _values() -> dict[str, np.ndarray[Any, Any]]:
    from ckptload import dtypes

    found = {}
    for dtype in dtypes.ALL:
        if dtype not in (dtypes.qint4x2, dtypes.hifloat8):
            native = dtype.numpy.newbyteorder("=")
            found[dtype.attribute] = np.array([0, 1, 3, 100, 1.5], np.float64).astype(native)
    return found


def _same(found: Any, wanted: np.ndarray[Any, Any]) -> None:
    assert found.asnumpy().dtype == found.dtype.numpy
    assert np.array_equal(found.asnumpy().astype(wanted.dtype), wanted), (found, wanted)
    assert found.get_bytes() == wanted.astype(found.dtype.numpy).tobytes()


def _roundtrip(path: Path) -> None:
    """Arrays in the machine's order become content in the file's, in every format and cipher."""
    from ckptload import load_checkpoint, save_checkpoint

    values = _values()
    save_checkpoint(dict(values), path.with_suffix(".ckpt"), crc_check=True)
    data = path.with_suffix(".ckpt").read_bytes()
    assert values["int32"].byteswap().tobytes() in data
    for name, found in load_checkpoint(str(path) + ".ckpt", crc_check=True).items():
        _same(found, values[name])
    key = bytes(16)
    save_checkpoint(dict(values), path.with_suffix(".ckpt"), enc_key=key)
    for name, found in load_checkpoint(str(path) + ".ckpt", dec_key=key).items():
        _same(found, values[name])
    del values["complex128"]
    save_checkpoint({**values, "scalar": np.array(3)}, path.with_suffix(".safetensors"), format="safetensors")
    for name, found in load_checkpoint(str(path) + ".safetensors", format="safetensors").items():
        _same(found, values.get(name, np.array(3)))


def _lazily(path: Path) -> None:
    from ckptload import open_checkpoint, save_checkpoint

    values = _values()
    save_checkpoint(dict(values), path.with_suffix(".ckpt"))
    for mapped in (False, True):
        with open_checkpoint(path.with_suffix(".ckpt"), mmap=mapped) as reader:
            for name, array in values.items():
                _same(reader[name], array)
                _same(reader.get_slice(name)[1:4], array[1:4])
                _same(reader.get_slice(name)[::-2], array[::-2])
                room = np.empty(5, reader[name].dtype.numpy)
                reader.fill([(name, room)])
                assert np.array_equal(room.astype(array.dtype), array)


def _strings(path: Path) -> None:
    from ckptload import load_checkpoint, save_checkpoint

    words = "w\u00f6rter \U0001f600"
    save_checkpoint({"a": np.zeros(1)}, path.with_suffix(".ckpt"), append_dict={"words": words, "n": 5})
    found = load_checkpoint(str(path) + ".ckpt")
    assert found["words"] == words
    assert found["n"].asnumpy() == 5


def _wide(_: Path) -> None:
    """Values of bfloat16 that an old file holds as float32."""
    from ckptload import load_checkpoint, open_checkpoint
    from ckptload.dtypes import float32
    from strategies import record

    data = record("a", (4,), "BFloat16", np.array([1, 1.5, -2, 0], float32.numpy).tobytes())
    assert load_checkpoint(io.BytesIO(data))["a"].asnumpy().astype(np.float64).tolist() == [1, 1.5, -2, 0]
    with open_checkpoint(data) as reader:
        assert reader.get_slice("a")[1:3].asnumpy().astype(np.float64).tolist() == [1.5, -2]


def _casts(_: Path) -> None:
    from ckptload import dtypes
    from ckptload.tensors import casting

    np.seterr(over="ignore")
    floats = (dtypes.float16, dtypes.bfloat16, dtypes.float32, dtypes.float64)
    numbers = [0.0, -1.0, 1.5, 65504.0, 1e-7, 3.14159, np.inf, -np.inf, np.nan]
    for source in floats:
        array = np.array(numbers).astype(source.numpy)
        for target in floats:
            found = casting.cast(array, source, target)
            assert found.dtype == target.numpy
            # numpy's own conversion, of the same bits in the machine's order, through float32 as MindSpore does.
            through = array.astype(np.float64) if target is dtypes.float64 else array.astype(np.float32)
            wanted = through.astype(target.numpy.newbyteorder("=")).astype(np.float64)
            assert np.array_equal(found.astype(np.float64), wanted, equal_nan=True), (source, target, found, wanted)
    room = np.empty(3, dtypes.int64.numpy)
    casting.cast_into(np.array([1, -2, 3], dtypes.int32.numpy), dtypes.int32, dtypes.int64, room)
    assert room.tolist() == [1, -2, 3]


def _computes(_: Path) -> None:
    """What numpy computes is in the machine's order; a tensor is in the file's."""
    from ckptload import Parameter, Tensor, dtypes

    for dtype in (dtypes.float32, dtypes.int32, dtypes.bfloat16):
        a, b = Tensor([1, 2, 3], dtype), Tensor(np.array([4, 5, 6]).astype(dtype.numpy))
        for found, wanted in ((a + b, [5, 7, 9]), (a * 2, [2, 4, 6]), (b - a, [3, 3, 3]), (-a, [-1, -2, -3])):
            assert found.dtype is dtype
            _same(found, np.array(wanted).astype(dtype.numpy.newbyteorder("=")))
        _same(a[1:], np.array([2, 3]).astype(dtype.numpy.newbyteorder("=")))
        assert (a == b).asnumpy().tolist() == [False] * 3
        assert a.astype(dtypes.float64).asnumpy().tolist() == [1, 2, 3]
    parameter = Parameter(np.array([1.0, 2.0], np.float32), name="a")
    parameter.set_data(Tensor([3, 4], dtypes.float32))
    assert parameter.asnumpy().tolist() == [3, 4]
    assert "3" in str(parameter)


def _nets(path: Path) -> None:
    from ckptload import Cell, Parameter, load_checkpoint, load_param_into_net, open_checkpoint, save_checkpoint

    class Net(Cell):
        def __init__(self) -> None:
            super().__init__()
            self.a = Parameter(np.zeros(3, np.float32), name="a")
            self.b = Parameter(np.zeros(3, np.float16), name="b")

    values = {"a": np.array([1, 2, 3], np.float32), "b": np.array([4, 5, 6], np.float32)}
    save_checkpoint(dict(values), path.with_suffix(".ckpt"))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        for source in (load_checkpoint(str(path) + ".ckpt"), open_checkpoint(path.with_suffix(".ckpt"))):
            net = Net()
            load_param_into_net(net, source)
            _same(net.a, values["a"])
            _same(net.b, values["b"].astype(np.float16))


def _others(path: Path) -> None:
    from ckptload import ckpt_to_safetensors, load_checkpoint, save_checkpoint, to_npz

    values: dict[str, np.ndarray[Any, Any]] = {"a": np.arange(5), "b": np.arange(5).astype(np.float32)}
    save_checkpoint(dict(values), path.with_suffix(".ckpt"))
    ckpt_to_safetensors(str(path) + ".ckpt", str(path.parent))
    for name, found in load_checkpoint(str(path) + ".safetensors", format="safetensors").items():
        _same(found, values[name])
    to_npz(str(path) + ".ckpt", str(path) + ".npz")
    with np.load(str(path) + ".npz") as arrays:
        for name, array in values.items():
            assert np.array_equal(arrays[name], array)


if __name__ == "__main__":
    main()
