"""Optional packages: what to install for what a caller wants to do.

The requirements stand in pyproject.toml alone; the installed package's metadata repeats them.
"""

from __future__ import annotations

import re
from importlib import metadata
from typing import Final

CLI: Final = "cli"
MPI: Final = "mpi"
REMOTE: Final = "remote"
TORCH: Final = "torch"
#: Such as: click>=8.1; extra == 'cli'
_REQUIREMENT: Final = re.compile(r"""([^;]+?)\s*;.*\bextra\s*==\s*['"]([^'"]+)['"]""")


def requirements(extra: str) -> list[str]:
    """Return what an extra of ckptload needs, such as ``["torch>=2.1"]``; nothing if ckptload was not installed."""
    try:
        wanted = metadata.requires("ckptload") or ()
    except metadata.PackageNotFoundError:
        return []
    found = map(_REQUIREMENT.fullmatch, wanted)
    return [one[1] for one in found if one is not None and one[2] == extra]


def install(extra: str, *besides: str) -> str:
    """Return the step that installs what an extra needs, for a hint.

    The packages are named, since ckptload itself may come from a checkout or a wheel that pip finds on no index.

    Args:
        extra: the extra.
        besides: packages to install with it.
    """
    wanted = [*requirements(extra), *besides]
    if not wanted:
        return f"install ckptload with its extra {extra!r}"
    return f"pip install {' '.join(map(_quoted, wanted))} (the extra {extra!r} of ckptload)"


def _quoted(requirement: str) -> str:
    return requirement if re.fullmatch(r"[\w.-]+", requirement) else f'"{requirement}"'
