"""The files of the other ranks beside a rank's own: the same checkpoint of the same step."""

from __future__ import annotations

import logging
import os
import re
from typing import Final

from ckptload.errors import CheckpointError
from ckptload.formats.entry import CKPT, SAFETENSORS
from ckptload.ranks.layout_numbers import MAX_DEVICES
from ckptload.sources.folders import below, contents

_RANK: Final = re.compile(r"rank_(\d{1,9})", re.ASCII)

_log = logging.getLogger("ckptload")


def files_beside(path: str) -> tuple[int, dict[int, str]] | None:
    """Return the rank of a file in a folder such as ``rank_3``, and the files of all ranks of its set.

    Of the other folders the file of the same name is taken, where a rank's own number may stand in the name
    (``net_3.ckpt``, ``net_rank_3-1_4.ckpt``); or else the only one of this format. A folder with neither is left out.

    Args:
        path: path or URL of a rank's file.

    Returns:
        None if the file is in no such folder, or the folders cannot be read.
    """
    folder, name = _split(path)
    parent, own = _split(folder)
    found = _RANK.fullmatch(own)
    ending = next((ending for ending in (CKPT, SAFETENSORS) if name.endswith(f".{ending}")), None)
    if found is None or ending is None or int(found[1]) >= MAX_DEVICES:
        return None
    rank = int(found[1])
    paths = {rank: path}
    try:
        for each, is_folder in contents(parent).items():
            other = _RANK.fullmatch(each)
            if is_folder and other is not None and int(other[1]) < MAX_DEVICES and int(other[1]) != rank:
                place = below(parent, each)
                chosen = _like(
                    name, rank, int(other[1]), [n for n, inner in contents(place).items() if not inner], ending
                )
                if chosen is None:
                    _log.info("no file like %s in %s", name, place)
                else:
                    paths[int(other[1])] = below(place, chosen)
    except CheckpointError as error:
        _log.info("the folders beside %s cannot be read: %s", folder, error)
        return None
    return rank, dict(sorted(paths.items()))


def _split(path: str) -> tuple[str, str]:
    place = path if "://" in path else os.path.abspath(path)  # noqa: PTH100 -- links are not followed
    head, _, tail = place.replace(os.sep, "/").rpartition("/") if "://" not in place else place.rpartition("/")
    return head, tail


def _like(name: str, rank: int, other: int, names: list[str], ending: str) -> str | None:
    """Return the name of the file of another rank that belongs to one of this rank."""
    if name in names:
        return name
    alike = [each for each in names if _without(each, other) == _without(name, rank)]
    same = [each for each in names if each.endswith(f".{ending}")]
    return alike[0] if len(alike) == 1 else same[0] if len(same) == 1 else None


def _without(name: str, rank: int) -> str:
    """Return a name with a mark in the place of the rank's number, behind ``rank_`` or at the end of the stem."""
    return re.sub(rf"(?<=rank_){rank}(?!\d)|(?<!\d){rank}(?=\.\w+$)", "*", name)
