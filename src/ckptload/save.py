"""save_checkpoint: MindSpore's function, made so that it never loses a file.

The order is: check the arguments, gather and judge what is to be saved, only then touch the file system.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from functools import partial
from typing import TYPE_CHECKING, Any, Final

from ckptload.encryption.ciphers import AES_GCM
from ckptload.errors import ArgumentError, ArgumentTypeError, OutOfMemoryError, TargetIsFolderError
from ckptload.formats.ckpt.encoding import ckpt
from ckptload.formats.entry import CKPT, SAFETENSORS
from ckptload.nets.cell import Cell
from ckptload.nets.foreign import is_foreign_net
from ckptload.writing.background import Saves
from ckptload.writing.gathering import check_append_dict, detached, gather, snapshot
from ckptload.writing.output import check_encryptable, check_encryption, write_file

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from ckptload.formats.item import Item
    from ckptload.tensors.parameter import Parameter
    from ckptload.tensors.tensor import Tensor

    # Any: a network of MindSpore or torch.
    Values = Cell | list[Parameter] | list[dict[str, Any]] | Mapping[str, Any] | Any
    Encoder = Callable[[Sequence[Item]], Iterator[bytes | memoryview]]

_THREAD: Final = "thread"
_PROCESS: Final = "process"

_saves: Final = Saves()


def save_checkpoint(
    save_obj: Values,
    ckpt_file_name: str | os.PathLike[str],
    integrated_save: bool = True,
    async_save: bool | str = False,
    append_dict: Mapping[str, int | float | bool | str | Tensor] | None = None,
    enc_key: bytes | None = None,
    enc_mode: str = AES_GCM,
    choice_func: Callable[[str], Any] | None = None,
    crc_check: bool = False,
    format: str = CKPT,
    **kwargs: Any,
) -> None:
    """Save parameters to a file that MindSpore and ckptload load.

    The file is complete and on the disk before it takes the place of an old one: whatever goes wrong, the
    old file stays as it is. The new one can be read by its owner only, and written by nobody (mode 0400).

    Args:
        save_obj: a Cell, a list of Parameters, a list of ``{"name": name, "data": tensor}``, a dictionary of
            names and Parameters, Tensors, strings or numpy arrays, such as `load_checkpoint` returns, or an
            open reader, whose content is copied without being in memory as a whole. Of a name that comes
            twice the last value is saved. A ``mindspore.nn.Cell``, MindSpore's own Parameters and Tensors, and a
            ``torch.nn.Module``, as `from_torch` converts it, are saved, too.
        ckpt_file_name: path of the file. ``.ckpt`` or ``.safetensors`` is added unless it ends with the
            format's name. A symbolic link is followed.
        integrated_save: accepted; it concerns nets that are spread over devices.
        async_save: True or ``"thread"`` to save in a thread, from a copy of the values; ``"process"`` to save
            in a forked process, without a copy (a thread where processes cannot be forked). Every
            save waits for the one before. The interpreter waits for all of them when it ends.
        append_dict: further entries, which follow the parameters: numbers, strings, Tensors or Parameters. An
            entry of a parameter's name takes its place.
        enc_key: key to encrypt with: 16, 24 or 32 bytes, 16 for SM4. None for a plain file.
        enc_mode: ``"AES-GCM"``, ``"AES-CBC"`` or ``"SM4-CBC"``.
        choice_func: asked once for each name of `save_obj`; what it returns counts by its truth. Its
            exceptions pass through. `append_dict` is not subject to it.
        crc_check: whether the file carries a CRC-32, which tells damage but not intent.
        format: ``"ckpt"`` or ``"safetensors"``.
        **kwargs: `remove_redundancy` (True or False) is noted in a safetensors file; `incremental` and
            `global_step_num` are accepted for .ckpt files. Any other is ignored, as in MindSpore.

    Raises:
        CheckpointError: base of all errors; a ValueError.
        ArgumentTypeError: an argument or a value is of the wrong type (also a TypeError).
        ArgumentError: arguments exclude each other: `enc_key` with `crc_check`, with a map or with
            ``format="safetensors"``; or a name is longer than 1024 characters.
        WriteError: the system could not write (also an OSError, of the class that fits its reason).
        BackgroundSaveError: the asynchronous save before this one failed; nothing was done by this call.
    """
    path = _target(save_obj, ckpt_file_name, format)
    _check_types(integrated_save, async_save, append_dict, enc_key, enc_mode, crc_check, kwargs)
    _check_combination(format, enc_key, enc_mode, crc_check, kwargs)
    try:
        items = gather(save_obj, append_dict, choice_func)
        if enc_key is not None:
            check_encryptable(items)
        encode = _encoder(format, items, crc_check, kwargs.get("remove_redundancy"), by_rows=bool(async_save))
        if not async_save:
            _saves.wait()
            write_file(path, encode(items), key=enc_key, mode=enc_mode)
            return
        forks = async_save == _PROCESS and hasattr(os, "fork")

        def prepare() -> Callable[[], None]:
            # A forked process has its own view of the memory, but shares the position in an open file.
            taken = [detached(item) if forks else snapshot(item) for item in items]
            return lambda: write_file(path, encode(taken), key=enc_key, mode=enc_mode)

        _saves.start(path, prepare, process=forks)
    except MemoryError as error:
        if isinstance(error, OutOfMemoryError):
            raise
        raise OutOfMemoryError("not enough memory to save the checkpoint", path=path) from error


def _encoder(
    format: str, items: Sequence[Item], crc_check: bool, remove_redundancy: bool | None, *, by_rows: bool
) -> Encoder:
    """Return the function that makes a file's bytes of items, which the format can hold."""
    if format == CKPT:
        return partial(ckpt, crc_check=crc_check, by_rows=by_rows)
    from ckptload.formats.safetensors import encoding  # noqa: PLC0415 -- safetensors is imported only when it is needed

    encoding.check(items)
    return partial(encoding.safetensors, crc_check=crc_check, remove_redundancy=remove_redundancy)


# -- arguments, in the order in which MindSpore looks at them ---------------------------------------------


def _target(save_obj: object, name: object, format: object) -> str:
    """Return the absolute path of the file to be written."""
    if format not in (CKPT, SAFETENSORS):
        raise ArgumentError(f"format must be 'ckpt' or 'safetensors', not {format!r}")
    if not isinstance(save_obj, (Cell, list, Mapping)) and not is_foreign_net(save_obj):
        raise ArgumentTypeError(
            f"save_obj must be a network, a list, a dict or an open reader, not {type(save_obj).__name__}"
        )
    given = os.fspath(name) if isinstance(name, os.PathLike) else name
    if not isinstance(given, str):
        raise ArgumentTypeError(f"ckpt_file_name must be a str or a pathlib.Path, not {type(given).__name__}")
    try:
        path = os.path.realpath(given)
    except ValueError as error:
        raise ArgumentError(f"{given!r} is not a path: {error}") from error
    # A folder is refused under the name that was given, and under the one that it is completed to.
    for completed in (path, path if path.endswith(str(format)) else f"{path}.{format}"):
        if os.path.isdir(completed):  # noqa: PTH112 -- a string throughout, as the temporary name is made of it
            raise TargetIsFolderError("the file cannot be saved: a folder has its name", path=completed)
    return completed


def _check_types(
    integrated_save: object,
    async_save: object,
    append_dict: object,
    enc_key: object,
    enc_mode: object,
    crc_check: object,
    kwargs: Mapping[str, object],
) -> None:
    """Check types as MindSpore does: without conversions. No message shows a key."""
    if not isinstance(integrated_save, bool):
        raise ArgumentTypeError(f"integrated_save must be True or False, not {integrated_save!r}")
    if not isinstance(async_save, (bool, str)):
        raise ArgumentTypeError(f"async_save must be True, False, 'thread' or 'process', not {async_save!r}")
    if isinstance(async_save, str) and async_save not in (_THREAD, _PROCESS):
        raise ArgumentError(f"async_save must be True, False, 'thread' or 'process', not {async_save!r}")
    check_append_dict(append_dict)
    if enc_key is not None and not isinstance(enc_key, bytes):
        raise ArgumentTypeError(
            f"enc_key must be bytes or None, not {type(enc_key).__name__}", hint="for example bytes.fromhex('...')"
        )
    if not isinstance(enc_mode, str):
        raise ArgumentTypeError(f"enc_mode must be a str, not {type(enc_mode).__name__}")
    if not isinstance(crc_check, bool):
        raise ArgumentTypeError(f"crc_check must be True or False, not {crc_check!r}")
    flag = kwargs.get("remove_redundancy")
    if flag is not None and not isinstance(flag, bool):
        raise ArgumentTypeError(f"remove_redundancy must be True, False or None, not {flag!r}")


def _check_combination(
    format: str, enc_key: bytes | None, enc_mode: str, crc_check: bool, kwargs: Mapping[str, object]
) -> None:
    if format == SAFETENSORS:
        if enc_key is not None or enc_mode != AES_GCM:
            raise ArgumentError(
                "a safetensors file cannot be encrypted, so enc_key and enc_mode do not apply",
                hint="leave both out, or save as .ckpt",
            )
        for argument, default in (("incremental", False), ("global_step_num", None)):
            if kwargs.get(argument, default) != default:
                raise ArgumentError(f"{argument} can be given for format='ckpt' only")
    if enc_key is not None:
        check_encryption(enc_key, enc_mode, crc_check=crc_check)
