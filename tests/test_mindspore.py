"""The functions for scripts with MindSpore, where there is none; with MindSpore: tests/differential/test_install.py."""

from __future__ import annotations

import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

import ckptload

if TYPE_CHECKING:
    from pathlib import Path

#: A process in which MindSpore cannot be imported, whether it is installed or not.
WITHOUT = (
    "import sys; sys.modules['mindspore'] = None; import ckptload; from ckptload.errors import MissingPackageError"
)


def run(*lines: str) -> str:
    """Run lines in a process of their own, and return what they print."""
    done = subprocess.run([sys.executable, "-c", "\n".join(lines)], check=False, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_installing_without_mindspore_says_what_is_missing() -> None:
    said = run(
        WITHOUT,
        "for _ in range(2):",
        "    try:",
        "        ckptload.mindspore.install()",
        "    except MissingPackageError as error:",
        "        print(isinstance(error, ImportError), error)",
        "ckptload.mindspore.uninstall()",
    )
    assert said.count("there is no MindSpore") == said.count("install mindspore") == said.count("True") == 2


@pytest.mark.parametrize("place", ["ckptload", "types.ModuleType('mindspore')"])
def test_what_stands_in_mindspores_place_is_not_mindspore(place: str) -> None:
    said = run(
        f"import sys, types, ckptload; sys.modules['mindspore'] = {place}",
        "before = ckptload.load_checkpoint",
        "try:",
        "    ckptload.mindspore.install()",
        "except ckptload.MissingPackageError as error:",
        "    print('refused', ckptload.load_checkpoint is before)",
    )
    assert said == "refused True\n"


def test_loading_for_mindspore_without_it_says_what_is_missing() -> None:
    calls = ["load_checkpoint('a.ckpt')", "load_checkpoint_async('a.ckpt')", "open_checkpoint(b'')", "to_mindspore({})"]
    tries = [
        f"try:\n    ckptload.mindspore.{call}\nexcept MissingPackageError as error:\n    print(repr(str(error)))"
        for call in calls
    ]
    said = run(WITHOUT, *tries).splitlines()
    assert len(said) == len(calls)
    assert all("mindspore" in one and "not installed" in one for one in said)


def test_another_kind_can_be_asked_for(tmp_path: Path) -> None:
    path = tmp_path / "one.ckpt"
    ckptload.save_checkpoint({"w": ckptload.Tensor([1.0, 2.0])}, path)
    said = run(WITHOUT, f"print(ckptload.mindspore.load_checkpoint({str(path)!r}, parameters='numpy')['w'].tolist())")
    assert said == "[1.0, 2.0]\n"
