"""Fuzz one target by coverage: ``python tests/fuzz/run.py plain --seconds 60``.

Needs atheris (``pip install atheris``). The corpus starts from tests/fixtures and is kept in the
folder given by --corpus, so that a longer run goes on where the last one stopped. A finding ends the
run with exit code 1 and stands in crash-* in the working directory; put it into tests/fuzz/found/TARGET
with a name that says what it is.
"""

from __future__ import annotations

import argparse
import resource
import sys
import tempfile
from pathlib import Path

import atheris

sys.path.insert(0, str(Path(__file__).parents[1]))
with atheris.instrument_imports(include=["ckptload"]):
    from fuzz import targets


def main() -> None:
    """Parse the command line and hand over to libFuzzer, which ends the process."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("target", choices=sorted(targets.TARGETS))
    parser.add_argument("--seconds", type=int, default=60)
    parser.add_argument("--corpus", type=Path, help="folder that keeps what was learnt; a temporary one by default")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        corpus = options.corpus or Path(temporary)
        corpus.mkdir(parents=True, exist_ok=True)
        for number, data in enumerate(targets.seeds(options.target)):
            (corpus / f"seed-{number:03}").write_bytes(data)
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        atheris.Setup(
            [
                sys.argv[0],
                str(corpus),
                f"-max_total_time={options.seconds}",
                "-timeout=10",  # one input must not take longer, in seconds
                "-rss_limit_mb=1024",
                f"-max_len={targets.LARGEST_SEED}",
                f"-dict={Path(__file__).with_name('words.dict')}",
                "-print_final_stats=1",
            ],
            lambda data: targets.run(options.target, data),
        )
        sys.stdout.write(f"{options.target}: resident memory before fuzzing {before // 1024} MB\n")
        sys.stdout.flush()
        atheris.Fuzz()


if __name__ == "__main__":
    main()
