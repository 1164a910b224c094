"""The command `ckptload`, which is also ``python -m ckptload``."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from ckptload.cli import plain, text

if TYPE_CHECKING:
    from collections.abc import Sequence


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command.

    Args:
        arguments: what stands behind the command's name; those of the process by default.

    Returns:
        The exit code: 0 for success, 1 for a damaged file, 2 for wrong use or a file that cannot be
        read, 3 for an encrypted file without a key.
    """
    text.prepare_streams()
    try:
        code = plain.run(sys.argv[1:] if arguments is None else arguments)
        sys.stdout.flush()
    except BrokenPipeError:
        # What reads our output, such as head, has seen enough.
        text.abandon(sys.stdout)
        return text.SOUND
    except KeyboardInterrupt:
        return text.INTERRUPTED
    return code


if __name__ == "__main__":
    sys.exit(main())
