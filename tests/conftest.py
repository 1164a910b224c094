"""What holds for all tests."""

from __future__ import annotations

import gc
import signal

from hypothesis import HealthCheck, settings

# What is started in the background begins with SIGINT ignored, and hands that on to what it starts: the tests of
# interrupts would then interrupt nothing.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

# A loaded machine fails no test: nothing is said about how long an example takes, or how long it takes to make one.
# Fixtures of a test are shared by its examples on purpose.
settings.register_profile(
    "ckptload",
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large, HealthCheck.function_scoped_fixture],
)
settings.load_profile("ckptload")

# Twenty thousand tests are objects that stay to the end: no collection looks at them, neither while they are made nor
# afterwards.
gc.disable()


def pytest_collection_finish() -> None:
    gc.freeze()
    gc.enable()
