"""The steps of the gate: ``.ci/run`` calls them, and so can ``nox --noxfile .ci/noxfile.py --session NAME``.

On a system without bash (Windows), nox is called directly; without a session named, the quick ones run.
"""

from __future__ import annotations

import contextlib
import functools
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import nox
from nox.command import CommandFailed

if TYPE_CHECKING:
    from collections.abc import Callable

nox.needs_version = ">=2026.10"

CI: Final = Path(__file__).resolve().parent
ROOT: Final = CI.parent
SHARED: Final = Path(os.environ.get("SHARED", ROOT.parent / "shared")).resolve()
#: Where a run leaves what it makes. .ci/run gives each run a folder of its own.
WORK: Final = Path(os.environ.get("GATE_WORK", CI / "work" / "nox")).resolve()
#: The source distribution, unpacked, without the sources: the tests and what they read.
SDIST: Final = WORK / "sdist"
#: The numbers that may only rise.
MINIMUMS: Final = dict(re.findall(r"^MIN_(\w+)=(\d+)$", (CI / "minimums").read_text("utf-8"), re.MULTILINE))
PROJECT: Final = nox.project.load_toml(ROOT / "pyproject.toml")["project"]
#: One version, so that a CPU build that pip finds on a disk is taken before a larger one of PyPI.
TORCH: Final = "torch==2.13.0"
#: Nets in torch to compare with: timm and torchvision without what they ask for, since it is another build of torch.
NETS: Final = ("timm==1.0.31", "torchvision==0.28.0")
#: With the names of modules that files on the Hub have; version 5 has others for some.
TRANSFORMERS: Final = ("transformers==4.57.6", "pillow")
MINDSPORE: Final = ("mindspore==2.10.0", "numpy<2")
AUDIT_SECONDS: Final = 120

nox.options.default_venv_backend = "uv"
nox.options.envdir = str(CI / "venvs")
nox.options.reuse_venv = "yes"
nox.options.sessions = ["lint", "tests", "docs"]
# A test must not find the sources by accident.
os.environ.pop("PYTHONPATH", None)
# What is said to pip holds for uv, too.
for _pip, _uv in {
    "PIP_INDEX_URL": "UV_DEFAULT_INDEX",
    "PIP_EXTRA_INDEX_URL": "UV_INDEX",
    "PIP_FIND_LINKS": "UV_FIND_LINKS",
    "PIP_CERT": "SSL_CERT_FILE",
}.items():
    if _pip in os.environ:
        os.environ.setdefault(_uv, os.environ[_pip])


def step(**options: Any) -> Callable[[Callable[[nox.Session], None]], Any]:
    """Make a function a session, which begins in the project's folder; nox begins in that of this file."""

    def made(function: Callable[[nox.Session], None]) -> Any:
        @functools.wraps(function)
        def begun(session: nox.Session) -> None:
            session.chdir(ROOT)
            function(session)

        return nox.session(begun, **options)

    return made


@functools.cache
def interpreter(*versions: str) -> str:
    """Return the first of these versions of Python that can be run, or leave it to nox to find the first of them.

    Found on a machine does not mean that it runs: pyenv puts commands on the path for versions that are not chosen.
    """
    for version in versions:
        kept = sorted(map(str, (Path.home() / ".pyenv" / "versions").glob(f"{version}.*/bin/python")))
        for candidate in (f"python{version}", *kept):
            with contextlib.suppress(OSError, subprocess.CalledProcessError):
                program = "import sys, venv, ensurepip; print(*sys.version_info[:2], sep='.'); print(sys.executable)"
                found = subprocess.run([candidate, "-c", program], capture_output=True, text=True, check=True)
                said, path = found.stdout.splitlines()
                if said == version:
                    return path
    return versions[0]


OLDEST: Final = interpreter("3.10", "3.11")  # the lowest numpy has no wheels for later ones
NEWEST: Final = interpreter("3.14", "3.13", "3.12", "3.11", "3.10")
#: The tests that are run with every version; those that are marked ``once`` have a step of their own.
EVERYWHERE: Final = ("-m", "not once")
#: What MindSpore has wheels for; also what every build of PyTorch is made for.
MIDDLE: Final = interpreter("3.11", "3.10")


def requirements(*extras: str) -> list[str]:
    """Return what the package and these extras of it need."""
    wanted: list[str] = list(PROJECT["dependencies"])
    for extra in extras:
        wanted += PROJECT["optional-dependencies"][extra]
    return wanted


def is_uv(session: nox.Session) -> bool:
    """Tell whether the session's environment is uv's; the others are pip's."""
    return session.venv_backend == "uv"


def install_wheel(session: nox.Session, *wanted: str) -> None:
    """Install what is wanted, and the wheel: never the working tree."""
    session.install(*wanted)
    (wheel,) = (WORK / "dist").glob("*.whl")
    session.install("--no-deps", "--reinstall" if is_uv(session) else "--force-reinstall", str(wheel))
    pip = ("uv", "pip") if is_uv(session) else ("python", "-m", "pip")
    session.run(*pip, "check")
    listed = session.run(*pip, "list", "--format=freeze", silent=True) or ""
    names = r"^(?:numpy|protobuf|cryptography|ml.dtypes|safetensors|torch|mindspore)==\S+"
    session.log(f"{sys_version(session)}: {' '.join(re.findall(names, listed, re.MULTILINE))}")


def sys_version(session: nox.Session) -> str:
    """Return what the session's Python says of itself."""
    return str(session.run("python", "--version", silent=True)).strip()


def run_tests(session: nox.Session, *arguments: str) -> None:
    """Run tests where there are no sources, so that the wheel is what is tested."""
    with session.chdir(SDIST):
        session.run("python", "-m", "pytest", "-q", *arguments)


def compare(session: nox.Session, *checks: tuple[str, ...], option: str = "--min", without: int = 0) -> None:
    """Run recorded comparisons, each a name in the minimums and a command; show how many cases of each agree.

    All are run to their end, so that a change that breaks two of them shows both. `without` is the number of cases that
    this machine cannot judge.
    """
    failed = []
    for minimum, tool, *arguments in checks:
        at_least = str(int(MINIMUMS[minimum]) - without)
        command = ("python", str(SHARED / tool), *arguments, option, at_least)
        try:
            with session.chdir(WORK):
                said = session.run(*command, silent=True, env={"PYTHONWARNINGS": "ignore"})
        except CommandFailed:
            failed.append(minimum)
            continue
        lines = [line for line in str(said).splitlines() if re.match(r"\d+ of \d+ ", line)]
        session.log(f"{minimum} (at least {at_least}): {lines[-1]}")
    if failed:
        session.error(f"less agrees than must: {', '.join(failed)}")


def is_shared(session: nox.Session, folder: str) -> bool:
    """Tell whether recorded cases are here, and say so if they are not: users have none."""
    there = (SHARED / folder).is_dir()
    if not there:
        session.warn(f"left out: {SHARED / folder} is not here")
    return there


@step(allow_parallel=True)
def lint(session: nox.Session) -> None:
    """Check with ruff, its formatter and mypy."""
    session.install("-e", ".[dev]")
    session.run("ruff", "check", ".")
    session.run("ruff", "format", "--check", ".")
    session.run("mypy")


def readme_command(text: str, name: str) -> str:
    """Return the code block behind ``<!-- ci:NAME -->``."""
    found = re.search(rf"^<!-- ci:{name} -->\n```sh\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)
    if found is None:
        raise ValueError(f"README.md has no command marked ci:{name}")
    return found[1].strip()


@step(python=False, allow_parallel=True)
def readme(session: nox.Session) -> None:
    """Run the README's two commands in a fresh clone of what is committed."""
    # The clone is elsewhere, so that nothing beside the repository can be found from it.
    with tempfile.TemporaryDirectory() as outside:
        clone = Path(outside) / "clone"
        session.run("git", "clone", "-q", str(ROOT), str(clone), external=True)
        with session.chdir(clone):
            for name in ("run", "test"):
                command = readme_command(Path("README.md").read_text("utf-8"), name)
                session.run("bash", "-euo", "pipefail", "-c", command, external=True)
            left = session.run("git", "status", "--porcelain", external=True, silent=True)
        if left:
            session.error(f"the commands leave something behind:\n{left}")


@step(allow_parallel=True)
def tests(session: nox.Session) -> None:
    """Run the tests on the working tree, and see how much of it they enter."""
    session.install("-e", ".[dev]")
    WORK.mkdir(parents=True, exist_ok=True)
    data = f"--data-file={WORK}/coverage"
    session.run("coverage", "run", data, "-m", "pytest", "-q", *EVERYWHERE, *session.posargs)
    session.run("coverage", "report", data, "--skip-covered", f"--fail-under={MINIMUMS['COVERAGE']}")


@step(requires=["dist"], allow_parallel=True)
def once(session: nox.Session) -> None:
    """Run the slow tests that are the same on every version of everything."""
    install_wheel(session, *requirements("test"))
    run_tests(session, "-m", "once")


@step(default=False, allow_parallel=True)
def dist(session: nox.Session) -> None:
    """Build both distributions; the wheel is built from the sdist, which so is seen to be complete."""
    shutil.rmtree(WORK / "dist", ignore_errors=True)
    shutil.rmtree(SDIST, ignore_errors=True)
    session.run("uv", "build", "--quiet", "--out-dir", str(WORK / "dist"))
    (archive,) = (WORK / "dist").glob("*.tar.gz")
    shutil.unpack_archive(archive, WORK)
    (WORK / archive.name.removesuffix(".tar.gz")).rename(SDIST)
    shutil.rmtree(SDIST / "src")


@step(requires=["dist"], allow_parallel=True)
def wheel(session: nox.Session) -> None:
    """Run the tests on the wheel."""
    install_wheel(session, *requirements("test"))
    run_tests(session, *EVERYWHERE)


@step(requires=["dist"], allow_parallel=True)
def oracle(session: nox.Session) -> None:
    """Replay what MindSpore was recorded to do, and read the sample files and the published ones."""
    if not is_shared(session, "oracle"):
        return
    install_wheel(session, *requirements("test"))
    replay = ("oracle/replay.py", "--module", "ckptload")
    compare(
        session,
        ("REPLAY", *replay),
        ("DECIDED", *replay, "--decided"),
        ("API", *replay, "--api"),
        ("API_DECIDED", *replay, "--api", "--decided"),
        ("SAMPLES", "oracle/check_files.py", str(SHARED / "samples")),
        ("CORPUS", "oracle/check_files.py", str(SHARED / "corpus")),
    )


@step(requires=["dist"], allow_parallel=True)
def shared(session: nox.Session) -> None:
    """Run the recorded checks that need neither MindSpore nor PyTorch."""
    if not is_shared(session, "faults"):
        return
    install_wheel(session, *requirements("test"))
    ranks = ("ranks/check_ranks.py", str(SHARED / "ranks" / "cases"))
    compare(
        session,
        ("FAULTS", "faults/check_faults.py"),
        ("RANKS", *ranks),
        ("RANKS_FILES", *ranks, "--through", "files"),
    )


#: Sets of four ranks that MindSpore saved with redundancy removed: what each rank lacks comes from the others.
LIVE: Final = [f"real_{name}_rr" for name in ("dp2tp2_st", "dp4_opt2_st", "half_st", "rep4", "tp4", "auto_search")]


@step(requires=["dist"], allow_parallel=True)
def live(session: nox.Session) -> None:
    """Let four processes complete each other's shares over MPI."""
    try:
        session.install("--only-binary", "mpich", "--only-binary", "mpi4py", "mpich", "mpi4py")
    except CommandFailed:
        session.warn(f"left out: no MPI can be installed for {sys_version(session)}")
        return
    install_wheel(session, *requirements("test", "mpi"))
    run_tests(session, "tests/ranks/test_communicators.py", "-m", "not torch and not mindspore")
    check_live(session, "mpi", "mpiexec", "-n", "4", "python", "-m", "mpi4py")


def check_live(session: nox.Session, kind: str, *start: str) -> None:
    """Start four processes that load their shares, and count the ranks that got the right bytes."""
    if not is_shared(session, "ranks"):
        return
    cases = [str(SHARED / "ranks" / "cases" / name) for name in LIVE]
    quiet = {"PYTHONWARNINGS": "ignore", "OMP_NUM_THREADS": "1"}
    with session.chdir(WORK):
        said = session.run(*start, str(SHARED / "ranks" / "check_live.py"), kind, *cases, silent=True, env=quiet)
    minimum = MINIMUMS[f"LIVE_{kind.upper()}"]
    found = re.search(r"^(\d+) of \d+ ranks agree", str(said), re.MULTILINE)
    if found is None or int(found[1]) < int(minimum):
        session.error(f"less than {minimum} ranks agree over {kind}: {said}")
    session.log(f"LIVE_{kind.upper()} (at least {minimum}): {found[0]}")


@step(allow_parallel=True)
def docs(session: nox.Session) -> None:
    """Build the pages, where a warning is an error, and look at them in a browser if there is one."""
    session.install("-e", ".[docs]")
    pages = WORK / "html"
    shutil.rmtree(pages, ignore_errors=True)
    session.run("sphinx-build", "-q", "-W", "--keep-going", "-b", "html", "docs", str(pages))
    session.log(f"built {len(list(pages.rglob('*.html')))} pages")
    session.run("python", "tests/page_width.py", str(pages))


@step(python=OLDEST, requires=["dist"], allow_parallel=True)
def lowest(session: nox.Session) -> None:
    """Run the tests with the lowest version of every dependency."""
    install_wheel(session, "--resolution", "lowest-direct", *requirements("test"))
    run_tests(session, *EVERYWHERE)


@step(python=NEWEST, requires=["dist"], allow_parallel=True)
def newest(session: nox.Session) -> None:
    """Run the tests with the newest of everything."""
    install_wheel(session, "--upgrade", *requirements("fast", "remote", "test"))
    run_tests(session, *EVERYWHERE)


@step(python=MIDDLE, venv_backend="venv", requires=["dist"], allow_parallel=True)
def mindspore(session: nox.Session) -> None:
    """Compare with MindSpore itself, test by test and script by script."""
    install_wheel(session, *MINDSPORE, TORCH, *requirements("test"))
    session.run("python", "-m", "pytest", "-q", "tests/differential")
    run_tests(session, "-m", "mindspore", "--ignore", "tests/differential")
    if is_shared(session, "clients"):
        scripts = "clients/run_clients.py"
        others = otherwise_here(session, str(SHARED / scripts))
        compare(session, ("CLIENTS_LOAD", scripts, "load"), ("CLIENTS_ALL", scripts, "all"), without=others)


def otherwise_here(session: nox.Session, scripts: str) -> int:
    """Return the number of recorded steps in which MindSpore itself computes other numbers on this processor.

    The scripts are run with MindSpore's functions under our name.
    """
    stand_in = WORK / "stand_in" / "ckptload" / "__init__.py"
    stand_in.parent.mkdir(parents=True, exist_ok=True)
    names = "load_checkpoint load_param_into_net save_checkpoint load_checkpoint_async ckpt_to_safetensors"
    names += " safetensors_to_ckpt"
    stand_in.write_text(f"from mindspore import {', '.join(names.split())}\n")
    place = {"PYTHONPATH": str(stand_in.parent.parent), "PYTHONWARNINGS": "ignore"}
    said = session.run("python", scripts, "load", "--min", "0", silent=True, env=place)
    found = re.search(r"^(\d+) of (\d+) steps agree", str(said), re.MULTILINE)
    if found is None:
        session.error(f"MindSpore's own scripts say nothing: {said}")
    others = int(found[2]) - int(found[1])
    session.log(f"MindSpore itself gives {others} of {found[2]} steps otherwise on this processor")
    return others


@step(python=MIDDLE, venv_backend="venv", requires=["dist"], allow_parallel=True)
def torch(session: nox.Session) -> None:
    """Run the tests that need PyTorch, the scripts that use it, and the maps of real networks."""
    install_wheel(session, TORCH, *requirements("test"))
    run_tests(session, "-m", "torch")
    together = ("-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "4")
    check_live(session, "gloo", "python", *together)
    if is_shared(session, "clients"):
        compare(session, ("CLIENTS_ALONE", "clients/run_clients.py", "alone"))
    if is_shared(session, "realnets"):
        check_maps(session)


@step(python=MIDDLE, venv_backend="venv", requires=["dist"], allow_parallel=True)
def networks(session: nox.Session) -> None:
    """Load recorded nets into those of other libraries, which want older versions of what others test with."""
    install_wheel(session, TORCH, *TRANSFORMERS, *requirements("test"))
    session.install("--no-deps", *NETS)
    # The recorded nets lie beside the project.
    session.run("python", "-m", "pytest", "-q", "tests/networks", "tests/docs/test_zoos.py")


#: Pairs without a proven map in the shared cases, whose map is certain here and right. With it their outputs were
#: equal: senet154 as it is; xception and resnest14 after their pools were padded as in MindSpore; skresnet50 without
#: an activation that mindcv lacks. tests/binding/maps/test_proposing.py has the maps, written by hand.
RIGHT: Final = {f"{name}__timm_{twin}" for name, twin in (
    ("resnest14", "resnest14d"), ("senet154", "legacy_senet154"), ("skresnet50", "skresnet50"),
    ("xception", "legacy_xception"),
)}  # fmt: skip


def check_maps(session: nox.Session) -> None:
    """Propose the maps of real networks, and see that none is certain that is not known to be right."""
    with session.chdir(WORK):
        said = session.run(
            "python",
            str(SHARED / "realnets" / "check_maps.py"),
            silent=True,
            env={"PYTHONWARNINGS": "ignore"},
            success_codes=[0, 1],
        )
    found = re.search(r"^(\d+) of \d+ right, \d+ unsure, (\d+) wrong.*", str(said), re.MULTILINE)
    certain = set(re.findall(r"^(\S+): certain and not right: no map is proven$", str(said), re.MULTILINE))
    if found is None or int(found[1]) < int(MINIMUMS["MAPS"]) or int(found[2]) > len(certain & RIGHT):
        session.error(f"a map is wrong, or fewer than {MINIMUMS['MAPS']} are right:\n{said}")
    session.log(f"MAPS (at least {MINIMUMS['MAPS']}): {found[0]}; {len(certain)} certain ones are not proven there")


@step(allow_parallel=True)
def audit(session: nox.Session) -> None:
    """Ask for known vulnerabilities of what is installed along with the package."""
    session.install("pip-audit")
    # Installed beside the environment, so that nothing of the audit's own is asked about.
    packages = WORK / "audited"
    session.install("--target", str(packages), *requirements("fast", "cli", "remote"))
    command = [shutil.which("pip-audit", path=session.bin) or "pip-audit", "--progress-spinner", "off"]
    command += ["--format", "json", "--path", str(packages)]
    said, log = "", "it took too long"
    with contextlib.suppress(subprocess.TimeoutExpired):
        # It fails where there are vulnerabilities, and where there is no network; what it says tells which.
        done = subprocess.run(command, capture_output=True, text=True, timeout=AUDIT_SECONDS, check=False)
        said, log = done.stdout, done.stderr
    judge(session, said, log)


def judge(session: nox.Session, said: str, log: str) -> None:
    """Count the answers: pip-audit calls it a success when it could ask about nothing at all."""
    try:
        found: list[dict[str, Any]] = json.loads(said)["dependencies"]
    except (ValueError, KeyError):
        found = []
    asked = [one for one in found if "skip_reason" not in one]
    bad = [one for one in asked if one["vulns"]]
    for one in bad:
        for flaw in one["vulns"]:
            fixed = flaw["fix_versions"] or "no version"
            session.warn(f"{one['name']} {one['version']}: {flaw['id']}, fixed in {fixed}")
    if not asked:
        session.log(log)
        session.warn("left out: the service that knows of vulnerabilities cannot be asked; nothing was audited")
        return
    session.log(f"{len(asked)} of {len(found)} packages were asked about, {len(bad)} have known vulnerabilities")
    for one in found:
        if one not in asked:
            session.log(f"not asked about: {one['name']}")
    if bad:
        session.error("there are known vulnerabilities")


@step(requires=["dist"], allow_parallel=True)
def fuzz(session: nox.Session) -> None:
    """Fuzz each target for a minute; longer runs are described in tests/fuzz/run.py."""
    try:
        session.install("--only-binary", "atheris", "atheris")
    except CommandFailed:
        session.warn(f"left out: atheris has no wheel for {sys_version(session)}")
        return
    install_wheel(session, *requirements("test"))
    program = "from fuzz import targets; print(*sorted(targets.TARGETS))"
    names = session.run("python", "-c", program, env={"PYTHONPATH": "tests"}, silent=True)
    with ThreadPoolExecutor(2) as pool:
        results = list(pool.map(functools.partial(fuzz_target, session.bin), str(names).split()))
    for _, said in results:
        session.log(said)
    if not all(good for good, _ in results):
        session.error("the fuzzer found something")


def fuzz_target(bin_folder: str, name: str) -> tuple[bool, str]:
    """Fuzz one target in a folder of its own, where it leaves what it finds."""
    folder = WORK / f"fuzz-{name}"
    folder.mkdir(parents=True, exist_ok=True)
    python = shutil.which("python", path=bin_folder) or sys.executable
    command = [python, str(ROOT / "tests" / "fuzz" / "run.py"), name]
    command += ["--seconds", os.environ.get("FUZZ_SECONDS", "60")]
    done = subprocess.run(
        command, cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, errors="replace", check=False
    )
    lines = done.stdout.splitlines()
    if done.returncode:
        return False, "\n".join([f"{name}:", *lines[-60:]])
    return True, f"{name}: {' '.join(line for line in lines if re.match(r'Done|stat::peak_rss_mb', line))}"
