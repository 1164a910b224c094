"""How the files of a set of shards are called, as in Hugging Face's libraries and while a set replaces another."""

from __future__ import annotations

import re
from typing import Final

#: The names that Hugging Face's libraries look for in a folder.
SINGLE: Final = "model.safetensors"
INDEX: Final = "model.safetensors.index.json"

BETWEEN: Final = re.compile(r"model-[0-9a-f]{16}-\d{5}-of-\d{5}\.safetensors", re.ASCII)
#: Files that conversions write, and therefore remove when an index that named them is replaced.
OURS: Final = re.compile(rf"model(-\d{{5}}-of-\d{{5}})?\.safetensors|{BETWEEN.pattern}", re.ASCII)


def plain_names(number: int, id_: str | None = None) -> list[str]:
    """Return the names of the shards of a set; with the set's ID, those in between."""
    if number == 1 and id_ is None:
        return [SINGLE]
    between = "" if id_ is None else f"-{id_}"
    return [f"model{between}-{one:05}-of-{number:05}.safetensors" for one in range(1, number + 1)]
