"""`load_checkpoint_async`: loading in a thread of its own while the caller goes on."""

from __future__ import annotations

import os
import threading
from concurrent.futures import Future
from functools import partial
from typing import TYPE_CHECKING, Any

from ckptload.errors import ArgumentTypeError
from ckptload.limits import MAX_RECORDS
from ckptload.load import CKPT, SAFETENSORS, load_checkpoint
from ckptload.sharded import ENDING

if TYPE_CHECKING:
    from collections.abc import Callable

    from ckptload.names import Prefixes


class ParamDictFuture:
    """A checkpoint that is being loaded."""

    def __init__(self, future: Future[dict[str, Any]]) -> None:
        self._future = future

    def result(self) -> dict[str, Any]:
        """Wait until loading has ended, and return what `load_checkpoint` returns.

        Every call returns the same dictionary.

        Raises:
            CheckpointError: what `load_checkpoint` raised; every call raises it again.
        """
        return self._future.result()

    def done(self) -> bool:
        """Tell whether loading has ended, well or badly."""
        return self._future.done()


def load_checkpoint_async(
    ckpt_file_name: Any,
    net: Any = None,
    strict_load: bool = False,
    filter_prefix: Prefixes = None,
    dec_key: bytes | None = None,
    dec_mode: str = "AES-GCM",
    specify_prefix: Prefixes = None,
    choice_func: Callable[[str], Any] | None = None,
    *,
    allow_unauthenticated: bool = False,
    max_records: int = MAX_RECORDS,
) -> ParamDictFuture:
    """Begin to load a checkpoint, and return at once.

    Each call has a thread of its own, so that several load at the same time. `choice_func` is called
    in that thread, and `net`, if there is one, is written to from it: leave it alone until the result
    is there.

    Args:
        ckpt_file_name: path; it is loaded as safetensors if it ends in ``.safetensors`` or
            ``.safetensors.index.json``, else as ckpt.
        net: network that the values are written into as well.
        strict_load: with `net`: exact names and dtypes only.
        filter_prefix: prefix, or several; entries whose names begin so are left out.
        dec_key: key of an encrypted file: 16, 24 or 32 bytes for AES, 16 for SM4.
        dec_mode: ``"AES-GCM"``, ``"AES-CBC"`` or ``"SM4-CBC"``; looked at when there is a key.
        specify_prefix: prefix, or several; only entries whose names begin so are loaded.
        choice_func: asked once for each name whether to load it; not asked when there is a prefix.
        allow_unauthenticated: open encrypted files whose content nothing protects from changes
            (docs/security.md).
        max_records: how many records, or tensors of a safetensors file, there may be (docs/security.md).

    Returns:
        A future, whose ``result()`` is what `load_checkpoint` returns or raises.

    Raises:
        ArgumentTypeError: `ckpt_file_name` is no path. Every other error comes from ``result()``.
    """
    path = os.fspath(ckpt_file_name) if isinstance(ckpt_file_name, (str, os.PathLike)) else None
    if not isinstance(path, str):
        raise ArgumentTypeError(
            f"a checkpoint is loaded in the background from a path, not from {type(ckpt_file_name).__name__}",
            hint="load open files and bytes with load_checkpoint",
        )
    load = partial(
        load_checkpoint,
        path,
        net,
        strict_load,
        filter_prefix,
        dec_key,
        dec_mode,
        specify_prefix,
        choice_func,
        format=SAFETENSORS if path.endswith(("." + SAFETENSORS, ENDING)) else CKPT,
        allow_unauthenticated=allow_unauthenticated,
        max_records=max_records,
    )
    return ParamDictFuture(_begun(load))


def _begun(load: Callable[[], dict[str, Any]]) -> Future[dict[str, Any]]:
    """Call `load` in a thread that ends with it; where the system gives none, before returning."""
    future: Future[dict[str, Any]] = Future()

    def work() -> None:
        try:
            future.set_result(load())
        except BaseException as error:  # noqa: BLE001 -- it is raised again where the result is asked for
            future.set_exception(error)

    try:
        threading.Thread(target=work, name="ckptload-load").start()
    except RuntimeError:
        work()
    return future
