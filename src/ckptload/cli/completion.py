"""`ckptload completion`: the script that has a shell complete the words of a command line."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Final

import click
from click.shell_completion import (
    BashComplete,
    CompletionItem,
    FishComplete,
    add_completion_class,
    get_completion_class,
)

from ckptload.cli import options, text

if TYPE_CHECKING:
    from ckptload.cli.terminal import Terminal

#: The name of the program, and the variable that a shell sets to ask for completions.
PROGRAM: Final = "ckptload"
VARIABLE: Final = "_CKPTLOAD_COMPLETE"
SHELLS: Final = ("bash", "zsh", "fish")


@add_completion_class
class _Bash(BashComplete):
    """bash: click's own script forgets all words where a file may be meant as well, and cuts options at ``=``."""

    source_template = """\
%(complete_func)s() {
    local IFS=$'\\n' item value
    COMPREPLY=()
    for item in $(env COMP_WORDS="${COMP_WORDS[*]}" COMP_CWORD=$COMP_CWORD %(complete_var)s=bash_complete "$1"); do
        value="${item#*,}"
        case "$item" in
            plain,*) COMPREPLY+=("$value") ;;
            file,*|dir,*)
                compopt -o default -o filenames
                for item in $(compgen -f -- "$value"); do COMPREPLY+=("$item"); done ;;
        esac
    done
}
complete -o nosort -F %(complete_func)s %(prog_name)s
"""

    def get_completion_args(self) -> tuple[list[str], str]:
        """Return the words; bash makes three of ``--sort=size``."""
        words, incomplete = super().get_completion_args()
        pairs = zip(["", *words], words, strict=False)
        return [word for before, word in pairs if word != "=" or not before.startswith("--")], incomplete


@add_completion_class
class _Fish(FishComplete):
    """fish: click's own script cuts a word at its first comma, and offers only the value in ``--sort=size``."""

    source_template = FishComplete.source_template.replace('(string split ","', '(string split --max 1 ","')

    def get_completions(self, args: list[str], incomplete: str) -> list[CompletionItem]:
        """Return what is offered, with the option before a value if both are one word."""
        found = super().get_completions(args, incomplete)
        option, sign, _ = incomplete.partition("=")
        if option.startswith("--") and sign:
            return [CompletionItem(f"{option}={item.value}", item.type) for item in found]
        return found


@click.command(cls=options.Command)
@click.argument("shell", type=click.Choice(SHELLS))
@options.common
def command(*, shell: str, terminal: Terminal) -> int:  # noqa: ARG001 -- every command has one
    """Print the script for completion in a shell.

    It completes commands, options, their values, files, and names of entries. bash must be 4.4 or newer.

    Examples:
      echo 'eval "$(ckptload completion bash)"' >> ~/.bashrc
      echo 'eval "$(ckptload completion zsh)"' >> ~/.zshrc
      ckptload completion fish > ~/.config/fish/completions/ckptload.fish
    """
    sys.stdout.write(script(shell))
    return text.SOUND


def script(shell: str) -> str:
    """Return the script for a shell."""
    found = get_completion_class(shell)
    if found is None:  # Those of `SHELLS` are click's own.
        raise click.UsageError(f"{shell} is not known")
    one = found(click.Command(PROGRAM), {}, PROGRAM, VARIABLE)
    # Not `source()`, which starts a bash to learn its version.
    return str(one.source_template % one.source_vars())
