"""What a file system of fsspec knows of a file, and what of it tells the file from another one."""

from __future__ import annotations

import re
import sys
from contextlib import suppress
from importlib.util import find_spec
from typing import Any, Final

from ckptload import extras, shown
from ckptload.errors import Hint, MissingPackageError

#: What file systems call that which identifies the content of a file. The first that there is counts.
_CONTENT: Final = (
    *("ETag", "etag", "checksum", "md5Hash", "md5", "content_md5", "Content-MD5", "Digest", "crc32c", "content_hash"),
    *("generation", "version_id", "VersionId", "hex", "sha", "oid", "blob_id"),
)
#: What they call times of changes, and identities that are not those of the content. All that there are count.
_TIMES: Final = (
    *("mtime", "ino", "LastModified", "Last-Modified", "last_modified", "modified", "modify", "updated"),
    *("timeModified", "modificationTime", "modification_time", "last_write_time", "server_modified", "date_time"),
    *("CRC", "chksum"),
)

#: What is known of a member of an archive was read when the archive was opened, and of a file in memory when it was
#: last closed: a change below, or in place, is not among it.
_LATE: Final = (
    ("fsspec.archive", "AbstractArchiveFileSystem"),
    ("fsspec.implementations.memory", "MemoryFileSystem"),
    ("fsspec.implementations.reference", "ReferenceFileSystem"),
)
#: In a chain such as ``zip://a.ckpt::s3://bucket/b.zip``, each link has a scheme, or is nothing else.
_SCHEME: Final = re.compile(r"(?:^|::)([\w+.-]+?)(?=://|::|$)")
#: File systems lie upon one another, but not that deep.
_DEPTH: Final = 8


def opened(url: str) -> tuple[Any, str]:
    """Return the file system of a URL, and the name in it.

    Raises:
        MissingPackageError: fsspec is not installed, or the package that it needs for this kind of URL.
        Exception: whatever the file system raises, as part of which the whole URL may be shown.
    """
    place = shown.place(url)
    try:
        from fsspec.core import url_to_fs  # noqa: PLC0415 -- an optional dependency, needed for URLs only
    except ImportError as error:
        raise MissingPackageError(
            "URLs are read with fsspec, which is not installed",
            path=place,
            hint=Hint("{install}", install=extras.install(extras.REMOTE)),
        ) from error
    try:
        found: tuple[Any, str] = url_to_fs(url)
    except ImportError as error:
        said = shown.without(str(error), url)
    else:
        return found
    # Not chained: the frames of the original exception show the whole URL.
    raise MissingPackageError(
        f"a package that fsspec needs for this kind of URL is not installed: {said}", path=place, hint=_driver(url)
    )


def _driver(url: str) -> str:
    """Return what to install for the schemes of a URL."""
    from fsspec.registry import known_implementations  # noqa: PLC0415 -- it is there by now

    classes = (known_implementations.get(scheme, {}).get("class", "") for scheme in _SCHEME.findall(url))
    packages = {str(cls).partition(".")[0] for cls in classes} - {"", "fsspec"}
    missing = sorted(package for package in packages if find_spec(package) is None)
    return f"pip install {' '.join(missing)}" if missing else "install that package"


def facts(files: Any, name: str) -> dict[str, Any]:
    """Ask a file system what it knows of a file now, not what it knew before.

    Raises:
        Exception: whatever the file system raises.
    """
    with suppress(Exception):
        files.invalidate_cache(name)
    found: dict[str, Any] = files.info(name)
    return found


def identity(files: Any, name: str, known: dict[str, Any]) -> tuple[object, ...] | None:
    """Return what tells a file from another one and from itself after a change, or None if nothing does.

    Args:
        files: the file system.
        name: the name of the file in it.
        known: the result of `facts`.
    """
    size = known.get("size")
    content = next(((key, str(known[key])) for key in _CONTENT if known.get(key)), None)
    if content is not None:
        return (size, content)
    times = [(key, str(known[key])) for key in _TIMES if known.get(key)]
    if not times:
        # The time of a file in memory is not among the rest. Few others have one, and only these are asked.
        with suppress(Exception):
            times = [("modified", str(files.modified(name)))]
    if not times and known.get("created"):
        times = [("created", str(known["created"]))]
    return (size, *times) if times else None


def may_be_late(files: Any) -> bool:
    """Return whether a file may have changed although what a file system knows of it has not."""
    late = tuple(getattr(sys.modules.get(module), name, ()) for module, name in _LATE)
    for _ in range(_DEPTH):
        if isinstance(files, late):
            return True
        files = getattr(files, "fs", None)
    return False


def identity_behind(file: object) -> tuple[object, ...] | None:
    """Return the identity of the file behind a file object of fsspec; None if it has none, or is of another kind.

    Such an object keeps some of what it has read, so that reading again does not tell.
    """
    kind = getattr(sys.modules.get("fsspec.spec"), "AbstractBufferedFile", ())
    if not isinstance(file, kind):
        return None
    with suppress(Exception):
        files, name = file.fs, file.path
        return identity(files, name, facts(files, name))
    return None
