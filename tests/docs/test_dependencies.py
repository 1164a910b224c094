"""The page of dependencies names every package that is installed along with this one, under its own licence."""

from __future__ import annotations

import re
from importlib import metadata
from typing import TYPE_CHECKING, Final

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from places import DOCS

if TYPE_CHECKING:
    from collections.abc import Iterable

PAGE = DOCS / "dependencies.md"
#: Whoever installs this one installs much more, which its own project documents.
ELSEWHERE: Final = {"torch"}
#: What a package says of its licence: an expression today, words of its own in older versions.
WORDS: Final = {
    "Apache-2.0": "apache",
    "BSD-2-Clause": "bsd",
    "BSD-3-Clause": "bsd",
    "MIT": "mit",
    "MIT-0": "mit",
    "PSF-2.0": "psf|python software foundation",
}

pytestmark = pytest.mark.skipif(not PAGE.exists(), reason="the documentation is not here")


def listed() -> dict[str, str]:
    """Return the licence of each package in the page."""
    rows = re.findall(r"^\| ([\w-]+) \| ([^|]+) \|", PAGE.read_text("utf-8"), re.MULTILINE)
    return {canonicalize_name(name): licence.strip() for name, licence in rows if name != "package"}


def needed(name: str, extras: Iterable[str], found: set[str]) -> set[str]:
    """Return what a package needs, and what that needs, as far as it is for this system and installed."""
    for line in metadata.requires(name) or []:
        wanted = Requirement(line)
        key = canonicalize_name(wanted.name)
        for_us = wanted.marker is None or any(wanted.marker.evaluate({"extra": extra}) for extra in ("", *extras))
        if for_us and key not in found | ELSEWHERE:
            try:
                metadata.version(key)
            except metadata.PackageNotFoundError:
                continue
            found.add(key)
            needed(key, wanted.extras, found)
    return found


def extras() -> list[str]:
    """Return the extras that are for users: the others are for working on the package."""
    declared = metadata.metadata("ckptload").get_all("Provides-Extra") or []
    return [extra for extra in declared if extra not in ("dev", "docs", "test")]


def test_every_dependency_is_in_the_page() -> None:
    assert {"numpy", "cryptography", "cffi"} <= needed("ckptload", extras(), set()) <= listed().keys()


@pytest.mark.parametrize("name", sorted(listed() if PAGE.exists() else ()))
def test_a_package_says_of_itself_what_the_page_says_of_it(name: str) -> None:
    first = re.split(r"[; (]", listed()[name])[0]
    try:
        told = metadata.metadata(name)
    except metadata.PackageNotFoundError:
        pytest.skip("it is not installed")
    fields = ("License-Expression", "License", "Classifier")
    said = "\n".join(
        line for field in fields for line in told.get_all(field) or [] if field != "Classifier" or "License" in line
    )
    assert re.search(WORDS[first], said, re.IGNORECASE), said[:300]
