"""`ckptload verify`: check that a file is what its writer wrote."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

import click

from ckptload import Coverage
from ckptload.cli import files, options, pieces, stats, text
from ckptload.cli.progress import Progress, Waiting
from ckptload.cli.standard import place
from ckptload.errors import (
    ArgumentError,
    CheckpointError,
    CorruptCheckpointError,
    EmptyCheckpointError,
    ForeignFieldWarning,
    UnsupportedTypeError,
)
from ckptload.shown import printable

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from ckptload import Entry, Reader
    from ckptload.cli.keys import KeyChoice
    from ckptload.cli.sets import Ranks
    from ckptload.cli.terminal import Terminal
    from ckptload.encryption.keys import Key

_COLORS: Final = {text.SOUND: "green", text.UNCHECKED: "yellow"}
#: The verdict by exit code, for people and in JSON.
_WORDS: Final = {
    text.SOUND: ("valid", "sound"),
    text.DAMAGED: ("DAMAGED", "damaged"),
    text.UNCHECKED: ("nothing to verify against", "unchecked"),
    text.OTHER_KIND: ("ANOTHER KIND OF FILE", "other kind"),
    text.MISSING: ("MISSING FILES", "missing"),
    text.UNSUPPORTED: ("not supported", "unsupported"),
}
_NOT_CHECKED: Final = ("not checked", "not checked")
#: The verdict for people on a file of which a part is verified.
_IN_PART: Final = "verified in part"
#: What to do about what is not covered.
_COMPARE: Final = "compare the file's SHA-256 with one that you trust"
_ADD_SUM: Final = "; or, if you trust the file, write it again with convert --crc"


@dataclass
class _Finding:
    """One thing that was found.

    Attributes:
        kind: what it is, in the words of JSON (docs/cli.md, "JSON").
        error: its description, which need not have been raised.
        is_note: whether it leaves the verdict as it is.
    """

    kind: str
    error: CheckpointError
    is_note: bool = False


@dataclass
class _Verdict:
    """The result of checking one file."""

    path: str
    code: int = text.SOUND
    entries: int = 0
    coverage: Coverage = field(default_factory=Coverage)
    is_encrypted: bool = False
    checks: list[str] = field(default_factory=list)
    findings: list[_Finding] = field(default_factory=list)
    _seen: set[tuple[str, str | None, str | None, int | None]] = field(default_factory=set)

    def found(self, error: CheckpointError, kind: str | None = None) -> None:
        """Add a finding, unless it is a whole shard's and was found for another of its tensors."""
        code = text.exit_code(error)
        key = text.identity(error)
        if key not in self._seen:
            self._seen.add(key)
            self.findings.append(_Finding(kind or text.KINDS[code], error))
        self.code = text.worst([self.code, code])

    @property
    def shown(self) -> str:
        """The verdict for people."""
        if self.code == text.UNCHECKED and self.coverage.gaps:
            return _IN_PART
        return _WORDS.get(self.code, _NOT_CHECKED)[0]

    def note(self, kind: str, error: CheckpointError) -> None:
        """Add a finding that leaves the verdict as it is."""
        self.findings.append(_Finding(kind, error, is_note=True))


@click.command(cls=options.Command)
@click.argument("paths", nargs=-1, required=True, type=options.FILE, metavar="FILE...")
@click.option("--finite", is_flag=True, help="Read every tensor; NaN and infinity count as damage.")
@click.option("--allow-unchecked", is_flag=True, help="Exit with 0 if nothing vouches for all of the file.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON for programs.")
@options.ranks
@options.limit
@options.key_to_read
@options.common
def command(
    *,
    paths: tuple[str, ...],
    finite: bool,
    allow_unchecked: bool,
    as_json: bool,
    ranks: Ranks,
    max_records: int | None,
    key: KeyChoice,
    terminal: Terminal,
) -> int:
    """Check that files are complete and undamaged.

    The structure of every entry is checked, the CRC-32, and the authentication tags of encrypted files; - means
    standard input. A file is valid only if a CRC-32, the tags of AES-GCM, or a SHA-256 in its name
    (resnet18-1e65cd21.ckpt) were checked, match, and cover all of it: the data, names, dtypes and shapes of all
    entries, their order, and that none is missing. A file without them, or of which they leave something out, can
    have a valid structure and still hold a wrong value; it gets exit code 4, and what is left out is listed. An index
    of shards is compared with all of them.

    Exit code:
      0  valid
      1  damaged
      2  wrong use, or a file that cannot be read
      3  encrypted, and no key was given
      4  no damage found, but nothing to verify against, or not for all of the file
      5  a file of another kind
      6  files of a sharded checkpoint are missing
    Of several files the worst counts, in the order 1, 2, 3, 5, 6, 4, 0.

    Entries of types that are not supported are listed; they are not damage.

    Examples:
      ckptload verify model.ckpt
      ckptload verify --allow-unchecked --quiet *.ckpt && echo all good
      ckptload verify --finite checkpoints/
    """
    secret = key.read()
    verdicts = []
    every = files.expand(paths)
    ranks.check(every)
    for path in every:
        with files.noted(terminal, but=ForeignFieldWarning):
            verdict = _judge(path, secret, key, terminal, ranks, max_records=max_records, finite=finite)
        if verdict.code == text.UNCHECKED and allow_unchecked:
            verdict.code = text.SOUND
        verdicts.append(verdict)
        if verdict.code in {text.USAGE, text.NEEDS_KEY}:
            for finding in verdict.findings:
                terminal.complain(finding.error, path)
        elif not as_json and not terminal.quiet:
            terminal.write(_lines(verdict, terminal))
    if as_json:
        terminal.write(text.document(files=[_as_data(verdict) for verdict in verdicts]))
    return text.worst(verdict.code for verdict in verdicts)


def _judge(
    path: str,
    secret: Key | None,
    key: KeyChoice,
    terminal: Terminal,
    ranks: Ranks,
    *,
    max_records: int | None,
    finite: bool,
) -> _Verdict:
    verdict = _Verdict(place(path))
    try:
        with files.open_file(path, secret, key, max_records=max_records, opens=ranks.opens(path)) as reader:
            _check(reader, verdict, terminal, finite=finite)
            if ranks.takes(path):
                verdict.checks += ["all ranks", "copies whole"]
                for note in reader.notes:
                    verdict.note(text.SET, CheckpointError(note.text))
    except CheckpointError as error:
        verdict.found(error)
    return verdict


def _check(reader: Reader, verdict: _Verdict, terminal: Terminal, *, finite: bool) -> None:
    """Run all checks; a finding only stops the checks that depend on it."""
    verdict.entries = len(reader)
    if not verdict.entries and not reader.kept_strings():
        verdict.found(EmptyCheckpointError("the file has no entries", hint="save it again"))
    sound = list(_structure(reader, verdict))
    verdict.checks.append("structure")
    unsupported = text.unsupported(sound)
    if unsupported is not None:
        verdict.note(text.KINDS[text.UNSUPPORTED], UnsupportedTypeError(unsupported))
    steps = [lambda: _authenticated(reader, verdict), lambda: _summed(reader, verdict)]
    steps.append(lambda: _named(reader, verdict))
    steps.append(lambda: _indexed(reader, verdict))
    steps.append(lambda: _texts(reader, sound, verdict))
    with Waiting(terminal, "checking"):
        for step in steps:
            _attempt(step, verdict)
    verdict.coverage, verdict.is_encrypted = reader.coverage(), reader.cipher is not None
    _foreign(reader, verdict)
    if finite:
        _attempt(lambda: _finite(reader, sound, verdict, terminal), verdict)
    if verdict.code == text.SOUND and not verdict.coverage.whole:
        verdict.code = text.UNCHECKED


def _attempt(step: Callable[[], None], verdict: _Verdict) -> None:
    try:
        step()
    except CheckpointError as error:
        verdict.found(error)


def _authenticated(reader: Reader, verdict: _Verdict) -> None:
    reader.authenticate()
    if reader.facts.authenticated:
        verdict.checks.append(f"authentication ({reader.cipher})")


def _summed(reader: Reader, verdict: _Verdict) -> None:
    if reader.verify_crc():
        verdict.checks.append("CRC-32")


def _foreign(reader: Reader, verdict: _Verdict) -> None:
    """Note fields that no MindSpore writes: damage, unless a sum or tags vouch for the bytes."""
    foreign = reader.facts.foreign
    if foreign.number:
        hint = "parameters may be missing or changed; "
        if verdict.coverage.bytes:
            hint += "the file is as its writer wrote it, so compare its entries with the network's"
            verdict.note(text.FOREIGN, CorruptCheckpointError(str(foreign), hint=hint))
        else:
            hint += "fetch the file again"
            verdict.found(CorruptCheckpointError(str(foreign), hint=hint), text.FOREIGN)


def _named(reader: Reader, verdict: _Verdict) -> None:
    if reader.verify_name():
        verdict.checks.append("SHA-256 in the name")


def _indexed(reader: Reader, verdict: _Verdict) -> None:
    """Record what does not fit between an index and its shards."""
    for error in reader.check_index():
        verdict.found(error)
        if isinstance(error, ArgumentError):
            # That slices need their strategy is said once, and not of each.
            return


def _structure(reader: Reader, verdict: _Verdict) -> Iterator[Entry]:
    """Yield the valid entries; record the errors of the others."""
    for name in reader:
        entry = _entry(reader, name, verdict)
        if entry is not None:
            yield entry


def _entry(reader: Reader, name: str, verdict: _Verdict) -> Entry | None:
    try:
        return reader.info(name)
    except CheckpointError as error:
        verdict.found(error)
        return None


def _texts(reader: Reader, entries: list[Entry], verdict: _Verdict) -> None:
    """Read the strings: the index does not show whether they are valid."""
    for entry in entries:
        if entry.kind == "string":
            _attempt(lambda name=entry.name: reader[name], verdict)  # type: ignore[misc]


def _finite(reader: Reader, entries: list[Entry], verdict: _Verdict, terminal: Terminal) -> None:
    """Look for NaN and infinity in every tensor, the tensors of maps included."""
    tensors = [entry for entry in entries if entry.dtype is not None]
    with Progress(terminal, "looking for NaN and Inf", sum(entry.nbytes for entry in tensors)) as progress:
        for entry, arrays in pieces.of_tensors(reader, tensors):
            _note(entry, stats.of(entry.dtype, arrays), verdict)
            progress.advance(entry.nbytes)
    for entry in entries:
        if entry.kind == "map":
            for part, array in zip(entry.parts, reader[entry.name], strict=True):
                _note(entry, stats.of(part.dtype, [array.reshape(-1)]), verdict)
    verdict.checks.append("finite values")


def _note(entry: Entry, found: stats.Stats | None, verdict: _Verdict) -> None:
    if found is not None and (found.nan or found.inf):
        verdict.found(
            CheckpointError(
                f"{text.grouped(found.nan)} NaN and {text.grouped(found.inf)} infinite of "
                f"{text.counted(found.count, 'element', 'elements')}",
                name=entry.name,
            )
        )


def _lines(verdict: _Verdict, terminal: Terminal) -> Iterator[str]:
    word = terminal.style(verdict.shown, fg=_COLORS.get(verdict.code, "red"), bold=True)
    count = text.counted(verdict.entries, "entry", "entries")
    about = ""
    if all(finding.is_note for finding in verdict.findings):
        about = f" ({count}; checked: {', '.join(verdict.checks)})"
    path = terminal.show(verdict.path)
    first, *others = terminal.wrap(f"{path}: {verdict.shown}{about}")
    yield f"{path}: {word}{first[len(path) + 2 + len(verdict.shown) :]}"
    yield from others
    for finding in verdict.findings:
        line = _problem(finding, verdict)
        yield from terminal.wrap(f"  {terminal.show(f'note: {line}' if finding.is_note else line)}", "    ")
    for gap in verdict.coverage.gaps:
        yield from terminal.wrap(f"  not covered: {terminal.show(gap)}", "    ")
    steps = dict.fromkeys(step for finding in verdict.findings if (step := text.hint(finding.error)) is not None)
    if verdict.coverage.gaps and verdict.code in {text.SOUND, text.UNCHECKED}:
        steps[_COMPARE if verdict.is_encrypted else _COMPARE + _ADD_SUM] = None
    for step in steps:
        for line in terminal.wrap(f"  hint: {terminal.show(step)}", "    "):
            yield terminal.style(line, dim=True)


def _problem(finding: _Finding, verdict: _Verdict) -> str:
    """Say what is wrong, and in which file of a folder."""
    file = text.file_of(finding.error, verdict.path)
    line = text.problem(finding.error)
    return line if file is None else f"{printable(file)}: {line}"


def _as_data(verdict: _Verdict) -> dict[str, Any]:
    return {
        "path": verdict.path,
        "verdict": _WORDS.get(verdict.code, _NOT_CHECKED)[1],
        "code": verdict.code,
        "entries": verdict.entries,
        "checks": verdict.checks,
        "coverage": {**verdict.coverage._asdict(), "gaps": list(verdict.coverage.gaps)},
        "findings": [
            {
                "kind": finding.kind,
                "note": finding.is_note,
                "type": type(finding.error).__name__,
                "name": finding.error.name,
                "problem": _problem(finding, verdict),
                "offset": finding.error.offset,
                "hint": text.hint(finding.error),
            }
            for finding in verdict.findings
        ],
    }
