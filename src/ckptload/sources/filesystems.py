"""What a file system of fsspec knows of a file, and what of it tells the file from another one."""

from __future__ import annotations

import sys
from contextlib import suppress
from typing import Any, Final

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
#: File systems lie upon one another, but not that deep.
_DEPTH: Final = 8


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
