"""`save_checkpoint`: MindSpore's function, which here never loses a file.

It checks the arguments first, then gathers and checks what to save, and only then writes.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from functools import partial
from typing import TYPE_CHECKING, Any, Final

from ckptload.encryption.ciphers import AES_GCM, check_types, load_library
from ckptload.encryption.keys import hidden
from ckptload.errors import ArgumentError, ArgumentTypeError, Hint, enough_memory, importable
from ckptload.formats.ckpt.encoding import ckpt
from ckptload.formats.entry import CKPT, SAFETENSORS, check_format
from ckptload.messages import shown_value, type_name
from ckptload.nets.cell import Cell
from ckptload.nets.foreign import is_foreign_net
from ckptload.ranks import redundancy
from ckptload.ranks.communicators import check_place, communicator_of, found
from ckptload.ranks.exchange import check_size
from ckptload.ranks.strategy_files import read_strategy
from ckptload.writing.background import Saves
from ckptload.writing.gathering import check_append_dict, detached, gather, snapshot
from ckptload.writing.output import check_encryptable, check_encryption, write_file
from ckptload.writing.targets import place

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

#: Permission bits of a file unless `mode` says otherwise, as in MindSpore (2.10.0, train/serialization.py:473): the
#: owner may read, nobody may write.
_MODE: Final = 0o400
_MOST: Final = 0o777
_OCTAL: Final = "permission bits are written in octal, for example 0o644"

#: The options in ``**kwargs`` that are looked at.
_OPTIONS: Final = frozenset({"remove_redundancy", "incremental", "global_step_num"})

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
    *,
    mode: int | None = None,
    strategy: Any = None,
    communicator: Any = None,
    **kwargs: Any,
) -> None:
    """Save parameters to a file that MindSpore and ckptload can load.

    The file is complete and on the disk before it replaces an old one: if anything goes wrong, the old file
    is unchanged. Unless `mode` says otherwise, the new file is readable by its owner only and writable by nobody.

    Args:
        save_obj: a Cell; a list of Parameters or of ``{"name": name, "data": tensor}``; a dictionary of names
            and Parameters, Tensors, numpy arrays, numbers or strings, such as `load_checkpoint` returns; or an open
            reader, which is copied in small pieces. A ``mindspore.nn.Cell``, MindSpore's own Parameters and
            Tensors, and a ``torch.nn.Module`` (converted as by `from_torch`) are saved, too. If a name occurs
            twice, the last value is saved.
        ckpt_file_name: path of the file. ``.ckpt`` or ``.safetensors`` is added unless it ends with the
            format's name. A symbolic link is followed, and the file at its end is replaced whatever that is called.
        integrated_save: accepted but not used; it concerns nets that are split across devices.
        async_save: True or ``"thread"`` to save in a thread, from a copy of the values; ``"process"`` to save
            in a forked process, without a copy (in a thread if the system cannot fork). Every save waits
            for the previous one. The interpreter waits for all of them when it exits.
        append_dict: more entries, written after the parameters: numbers, strings, Tensors or Parameters. An
            entry with a parameter's name replaces it.
        enc_key: key to encrypt with: 16, 24 or 32 bytes for AES, 16 for SM4. None for a plain file.
        enc_mode: ``"AES-GCM"``, ``"AES-CBC"`` or ``"SM4-CBC"``.
        choice_func: called once with each name of `save_obj`; returns whether to save the entry. Its
            exceptions are not caught. It is not applied to `append_dict`.
        crc_check: add a CRC-32 to the file; it detects accidental damage but not tampering.
        format: ``"ckpt"`` or ``"safetensors"``.
        mode: permission bits of the file, 0 to 0o777, whatever the umask and the mode of an old file. None for 0o400,
            as in MindSpore.
        strategy: with ``remove_redundancy=True``: the strategy of the job, or its path. Of ranks that hold the same
            slice, one saves it; what has no layout is saved by all. None with `communicator`: every rank has the whole
            net, and each name is saved by one of them.
        communicator: with ``remove_redundancy=True``: says which rank this is (see `load_checkpoint`). None takes the
            one that is set up in this process, if `strategy` is given. Nothing is sent.
        **kwargs: `remove_redundancy` (True or False) is recorded in a safetensors file; `incremental` and
            `global_step_num` are accepted for .ckpt files. All others are ignored, as in MindSpore.

    Raises:
        CheckpointError: base of all errors; a ValueError.
        ArgumentTypeError: an argument or a value is of the wrong type (also a TypeError).
        ArgumentError: arguments exclude each other: `enc_key` with `crc_check`, with a map or with
            ``format="safetensors"``; or a name is longer than 1024 characters.
        WriteError: the system could not write (also an OSError, of the class for its reason).
        BackgroundSaveError: the previous asynchronous save failed; this call saved nothing.

    Warns:
        UserWarning: several parameters have the same name, of which only the last is saved.
    """
    # The options that are ignored may have a key among them, too.
    enc_key, kwargs = hidden(enc_key), {name: kwargs[name] for name in _OPTIONS & kwargs.keys()}
    path = _target(save_obj, ckpt_file_name, format)
    _check_types(integrated_save, async_save, append_dict, enc_key, enc_mode, crc_check, kwargs)
    _check_combination(format, enc_key, enc_mode, crc_check, kwargs)
    permissions = _MODE if mode is None else _checked_mode(mode)
    if enc_key is not None:
        load_library()
    with enough_memory("to save the checkpoint", path=path):
        if strategy is not None or communicator is not None:
            choice_func = _share(save_obj, choice_func, strategy, communicator, kwargs.get("remove_redundancy"))
        items = gather(save_obj, append_dict, choice_func)
        if enc_key is not None:
            check_encryptable(items)
        encode = _encoder(format, items, crc_check, kwargs.get("remove_redundancy"), by_rows=bool(async_save))
        if not async_save:
            _saves.wait(path)
            _write(path, encode, items, enc_key, enc_mode, permissions)
            return
        forks = async_save == _PROCESS and hasattr(os, "fork")

        def prepare() -> Callable[[], None]:
            # A forked process has its own copy of the memory, but shares the position in an open file.
            taken = [detached(item) if forks else snapshot(item) for item in items]
            return partial(_write, path, encode, taken, enc_key, enc_mode, permissions)

        _saves.start(path, prepare, process=forks)


def _write(path: str, encode: Encoder, items: Sequence[Item], key: bytes | None, mode: str, permissions: int) -> None:
    """Write the file. Not a closure: the traceback of a failure would keep the values and the key with it."""
    write_file(path, encode(items), key=key, mode=mode, permissions=permissions)


def wait_for_saves() -> None:
    """Wait until every asynchronous save has ended; the next one raises the failure of the last."""
    _saves.wait()


def _share(
    save_obj: Values, choice_func: Callable[[str], Any] | None, strategy: Any, communicator: Any, remove: object
) -> Callable[[str], Any]:
    """Return a function that tells whether this rank saves an entry (docs/ranks.md, "On a cluster")."""
    if remove is not True:
        raise ArgumentError(
            "strategy and communicator say what a rank saves with remove_redundancy=True only",
            hint="say that it is removed, or leave them out",
        )
    talker = communicator_of(communicator) or found()
    if talker is None:
        raise ArgumentError(
            "which rank this is can only be known from a communicator, and none is set up in this process",
            hint=Hint("{communicator}", ", or call this where torch.distributed, MindSpore or mpi4py is initialised"),
        )
    rank, size = check_place(talker.rank, talker.size)
    chosen: dict[str, None] = {}

    def note(name: str) -> bool:
        if choice_func is None or choice_func(name):
            chosen[name] = None
        return False

    gather(save_obj, None, note)
    if strategy is None:
        groups = {name: [tuple(range(size))] for name in sorted(chosen)}
    else:
        layouts = read_strategy(strategy)
        check_size(layouts, size)
        stage = layouts.stage_of(rank)
        groups = redundancy.groups(layouts.layouts(stage), layouts.firsts[stage])
    mine = redundancy.shares(groups).get(rank, set())
    return lambda name: name in chosen and (name in mine or not groups.get(name))


def _encoder(
    format: str, items: Sequence[Item], crc_check: bool, remove_redundancy: bool | None, *, by_rows: bool
) -> Encoder:
    """Check that the format can hold the items, and return the function that encodes them."""
    if format == CKPT:
        return partial(ckpt, crc_check=crc_check, by_rows=by_rows)
    with importable("safetensors"):
        from ckptload.formats.safetensors import encoding  # noqa: PLC0415 -- imported only when it is needed

    encoding.check(items)
    return partial(encoding.safetensors, crc_check=crc_check, remove_redundancy=remove_redundancy)


# -- arguments, in MindSpore's order (2.10.0, train/serialization.py, save_checkpoint) ----------------------


def _target(save_obj: object, name: object, format: object) -> str:
    """Check the first arguments, and return the absolute path of the file to write."""
    check_format(format)
    if not isinstance(save_obj, (Cell, list, Mapping)) and not is_foreign_net(save_obj):
        raise ArgumentTypeError(
            f"save_obj must be a network, a list, a dict or an open reader, not {type_name(save_obj)}"
        )
    given = os.fspath(name) if isinstance(name, os.PathLike) else name
    if not isinstance(given, str):
        raise ArgumentTypeError(f"ckpt_file_name must be a str or a pathlib.Path, not {type_name(given)}")
    # Neither what has the given path nor what has the one with its ending added may be anything but a file.
    return place(given, lambda path: path if path.endswith(str(format)) else f"{path}.{format}")


def _check_types(
    integrated_save: object,
    async_save: object,
    append_dict: object,
    enc_key: object,
    enc_mode: object,
    crc_check: object,
    kwargs: Mapping[str, object],
) -> None:
    """Check types as MindSpore does, without conversions. No message shows a key."""
    if not isinstance(integrated_save, bool):
        raise ArgumentTypeError(f"integrated_save must be True or False, not {shown_value(integrated_save)}")
    if not isinstance(async_save, (bool, str)):
        raise ArgumentTypeError(f"async_save must be True, False, 'thread' or 'process', not {shown_value(async_save)}")
    if isinstance(async_save, str) and async_save not in (_THREAD, _PROCESS):
        raise ArgumentError(f"async_save must be True, False, 'thread' or 'process', not {shown_value(async_save)}")
    check_append_dict(append_dict)
    check_types(enc_key, enc_mode, argument="enc_key")
    if not isinstance(crc_check, bool):
        raise ArgumentTypeError(f"crc_check must be True or False, not {shown_value(crc_check)}")
    flag = kwargs.get("remove_redundancy")
    if flag is not None and not isinstance(flag, bool):
        raise ArgumentTypeError(f"remove_redundancy must be True, False or None, not {shown_value(flag)}")


def _checked_mode(mode: object) -> int:
    if isinstance(mode, bool) or not isinstance(mode, int):
        raise ArgumentTypeError(f"mode must be an int or None, not {shown_value(mode)}", hint=_OCTAL)
    if not 0 <= mode <= _MOST:
        raise ArgumentError(f"mode must be between 0 and 0o777, not {mode:#o}", hint=_OCTAL)
    return mode


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
