"""The placeholders of hints in the words of the command line; `errors.WORDS` has the same keys for Python."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from ckptload.errors import Words

#: None if the command line does not have a counterpart.
WORDS: Final[Words] = {
    # Opening
    "allow_unauthenticated": "pass --allow-unauthenticated",
    "as_ckpt": None,
    "as_index": None,
    "as_safetensors": None,
    "check_key": "check the key, --key-format and --mode",
    "first_copy": "pass --copies first",
    "give_key": "give its key with --key-file FILE --key-format hex (or raw)",
    "max_records": "--max-records",
    "mode": "--mode ",
    "mode_of_the_file": None,
    "open_file": None,
    "open_with_key": None,
    "open_ours": None,
    "open_torch": "inspect shows what is in it, and convert writes it as a .ckpt or .safetensors file",
    "pipe": "send it through standard input and give -, or write it to a file first",
    "raw_key": "check the key and the mode",
    "skip_crc": None,
    # Choosing and naming entries
    "exclude": "--exclude",
    "fewer": "take fewer entries with --include",
    "name_map": "--map",
    "rules": "answer the questions with --rule OLD=NEW",
    "strategy": "pass --strategy",
    # Writing
    "crc": "--crc",
    "existing": "pass --existing skip to keep files that are complete, or --existing replace",
    "replace": "--force to replace what is there",
    "shard_size": "--shard-size ",
    "to": "--to",
    # Only in Python
    "communicator": None,
    "rank_paths": None,
    "give_rank": None,
    "filter_result": None,
    "own_parameters": None,
    "prefixes": None,
    "skip_misfits": None,
    "strict_load": None,
    "unmapped": None,
}
