"""`NameMap`: rules in Python and in files."""

from __future__ import annotations

import codecs
import json
import os
from collections import Counter
from contextlib import closing
from typing import TYPE_CHECKING, Any, Final

from ckptload import shown
from ckptload.binding.maps.recipes import Rules
from ckptload.binding.maps.rules import rule_of, rules_of
from ckptload.errors import ArgumentError, ArgumentTypeError, CheckpointError
from ckptload.messages import counted, type_name
from ckptload.sources.inputs import open_source

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from ckptload.binding.maps.recipes import Recipe
    from ckptload.binding.maps.rules import Rule

#: A map of a million names is shorter; a longer file was probably given by mistake.
MAX_MAP: Final = 200_000_000
_FORMAT: Final = "ckptload-map"
_VERSION: Final = 1
_SHOWN: Final = 20


class NameMap:
    """What becomes of the entries of a checkpoint in a net: new names, and what values need besides.

    Wherever an argument is called ``name_map``, it takes one (docs/binding.md, "Maps").

    Args:
        rules: a dictionary of names and new names; or a list of rules, each a dictionary with ``from``, ``to`` and what
            happens to the values.
        about: what the map is for.

    Attributes:
        rules: the rules.
        about: what the map is for.

    Raises:
        ArgumentTypeError: a value is of another type.
        ArgumentError: a rule makes no sense, or two rules are about the same name.
    """

    def __init__(self, rules: Mapping[str, str | None] | Sequence[Mapping[str, Any] | Rule], about: str = "") -> None:
        self.rules: tuple[Rule, ...] = rules_of(rules)
        self.about = about
        self._ready = Rules(self.rules)

    def recipes(self, names: Iterable[str]) -> list[Recipe]:
        """Return how each tensor of the net is made of entries with these names.

        Raises:
            ArgumentError: two tensors would have the same name, or an entry that is joined with others lacks one.
        """
        return self._ready.recipes(names)

    def names(self, name: str) -> str | None:
        """Return what of a name the rules are about: all of it, its beginning up to a dot, or None."""
        return self._ready.named(name)

    def unused(self, names: Iterable[str]) -> list[str]:
        """Return the names and patterns of entries that none of some names, or of their beginnings, fits."""
        return self._ready.unused(names)

    def whole(self, names: Iterable[str]) -> set[str]:
        """Return the names, of some names, that a rule is about as a whole, and not as all that begin like it."""
        return self._ready.whole(names)

    def inverse(self) -> NameMap:
        """Return the map that goes back, from the names of the net to those of the checkpoint.

        Zeros are left out on the way back, and what was left out stays so. Where a cut makes tensors that have rules of
        their own, it is another way to store them, and they go back by theirs.

        Raises:
            ArgumentError: several entries become the same, or the number in a name gets lost, so that there is no way
                back.
        """
        own = {rule.targets[0] for rule in self.rules if len(rule.targets) == 1}
        back = [rule.inverse() for rule in self.rules if not _is_cut_besides(rule, own)]
        return NameMap([rule for rule in back if rule is not None], self.about)

    @classmethod
    def read(cls, path: str | os.PathLike[str]) -> NameMap:
        """Read a map from a file.

        Args:
            path: a JSON file as `save` writes it, or with an object of names and new names.

        Raises:
            ReadError: it cannot be read.
            ArgumentError: it is not such a file.
        """
        if not isinstance(path, (str, os.PathLike)):
            raise ArgumentTypeError(f"the path of a map must be a path, not {type_name(path)}")
        with closing(open_source(path)) as source:
            if source.size > MAX_MAP:
                raise ArgumentError(f"{source.size} bytes are too many for a map", path=source.label)
            content = bytes(source.read(0, source.size))
        return cls.parse(content, os.fspath(path))

    @classmethod
    def parse(cls, content: bytes, path: str | None = None) -> NameMap:
        """Read a map from the content of a file.

        Args:
            content: the content.
            path: what messages call it.

        Raises:
            ArgumentError: it is not JSON, or not a map.
        """
        if len(content) > MAX_MAP:
            raise ArgumentError("the map is too long", path=path)
        try:
            found = json.loads(content.removeprefix(codecs.BOM_UTF8).decode(), object_pairs_hook=_once)
        except (ValueError, RecursionError) as error:
            if isinstance(error, CheckpointError):
                error.path = path
                raise
            raise ArgumentError(f"the map is not valid JSON: {shown.foreign(error)}", path=path) from shown.cause(error)
        try:
            return cls._of_data(found)
        except CheckpointError as error:
            error.path = path
            raise

    @classmethod
    def _of_data(cls, found: Any) -> NameMap:
        if not isinstance(found, dict):
            raise ArgumentError(
                "a map is a JSON object of names and new names, or one with rules", hint='for example {"old": "new"}'
            )
        if found.get("format") != _FORMAT:
            return cls(found)
        if found.get("version") != _VERSION:
            raise ArgumentError(
                f"the map has version {found.get('version')!r:.20}, and {_VERSION} is known",
                hint="use a newer ckptload",
            )
        rules, about = found.get("rules"), found.get("about", "")
        if not isinstance(rules, list) or not isinstance(about, str):
            raise ArgumentError("the map has no list of rules, or 'about' is no text")
        if not found.get("certain", True):
            raise ArgumentError(
                "the map is a proposal with open questions",
                hint='answer them in its rules, and then take "certain" out of the file',
            )
        return cls([rule_of(_object(each)) for each in rules], about)

    def text(self, **more: Any) -> str:
        """Return the map as JSON, as `save` writes it.

        Args:
            more: other keys to write beside the rules.
        """
        head = {"format": _FORMAT, "version": _VERSION, **({"about": self.about} if self.about else {}), **more}
        lines = [f"  {json.dumps(key)}: {json.dumps(value, ensure_ascii=False)}," for key, value in head.items()]
        rules = [f"    {json.dumps(rule.data(), ensure_ascii=False)}" for rule in self.rules]
        return "\n".join(["{", *lines, '  "rules": [', ",\n".join(rules), "  ]", "}", ""])

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the map to a file, which `read` and the command line take.

        Args:
            path: the file; an existing one is replaced only when the new one is complete.

        Raises:
            WriteError: it cannot be written.
        """
        save_text(self.text(), path)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, NameMap) and other.rules == self.rules

    def __hash__(self) -> int:
        return hash(self.rules)

    def __repr__(self) -> str:
        return f"<NameMap: {counted(len(self.rules), 'rule')}>"

    def __str__(self) -> str:
        more = len(self.rules) - _SHOWN
        lines = [str(rule) for rule in self.rules[:_SHOWN]]
        return "\n".join(lines + [f"and {counted(more, 'more rule', 'more rules')}"] * (more > 0))


def _is_cut_besides(rule: Rule, own: set[str]) -> bool:
    """Tell whether a rule cuts an entry into tensors that all have rules of their own, by name or by its beginning."""
    return len(rule.targets) > 1 and all(not own.isdisjoint(_beginnings(target)) for target in rule.targets)


def _beginnings(name: str) -> list[str]:
    return [*(name[:at] for at, letter in enumerate(name) if letter == "."), name]


def save_text(text: str, path: str | os.PathLike[str]) -> None:
    """Write a small text file; see `NameMap.save`."""
    from ckptload.writing.output import write_file  # noqa: PLC0415 -- few maps are written
    from ckptload.writing.targets import place  # noqa: PLC0415

    if not isinstance(path, (str, os.PathLike)):
        raise ArgumentTypeError(f"path must be a path, not {type_name(path)}")
    write_file(place(os.fspath(path)), [text.encode()])


def _object(told: Any) -> dict[str, Any]:
    if not isinstance(told, dict):
        raise ArgumentTypeError(f"a rule must be an object, not {type_name(told)}")
    return told


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Return an object whose keys come once: of two rules for a name, one would get lost."""
    found = dict(pairs)
    if len(found) < len(pairs):
        twice, _ = Counter(key for key, _ in pairs).most_common(1)[0]
        raise ArgumentError(f"the map has {shown.foreign(repr(twice))} twice")
    return found
