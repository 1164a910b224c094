"""The commands, for both programs: the one with the extra `cli` and the one without."""

from __future__ import annotations

from typing import Final

#: Commands in the order of the help, each with its module and its name there.
COMMANDS: Final = {
    "inspect": ("inspect", "command"),
    "show": ("show", "command"),
    "verify": ("verify", "command"),
    "diff": ("diff", "command"),
    "convert": ("convert", "command"),
    "map": ("map", "command"),
    "strategy": ("strategy", "command"),
    "encrypt": ("encrypt", "encrypt"),
    "decrypt": ("encrypt", "decrypt"),
    "report": ("report", "command"),
    "merge": ("merge", "command"),
    "reshard": ("reshard", "command"),
    "completion": ("completion", "command"),
    "help": ("help", "help_"),
    "version": ("help", "version"),
}
