"""What errors say about packages that are not installed."""

from __future__ import annotations

import re
import subprocess
import sys
from importlib import metadata

import pytest

from ckptload import extras
from places import FIXTURES

NET = "ckptload.Cell()"
#: Each door that needs a package, with the package, and what the hint has to begin with.
DOORS = [
    ("torch", "ckptload.load_checkpoint(FILE, parameters='torch')", 'pip install "torch>=2.1"'),
    ("torch", "ckptload.open_checkpoint(FILE, parameters='torch')", 'pip install "torch>=2.1"'),
    ("torch", "ckptload.to_torch_state_dict(ckptload.load_checkpoint(FILE))", 'pip install "torch>=2.1"'),
    ("torch", "ckptload.convert_checkpoint(ckptload.open_checkpoint(FILE), 'x.pt')", 'pip install "torch>=2.1"'),
    ("mindspore", "ckptload.load_checkpoint(FILE, parameters='mindspore')", "pip install mindspore"),
    ("mindspore", "ckptload.to_mindspore(ckptload.load_checkpoint(FILE))", "pip install mindspore"),
    ("mindspore", "ckptload.mindspore.install()", "pip install mindspore"),
    (
        "mpi4py",
        f"ckptload.load_param_into_net({NET}, {{}}, remove_redundancy=True, communicator='mpi')",
        'pip install "mpi4py>=4.0" mpich',
    ),
    ("fsspec", "ckptload.load_checkpoint('https://host/x.ckpt')", 'pip install "fsspec[http]>=2023.6"'),
    ("fsspec", "ckptload.open_distributed('s3://bucket/run')", 'pip install "fsspec[http]>=2023.6"'),
]


def without(package: str, code: str) -> str:
    """Run code in a Python that does not find a package; return what it prints."""
    program = (
        f"import sys; sys.modules[{package!r}] = None; import ckptload; FILE = {str(FIXTURES / 'lenet5.ckpt')!r}\n"
        f"try:\n    {code}\n"
        "except ckptload.MissingPackageError as error:\n"
        "    print(isinstance(error, (ValueError, ImportError)), error.hint)"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=120, check=False)
    return done.stdout + done.stderr


@pytest.mark.slow
@pytest.mark.once
@pytest.mark.skipif(not extras.requirements("cli"), reason="the package was not installed")
@pytest.mark.parametrize(("package", "code", "step"), DOORS, ids=lambda value: str(value)[:60])
def test_what_needs_a_package_says_how_to_install_it(package: str, code: str, step: str) -> None:
    """The step is a command that works wherever ckptload itself comes from."""
    assert without(package, code).startswith(f"True {step}")


def test_the_requirements_are_those_of_the_package(monkeypatch: pytest.MonkeyPatch) -> None:
    wanted = ["numpy>=1.24", "click>=8.1; extra == 'cli'", 'rich>=13 ; (python_version > "3") and extra == "cli"']
    monkeypatch.setattr(metadata, "requires", lambda _: [*wanted, "torch>=2.1; extra == 'torch'", "x ; extra=='bare'"])
    assert extras.requirements("cli") == ["click>=8.1", "rich>=13"]
    assert extras.install("cli") == 'pip install "click>=8.1" "rich>=13" (the extra \'cli\' of ckptload)'
    assert extras.install("bare", "mpich") == "pip install x mpich (the extra 'bare' of ckptload)"


def test_sources_that_were_not_installed_name_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    def unknown(_: str) -> list[str]:
        raise metadata.PackageNotFoundError

    monkeypatch.setattr(metadata, "requires", unknown)
    assert extras.install("torch") == "install ckptload with its extra 'torch'"


@pytest.mark.slow
@pytest.mark.once
def test_a_scheme_whose_driver_is_missing_names_the_driver() -> None:
    """Real drivers: none of these is installed, or the test has nothing to say about it."""
    pytest.importorskip("fsspec")
    for scheme, package in (("s3", "s3fs"), ("gs", "gcsfs"), ("abfs", "adlfs"), ("zip://a.ckpt::s3", "s3fs")):
        said = without(package, f"ckptload.load_checkpoint('{scheme}://user:secret@bucket/x.ckpt')")
        assert re.match(rf"True pip install .*\b{package}\b", said), said
        assert "secret" not in said
