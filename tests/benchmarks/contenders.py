"""What is timed: for each case, what each contender does with its file.

A function here prepares (imports, nets, targets) and returns what the clock runs over. Every one runs in
a process of its own, started by `run.py`.
"""

from __future__ import annotations

import io
import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from importlib import import_module
from typing import TYPE_CHECKING, Any, Final

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from pathlib import Path

    Work = Callable[[], Any]
    Contender = Callable[[Path], Work]

KEY: Final = bytes(range(16))
#: A tensor in the middle of each file.
CHOSEN: Final = "layer100.weight"
MODES: Final = {"gcm": "AES-GCM", "cbc": "AES-CBC", "sm4": "SM4-CBC"}


def chosen(name: str) -> bool:
    """Choose a single tensor."""
    return name == CHOSEN


def touch(arrays: Iterable[Any]) -> int:
    """Read every byte once, so that what a library left to later is counted."""
    views = (memoryview(array).cast("B") for array in arrays)
    return sum(int(np.frombuffer(view[: len(view) // 8 * 8], np.uint64).max()) for view in views)


def initial(shape: tuple[int, ...], dtype: str) -> Any:
    """Return what a net's parameter holds before it is loaded: values, since every net is initialised.

    The pages of an array of zeros do not exist until they are written to.
    """
    return np.full(shape, 0.5, dtype)


def _loader(library: str, **how: Any) -> Contender:
    def prepare(folder: Path) -> Work:
        module = import_module(library)
        path = str(folder / how.pop("file", "plain.ckpt"))
        return lambda: module.load_checkpoint(path, **how)

    return prepare


def _both(**how: Any) -> dict[str, Contender]:
    return {library: _loader(library, **dict(how)) for library in ("ckptload", "mindspore")}


def _parameters(**how: Any) -> dict[str, Contender]:
    """Load into MindSpore's own Parameters."""
    ours = _loader("ckptload.mindspore", **dict(how))

    def prepare(folder: Path) -> Work:
        import_module("mindspore")
        return ours(folder)

    return {"ckptload": prepare, "mindspore": _loader("mindspore", **dict(how))}


def _protobuf(folder: Path) -> Work:
    """Parse the whole file by protobuf and copy every content out: what a script of ten lines does."""
    from ckptload.formats.ckpt import schema

    message: Any = schema.message_class("Checkpoint")

    def load() -> dict[str, Any]:
        parsed = message.FromString((folder / "plain.ckpt").read_bytes())
        return {
            value.tag: np.frombuffer(value.tensor.tensor_content, "<f4").reshape(value.tensor.dims).copy()
            for value in parsed.value
        }

    return load


def _limit(folder: Path) -> Work:
    """Read the file once from the page cache into fresh memory, by two threads: nothing can be faster."""
    path = folder / "plain.ckpt"
    size, piece = path.stat().st_size, 32 << 20

    def read(start: int) -> Any:
        out = np.empty(min(piece, size - start), np.uint8)
        with path.open("rb", buffering=0) as file:
            done = 0
            while done < len(out):
                done += os.preadv(file.fileno(), [out.data[done:]], start + done)
        return out

    def load() -> list[Any]:
        with ThreadPoolExecutor(2) as pool:
            return list(pool.map(read, range(0, size, piece)))

    return load


def _touched(prepare: Contender) -> Contender:
    def both(folder: Path) -> Work:
        load = prepare(folder)

        def work() -> Any:
            found = load()
            values = found.values() if isinstance(found, dict) else found
            return found, touch(value.asnumpy() if hasattr(value, "asnumpy") else value for value in values)

        return work

    return both


def _safetensors(folder: Path) -> Work:
    from safetensors.numpy import load_file

    return lambda: load_file(folder / "plain.safetensors")


def _torch(folder: Path) -> Work:
    import torch

    return lambda: {
        name: tensor.numpy() for name, tensor in torch.load(folder / "plain.pt", mmap=True, weights_only=True).items()
    }


def _list_ckptload(**how: Any) -> Contender:
    def prepare(folder: Path) -> Work:
        import ckptload

        path = folder / how.pop("file", "plain.ckpt")

        def listing() -> list[str]:
            with ckptload.open_checkpoint(path, **how) as reader:
                return list(reader)

        return listing

    return prepare


def _list_mindspore(**how: Any) -> Contender:
    load = _loader("mindspore", **how)

    def prepare(folder: Path) -> Work:
        work = load(folder)
        return lambda: list(work())

    return prepare


def _into_net(library: str, dtype: str) -> Contender:
    def prepare(folder: Path) -> Work:
        import ckptload

        module: Any = __import__(library)
        path = str(folder / "plain.ckpt")
        cell = module.nn.Cell()
        with ckptload.open_checkpoint(path) as reader:
            for number, name in enumerate(reader):
                data = module.Tensor(initial(reader.info(name).shape, dtype))
                cell.insert_param_to_cell(f"p{number}", module.Parameter(data, name=name))
        # MindSpore lets the net take over the dictionary's memory, so that only the whole way can be compared.
        return lambda: module.load_checkpoint(path, cell)

    return prepare


def _from_reader(dtype: str) -> Contender:
    def prepare(folder: Path) -> Work:
        import ckptload

        reader = ckptload.open_checkpoint(folder / "plain.ckpt")
        cell = ckptload.Cell()
        for number, name in enumerate(reader):
            data = ckptload.Tensor(initial(reader.info(name).shape, dtype))
            cell.insert_param_to_cell(f"p{number}", ckptload.Parameter(data, name=name))
        return lambda: ckptload.load_param_into_net(cell, reader)

    return prepare


def _specs(folder: Path) -> dict[str, tuple[int, ...]]:
    import ckptload

    with ckptload.open_checkpoint(folder / "plain.ckpt") as reader:
        return {name: reader.info(name).shape for name in reader}


def _through_reader(net: Any, folder: Path) -> Any:
    import ckptload

    with ckptload.open_checkpoint(folder / "plain.ckpt") as reader:
        return ckptload.load_param_into_net(net, reader)


def _real_cell(library: str) -> Contender:
    """Load a file into a cell of MindSpore; with "reader" no dictionary is made of it."""

    def prepare(folder: Path) -> Work:
        import mindspore

        cell = mindspore.nn.Cell()
        for number, (name, shape) in enumerate(_specs(folder).items()):
            data = mindspore.Tensor(initial(shape, "float32"))
            cell.insert_param_to_cell(f"p{number}", mindspore.Parameter(data, name=name))
        if library == "reader":
            return lambda: _through_reader(cell, folder)
        module: Any = __import__(library)
        return lambda: module.load_checkpoint(str(folder / "plain.ckpt"), cell)

    return prepare


def _torch_module(how: str) -> Contender:
    """Load a file into a torch module that has memory already."""

    def prepare(folder: Path) -> Work:
        import torch

        import ckptload

        module = torch.nn.Module()
        for name, shape in _specs(folder).items():
            layer = torch.nn.Module()
            layer.register_parameter("weight", torch.nn.Parameter(torch.from_numpy(initial(shape, "float32"))))
            module.add_module(name.partition(".")[0], layer)
        # What torch.load imports when it is first called is not what is timed.
        tiny = io.BytesIO()
        torch.save({}, tiny)
        tiny.seek(0)
        torch.load(tiny, weights_only=True)
        works: dict[str, Work] = {
            "reader": lambda: _through_reader(module, folder),
            "dictionary": lambda: ckptload.load_checkpoint(folder / "plain.ckpt", module),
            "torch": lambda: module.load_state_dict(torch.load(folder / "plain.pt", mmap=True, weights_only=True)),
        }
        return works[how]

    return prepare


def _save(library: str) -> Contender:
    def prepare(folder: Path) -> Work:
        module: Any = __import__(library)
        parameters = module.load_checkpoint(str(folder / "plain.ckpt"))
        return lambda: module.save_checkpoint(parameters, str(folder / f"saved-{library}.ckpt"))

    return prepare


def _convert(library: str) -> Contender:
    def prepare(folder: Path) -> Work:
        module: Any = __import__(library)
        out = folder / f"converted-{library}"
        out.mkdir(exist_ok=True)
        return lambda: module.ckpt_to_safetensors(str(folder / "plain.ckpt"), str(out))

    return prepare


def _import(library: str) -> Contender:
    """Start Python and import a library, which takes all that it needs along: in a process of its own."""
    command = [sys.executable, "-c", f"import {library}"]
    return lambda _folder: lambda: subprocess.run(command, check=True)


def _sealed(short: str) -> dict[str, dict[str, Contender]]:
    how = {"file": f"{short}.ckpt", "dec_key": KEY, "dec_mode": MODES[short]}
    return {
        f"{short}": _both(**how),
        f"{short}_one": _both(**how, choice_func=chosen),
        f"{short}_list": {"ckptload": _list_ckptload(**how), "mindspore": _list_mindspore(**how)},
    }


def file_of(case: str) -> str:
    """Return how the names of the files begin that a case reads."""
    short = "small" if case == "parameters_small" else case.partition("_")[0]
    return f"{short if short in {'small', 'crc', *MODES} else 'plain'}."


#: Cases in which every contender needs MindSpore.
WITH_MINDSPORE: Final = {"real_cell", "parameters", "parameters_one", "parameters_small"}
#: Cases in which ckptload reads little or nothing of the file; MindSpore reads all of it.
PARTIAL: Final = {
    "import",
    "one",
    "parameters_one",
    "list",
    *(f"{short}_{what}" for short in MODES for what in ("one", "list")),
}
#: The first contender of a case is the one that the others are held against.
CASES: Final[dict[str, dict[str, Contender]]] = {
    "load": {**_both(), "protobuf": _protobuf, "limit": _limit},
    "load_and_touch": {
        **{name: _touched(prepare) for name, prepare in _both().items()},
        "safetensors": _touched(_safetensors),
        "torch_mmap": _touched(_torch),
        "limit": _touched(_limit),
    },
    "one": _both(choice_func=chosen),
    "list": {"ckptload": _list_ckptload(), "mindspore": _list_mindspore()},
    "small": _both(file="small.ckpt"),
    "parameters": _parameters(),
    "parameters_one": _parameters(choice_func=chosen),
    "parameters_small": _parameters(file="small.ckpt"),
    "small_list": {"ckptload": _list_ckptload(file="small.ckpt"), "mindspore": _list_mindspore(file="small.ckpt")},
    "crc": _both(file="crc.ckpt", crc_check=True),
    **_sealed("gcm"),
    **_sealed("cbc"),
    **_sealed("sm4"),
    "net": {library: _into_net(library, "float32") for library in ("ckptload", "mindspore")},
    "net_cast": {library: _into_net(library, "float16") for library in ("ckptload", "mindspore")},
    "net_from_reader": {"ckptload": _from_reader("float32")},
    "real_cell": {
        "ckptload": _real_cell("ckptload"),
        "ckptload_reader": _real_cell("reader"),
        "mindspore": _real_cell("mindspore"),
    },
    "torch_module": {
        "ckptload": _torch_module("reader"),
        "ckptload_dictionary": _torch_module("dictionary"),
        "torch_mmap": _torch_module("torch"),
    },
    "save": {library: _save(library) for library in ("ckptload", "mindspore")},
    "convert": {library: _convert(library) for library in ("ckptload", "mindspore")},
    "import": {library: _import(library) for library in ("ckptload", "mindspore")},
}
