"""Settings that nobody has changed are those of MindSpore, which is asked in a process of its own."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

from ckptload import context

pytestmark = pytest.mark.mindspore

#: They depend on the machine, or on what is built into MindSpore.
OF_THE_MACHINE = {"runtime_num_threads", "comm_fusion", "strategy_ckpt_config"}

_ASK = """
import json, sys, mindspore
found = {}
for function, names in json.load(sys.stdin).items():
    for name in names:
        try:
            found[name] = getattr(mindspore, function)(name)
        except ValueError:
            pass  # it can be set only
print(json.dumps(found))
"""


def test_defaults_are_mindspores() -> None:
    pytest.importorskip("mindspore")
    tables = {"get_context": context._GENERAL._defaults, "get_auto_parallel_context": context._PARALLEL._defaults}
    asked = json.dumps({function: list(table) for function, table in tables.items()})
    done = subprocess.run([sys.executable, "-c", _ASK], input=asked, check=True, capture_output=True, text=True)
    theirs = json.loads(done.stdout.splitlines()[-1])
    ours = {name: value for table in tables.values() for name, value in table.items() if name in theirs}
    assert len(ours) > 50
    assert {name: value for name, value in ours.items() if value != theirs[name]}.keys() <= OF_THE_MACHINE
