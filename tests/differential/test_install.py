"""ckptload's functions in MindSpore's place, and MindSpore's own in it again."""

# mypy: allow-subclassing-any
from __future__ import annotations

import importlib.util
import io
import subprocess
import sys
import threading
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

import ckptload
from ckptload.errors import CheckpointError

pytest.importorskip("mindspore")

import mindspore
from mindspore import nn
from mindspore.train import Callback, CheckpointConfig, Model, ModelCheckpoint, serialization
from mindspore.train.callback import _checkpoint

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path
    from types import ModuleType

pytestmark = [
    pytest.mark.mindspore,
    pytest.mark.filterwarnings("ignore::UserWarning"),
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
]

NAMES = [
    *("load_checkpoint", "load_checkpoint_async", "load_param_into_net"),
    *("save_checkpoint", "ckpt_to_safetensors", "safetensors_to_ckpt"),
]


def holders(functions: list[Any]) -> dict[tuple[str, str], Any]:
    """Return every place in MindSpore that holds one of some functions, by module and name."""
    wanted = {id(function) for function in functions}
    return {
        (name, attribute): value
        for name, module in sorted(sys.modules.items())
        if name.partition(".")[0] == "mindspore"
        for attribute, value in vars(module).items()
        if id(value) in wanted
    }


THEIRS = {name: getattr(serialization, name, None) or getattr(mindspore, name) for name in NAMES}
BEFORE = holders(list(THEIRS.values()))


@pytest.fixture(autouse=True)
def afterwards() -> Iterator[None]:
    """Leave MindSpore as it was, whatever a test does; and see that it is."""
    yield
    ckptload.mindspore.uninstall()
    assert holders(list(THEIRS.values())) == BEFORE


def imported(folder: Path, name: str, lines: str) -> ModuleType:
    """Write a module, and import it."""
    path = folder / f"{name}.py"
    path.write_text(lines, "utf-8")
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
    return module


def made(folder: Path) -> Path:
    """Return a checkpoint that MindSpore has written."""
    path = folder / "made.ckpt"
    if not path.exists():
        values = {"w": mindspore.Parameter(mindspore.Tensor(np.ones((2, 3), np.float32)), name="w")}
        THEIRS["save_checkpoint"](values, str(path))
    return path


def is_ours(load: Callable[..., Any], folder: Path) -> bool:
    """Tell whether a function is ckptload's load_checkpoint: MindSpore's takes no bytes in memory."""
    try:
        found = load(io.BytesIO(made(folder).read_bytes()))
    except (TypeError, ValueError, RuntimeError):
        return False
    return isinstance(found["w"], mindspore.Parameter)


# -- putting in, taking out -----------------------------------------------------------------------


def test_every_place_in_mindspore_is_given_ours_and_gets_its_own_back() -> None:
    assert {"save_checkpoint", "load_checkpoint"} <= {name for _, name in BEFORE}
    assert ("mindspore.train.callback._checkpoint", "save_checkpoint") in BEFORE
    ckptload.mindspore.install()
    assert not holders(list(THEIRS.values()))
    ours = {name: getattr(mindspore, name) for name in NAMES}
    assert {place: getattr(value, "__name__", "") for place, value in BEFORE.items()} == {
        place: value.__name__ for place, value in holders(list(ours.values())).items()
    }
    ckptload.mindspore.uninstall()
    assert holders(list(THEIRS.values())) == BEFORE
    assert not holders(list(ours.values()))


def test_ckptload_keeps_its_own_names() -> None:
    before = {
        (module.__name__, name): getattr(module, name, None)
        for module in (ckptload, ckptload.mindspore, ckptload.train.serialization)
        for name in NAMES
    }
    with ckptload.mindspore.install():
        during = {place: getattr(sys.modules[place[0]], place[1], None) for place in before}
    after = {place: getattr(sys.modules[place[0]], place[1], None) for place in before}
    assert before == during == after


def test_what_is_put_in_looks_like_the_function_it_is() -> None:
    with ckptload.mindspore.install():
        for name in NAMES:
            assert getattr(mindspore, name).__name__ == name
            assert getattr(mindspore, name).__doc__ == getattr(ckptload, name).__doc__


def test_installing_twice_is_installing_once(tmp_path: Path) -> None:
    ckptload.mindspore.install()
    ckptload.mindspore.install()
    assert is_ours(mindspore.load_checkpoint, tmp_path)
    ckptload.mindspore.uninstall()
    assert mindspore.load_checkpoint is THEIRS["load_checkpoint"]
    ckptload.mindspore.uninstall()
    assert mindspore.load_checkpoint is THEIRS["load_checkpoint"]


def test_a_block_ends_with_mindspores_own(tmp_path: Path) -> None:
    with ckptload.mindspore.install():
        assert is_ours(mindspore.load_checkpoint, tmp_path)
    assert mindspore.load_checkpoint is THEIRS["load_checkpoint"]


def test_a_block_that_fails_ends_with_mindspores_own_too() -> None:
    during = []

    def failing() -> None:
        with ckptload.mindspore.install():
            during.append(mindspore.load_checkpoint)
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        failing()
    assert during != [THEIRS["load_checkpoint"]]
    assert holders(list(THEIRS.values())) == BEFORE


def test_a_block_inside_another_takes_nothing_out() -> None:
    with ckptload.mindspore.install():
        ours = mindspore.load_checkpoint
        with pytest.raises(ZeroDivisionError), ckptload.mindspore.install():
            raise ZeroDivisionError
        assert mindspore.load_checkpoint is ours
        with ckptload.mindspore.install():
            assert mindspore.load_checkpoint is ours
        assert mindspore.load_checkpoint is ours
    assert mindspore.load_checkpoint is THEIRS["load_checkpoint"]


def test_a_block_after_install_takes_nothing_out() -> None:
    ckptload.mindspore.install()
    with ckptload.mindspore.install():
        pass
    assert mindspore.load_checkpoint is not THEIRS["load_checkpoint"]


def test_a_block_may_take_them_out_itself() -> None:
    with ckptload.mindspore.install():
        ckptload.mindspore.uninstall()
        assert mindspore.load_checkpoint is THEIRS["load_checkpoint"]
    assert holders(list(THEIRS.values())) == BEFORE


def test_modules_that_imported_names_before_and_meanwhile(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    lines = (
        "from mindspore import load_checkpoint as loaded, save_checkpoint\n"
        "import mindspore.train.serialization as kept\n"
        "def load(path):\n"
        "    return loaded(path)\n"
    )
    for name in ("imported_early", "imported_late"):
        monkeypatch.setitem(sys.modules, name, mindspore)  # so that it is gone afterwards
    early = imported(tmp_path, "imported_early", lines)
    assert early.loaded is THEIRS["load_checkpoint"]
    with ckptload.mindspore.install():
        late = imported(tmp_path, "imported_late", lines)
        for module in (early, late):
            assert is_ours(module.load, tmp_path)
            assert module.save_checkpoint is mindspore.save_checkpoint
            assert module.kept.save_checkpoint is mindspore.save_checkpoint
    for module in (early, late):
        assert module.loaded is THEIRS["load_checkpoint"]
        assert module.save_checkpoint is THEIRS["save_checkpoint"]
        assert not is_ours(module.load, tmp_path)


def test_modules_with_entries_that_cannot_be_compared(monkeypatch: pytest.MonkeyPatch) -> None:
    """A module may hold anything: here a tensor, whose comparison gives no truth, and no module at all."""
    odd = type(sys)("odd")
    vars(odd).update(array=np.arange(3), load=THEIRS["load_checkpoint"])
    monkeypatch.setitem(sys.modules, "odd", odd)
    monkeypatch.setitem(sys.modules, "no_module", object())
    with ckptload.mindspore.install():
        assert odd.load is mindspore.load_checkpoint
    assert odd.load is THEIRS["load_checkpoint"]


def test_install_imports_mindspore_itself() -> None:
    code = (
        "import sys, warnings; warnings.simplefilter('ignore'); import ckptload\n"
        "assert 'mindspore' not in sys.modules\n"
        "with ckptload.mindspore.install():\n"
        "    import mindspore\n"
        "    assert mindspore.load_checkpoint.__module__.startswith('ckptload')\n"
        "assert mindspore.load_checkpoint.__module__.startswith('mindspore')\n"
    )
    done = subprocess.run([sys.executable, "-c", code], check=False, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_many_threads_install_and_take_out() -> None:
    """What the last one leaves is whole: all of MindSpore's, or all of ours."""

    def turns() -> None:
        for _ in range(20):
            ckptload.mindspore.install()
            ckptload.mindspore.uninstall()

    threads = [threading.Thread(target=turns) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert holders(list(THEIRS.values())) == BEFORE


# -- what they do in MindSpore's place ------------------------------------------------------------


class Net(nn.Cell):
    """A dense layer, and a factor that is not trained."""

    def __init__(self) -> None:
        super().__init__()
        self.fc = nn.Dense(4, 3)
        factor = mindspore.Tensor(np.full(3, 0.5, np.float32))
        self.factor = mindspore.Parameter(factor, name="factor", requires_grad=False)

    def construct(self, x: Any) -> Any:
        return self.fc(x) * self.factor


def content(parameters: Any) -> list[tuple[Any, ...]]:
    return [(p.name, str(p.dtype), p.shape, p.requires_grad, p.get_bytes()) for p in parameters]


def test_every_door_gives_mindspores_parameters(tmp_path: Path) -> None:
    net, path = Net(), tmp_path / "net.ckpt"
    THEIRS["save_checkpoint"](net, str(path))
    expected = content(THEIRS["load_checkpoint"](str(path)).values())
    with ckptload.mindspore.install():
        found = [
            mindspore.load_checkpoint(str(path)),
            serialization.load_checkpoint(path),
            mindspore.load_checkpoint_async(str(path)).result(),
            mindspore.load_checkpoint(str(path), Net()),
            dict(ckptload.mindspore.open_checkpoint(path)),
            ckptload.mindspore.to_mindspore(ckptload.load_checkpoint(path, parameters="ckptload")),
        ]
    for values in found:
        assert all(isinstance(value, mindspore.Parameter) for value in values.values())
        assert content(values.values()) == expected


def test_nets_are_filled_by_either_function(tmp_path: Path) -> None:
    source, path = Net(), tmp_path / "net.ckpt"
    THEIRS["save_checkpoint"](source, str(path))
    wanted = content(source.get_parameters())
    nets = [Net() for _ in range(4)]
    with ckptload.mindspore.install():
        values = mindspore.load_checkpoint(str(path), nets[0])
        assert mindspore.load_param_into_net(nets[1], values) == ([], [])
        assert mindspore.load_checkpoint_async(str(path), nets[2]).result().keys() == values.keys()
    assert THEIRS["load_param_into_net"](nets[3], values) == ([], [])
    assert [content(net.get_parameters()) for net in nets] == [wanted] * 4


def test_what_is_saved_is_what_mindspore_saves(tmp_path: Path) -> None:
    net = Net()
    for name in ("theirs", "ours"):
        save = THEIRS["save_checkpoint"]
        if name == "ours":
            ckptload.mindspore.install()
            save = mindspore.save_checkpoint
        save(net, str(tmp_path / f"{name}.ckpt"), append_dict={"epoch": 3, "lr": 0.5})
        save(net.parameters_dict(), str(tmp_path / f"{name}-crc.ckpt"), crc_check=True)
        save(list(net.get_parameters()), str(tmp_path / f"{name}.safetensors"), format="safetensors")
    for ending in (".ckpt", "-crc.ckpt", ".safetensors"):
        theirs, ours = ((tmp_path / f"{name}{ending}").read_bytes() for name in ("theirs", "ours"))
        assert ours == theirs, ending


def test_files_are_converted_both_ways(tmp_path: Path) -> None:
    net, path = Net(), tmp_path / "net.ckpt"
    THEIRS["save_checkpoint"](net, str(path))
    with ckptload.mindspore.install():
        mindspore.ckpt_to_safetensors(str(path), str(tmp_path / "there"))
        mindspore.safetensors_to_ckpt(str(tmp_path / "there" / "net.safetensors"), str(tmp_path / "back"))
    back = THEIRS["load_checkpoint"](str(tmp_path / "back" / "net.ckpt"))
    assert sorted(content(back.values())) == sorted(content(THEIRS["load_checkpoint"](str(path)).values()))


class LargeNet(Net):
    """A net that takes a moment to save."""

    def __init__(self) -> None:
        super().__init__()
        self.unused = mindspore.Parameter(mindspore.Tensor(np.zeros(32 << 20, np.float32)), name="unused")


class Obstacle(Callback):
    """Make a folder as soon as training begins."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.path = path

    def on_train_step_begin(self, run_context: Any) -> None:
        del run_context
        (self.path / "inside").mkdir(parents=True, exist_ok=True)


def trained(folder: Path, *others: Callback, **config: Any) -> Net:
    """Train a net for two steps, saved by MindSpore's callback after each."""
    net = LargeNet() if "async_save" in config else Net()
    optimizer = nn.Momentum([net.fc.weight, net.fc.bias], 0.01, 0.9)
    model = Model(net, nn.MSELoss(), optimizer)
    rng = np.random.default_rng(0)
    rows = [(rng.normal(size=4).astype("f4"), rng.normal(size=3).astype("f4")) for _ in range(8)]
    batches = mindspore.dataset.GeneratorDataset(rows, ["x", "y"], shuffle=False, num_parallel_workers=1).batch(4)
    saving = ModelCheckpoint("net", str(folder), CheckpointConfig(save_checkpoint_steps=1, **config))
    model.train(1, batches, callbacks=[*others, saving], dataset_sink_mode=False)
    return net


@pytest.mark.parametrize(
    "config",
    [
        {},
        {"async_save": True},
        {"async_save": "process"},
        {"enc_key": b"0123456789abcdef", "enc_mode": "AES-GCM"},
        {"crc_check": True},
        {"format": "safetensors"},
        {"append_info": [{"lr": 0.5}], "keep_checkpoint_max": 1},
    ],
    ids=["plain", "thread", "process", "encrypted", "crc", "safetensors", "append"],
)
def test_mindspores_callback_saves_with_ours(config: dict[str, Any], tmp_path: Path) -> None:
    """And waits at the end of training for the last save, whether a thread or a process does it."""
    with ckptload.mindspore.install():
        assert _checkpoint.save_checkpoint is mindspore.save_checkpoint
        net = trained(tmp_path, **config)
    name = f"net-1_2.{config.get('format', 'ckpt')}"
    options: dict[str, Any] = {key: config[key] for key in ("format", "crc_check") if key in config}
    if "enc_key" in config:
        options |= {"dec_key": config["enc_key"], "dec_mode": config["enc_mode"]}
    values = THEIRS["load_checkpoint"](str(tmp_path / name), **options)
    again = type(net)()
    missing, _ = THEIRS["load_param_into_net"](again, values)
    assert not missing
    assert content(again.get_parameters()) == content(net.get_parameters())
    assert "moments.fc.weight" in values
    if "keep_checkpoint_max" in config:
        assert len(list(tmp_path.glob("*.ckpt"))) == 1
        assert values["lr"].asnumpy() == np.float32(0.5)


def test_what_the_callback_cannot_save_is_said_by_ours(tmp_path: Path) -> None:
    obstacle = Obstacle(tmp_path / "net-1_1.ckpt")
    with ckptload.mindspore.install(), pytest.raises(CheckpointError, match="folder"):
        trained(tmp_path, obstacle)


def test_the_last_of_overlapping_blocks_puts_the_functions_back() -> None:
    theirs = mindspore.load_checkpoint
    first, second = ckptload.mindspore.install(), ckptload.mindspore.install()
    first.__exit__(None, None, None)
    assert mindspore.load_checkpoint is not theirs
    second.__exit__(None, None, None)
    assert mindspore.load_checkpoint is theirs
    with first:
        assert mindspore.load_checkpoint is not theirs
    assert mindspore.load_checkpoint is theirs
