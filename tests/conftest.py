"""What holds for all tests."""

from __future__ import annotations

import signal

# What is started in the background begins with SIGINT ignored, and hands that on to what it starts: the tests of
# interrupts would then interrupt nothing.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)
