"""The one reader of YAML: strict where YAML 1.1 surprises, bounded, and able to say on which line of the file a key stands.

A key that is given twice is refused with both lines. Words are read as in YAML 1.2: ``yes`` and ``no`` are text, not truth
values, and a date is text. Numbers that YAML 1.1 reads in another base, such as 0100000 (32768) and 270:00 (16200), are refused.
Everything else is read as PyYAML's safe loader, and so Snakemake, reads it.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from yaml.nodes import MappingNode, Node, ScalarNode, SequenceNode

from scalinglaws.common.errors import StudyError

MOST_BYTES = 1 << 20  # of a file
MOST_VALUES = 25_000  # keys and values of a file, each alias counted as what it stands for
DEEPEST = 50  # levels of lists and mappings within each other
TOO_DEEP = f"lists and mappings are nested more than {DEEPEST} deep"
MOST_DIGITS = 30  # of an integer
TAG = "tag:yaml.org,2002:"
RUNS_CODE = "__use_yte__"  # a key of Snakemake's own reader
IMPLICIT = ("bool", "null", "merge")  # kinds of scalars that no tag may ask for

# Integers of YAML 1.1 in base 8, 16, 2 or 60, of YAML 1.2 in base 8, and those with zeros in front, on which the two differ.
OTHER_BASES = re.compile(r"[-+]?(?:0[0-9_]+|0[xX][0-9a-fA-F_]+|0[bB][01_]+|0o[0-7]+|[0-9][0-9_]*(?::[0-5]?[0-9])+(?:\.[0-9_]*)?)")


@dataclass(frozen=True)
class Document:
    """What a file of YAML holds, and where in the file it stands."""

    name: str
    data: Any
    root: Node | None = None

    def line(self, path: tuple[Any, ...]) -> int | None:
        """Return the line, from 1, of the last key or item of ``path`` that the file has; None where it has none."""
        node, line = self.root, None
        for part in path:
            if isinstance(node, SequenceNode) and isinstance(part, int) and part < len(node.value):
                node = node.value[part]
                line = node.start_mark.line + 1
            elif isinstance(node, MappingNode) and (found := _pair(node, part)):
                node, line = found[1], found[0].start_mark.line + 1
        return line

    def where(self, path: tuple[Any, ...]) -> str:
        """Return the line of a path as messages have it: " (line 3)"; empty where the file has no such key."""
        line = self.line(path)
        return f" (line {line})" if line else ""


def _pair(node: MappingNode, name: Any) -> tuple[Node, Node] | None:
    """Return the nodes of a key and its value in a mapping or in those that it merges."""
    for key, value in reversed(node.value):  # keys that were merged stand before the mapping's own
        if key.value == name and key.tag != f"{TAG}merge":
            return key, value
    return None


class Loader(yaml.SafeLoader):
    """PyYAML's safe loader with other resolvers, with bounds, and without what few people expect of YAML."""

    yaml_implicit_resolvers: dict[str, list[tuple[str, re.Pattern[str]]]] = {}  # noqa: RUF012 (add_implicit_resolver copies it)

    def __init__(self, text: str) -> None:
        super().__init__(text)
        self.depth = 0
        self.count = 0
        self.sizes: dict[Node, tuple[int, int]] = {}  # finished nodes: values in them, levels in them

    def compose_node(self, parent: Node | None, index: Any) -> Node | None:
        alias = self.check_event(yaml.AliasEvent)
        mark = self.peek_event().start_mark
        before, self.depth = self.count, self.depth + 1
        if self.depth > DEEPEST:  # before the recursion goes on
            raise _refused(mark, TOO_DEEP)
        node = super().compose_node(parent, index)
        levels = 1
        if alias:
            if node not in self.sizes:
                raise _refused(mark, "an alias stands within what it names")
            size, levels = self.sizes[node]
            self.count += size
        self.count += 1
        if self.depth - 1 + levels > DEEPEST:
            raise _refused(mark, TOO_DEEP)
        if self.count > MOST_VALUES:
            raise _refused(mark, f"more than {MOST_VALUES:,} values, each alias counted as what it stands for")
        self.depth -= 1
        if node is not None and not alias:
            inner = [child for pair in node.value for child in pair] if isinstance(node, MappingNode) else node.value
            deepest = max((self.sizes[child][1] for child in inner), default=0) if not isinstance(node, ScalarNode) else 0
            self.sizes[node] = (self.count - before, 1 + deepest)
        return node

    def compose_scalar_node(self, anchor: str | None) -> ScalarNode:
        event = self.peek_event()
        node = _check_tag(super().compose_scalar_node(anchor), "str", "int", "float", *(IMPLICIT if event.tag is None else ()))
        if event.implicit[0] and OTHER_BASES.fullmatch(node.value):
            raise _refused(
                node.start_mark, f"{_clip(node.value)} is another number or text to other readers of YAML: write it in base 10 "
                "without zeros in front, or in quotes where text is meant"
            )  # fmt: skip
        if node.tag == f"{TAG}int" and len(node.value) > MOST_DIGITS:
            raise _refused(
                node.start_mark, f"{_clip(node.value)} has more than {MOST_DIGITS} digits; quote it where text is meant"
            )
        return node

    def compose_sequence_node(self, anchor: str | None) -> SequenceNode:
        return _check_tag(super().compose_sequence_node(anchor), "seq")

    def compose_mapping_node(self, anchor: str | None) -> MappingNode:
        node = _check_tag(super().compose_mapping_node(anchor), "map")
        seen: dict[str, Node] = {}
        for key, _ in node.value:
            if key.tag not in (f"{TAG}str", f"{TAG}merge"):
                raise _refused(key.start_mark, f"{_clip(key.value)} is no name of a key: keys are text; quote it")
            if key.value == RUNS_CODE:
                raise _refused(key.start_mark, f"the key {RUNS_CODE} makes Snakemake run code that stands in the file: remove it")
            if key.value in seen:
                first = seen[key.value].start_mark.line + 1
                raise _refused(key.start_mark, f"the key {_clip(key.value)} stands on line {first} already: give it once")
            seen[key.value] = key
        return node


def _number(loader: Loader, node: ScalarNode) -> int | float:
    """Return the number that a scalar writes in base 10; also where it is tagged as one."""
    kind = int if node.tag == f"{TAG}int" else float
    text = re.sub(r"^([-+]?)\.(inf|nan)$", r"\1\2", node.value.lower())
    try:
        return kind(text)
    except ValueError:
        raise _refused(node.start_mark, f"{_clip(node.value)} is no number") from None


for _kind in ("int", "float"):
    Loader.add_constructor(f"{TAG}{_kind}", _number)
for _kind, _pattern, _first in (
    ("bool", r"(?:true|True|TRUE|false|False|FALSE)$", "tTfF"),
    ("int", r"[-+]?(?:0|[1-9][0-9]*)$", "-+0123456789"),
    ("float", r"[-+]?(?:[0-9]+\.[0-9]*|\.[0-9]+)(?:[eE][-+][0-9]+)?$", "-+.0123456789"),
    ("float", r"(?:[-+]?\.(?:inf|Inf|INF)|\.(?:nan|NaN|NAN))$", "-+."),
    ("null", r"(?:~|null|Null|NULL|)$", "~nN\0"),
    ("merge", r"<<$", "<"),
):
    Loader.add_implicit_resolver(f"{TAG}{_kind}", re.compile(_pattern), [*_first.replace("\0", ""), *([""] * ("\0" in _first))])


def _check_tag(node: Any, *kinds: str) -> Any:
    if node.tag not in {f"{TAG}{kind}" for kind in kinds}:
        raise _refused(node.start_mark, f"the tag {_clip(node.tag.replace(TAG, '!!'))} does not belong here: remove it")
    return node


def _clip(value: Any) -> str:
    """Return a value as a message shows it: short, and printable."""
    text = (value if value.isprintable() else repr(value)) if isinstance(value, str) else "a list or a mapping"
    return text if len(text) <= 40 else f"{text[:36]}…"


def _refused(mark: yaml.Mark, problem: str) -> yaml.MarkedYAMLError:
    return yaml.MarkedYAMLError(None, None, problem, mark)


def parse(text: str, name: str) -> Document:
    """Return the one document in a text. ``name`` is that of its file, for errors.

    Raises StudyError with the line where the text is not YAML, or is YAML that is refused (see the module).
    """
    loader = Loader("")
    try:
        loader = Loader(text)
        root = loader.get_single_node()
        return Document(name, loader.construct_document(root) if root is not None else None, root)
    except yaml.reader.ReaderError as error:
        line = text.count("\n", 0, error.position) + 1
        raise StudyError(f"{name} is not YAML: line {line} has the character U+{error.character:04X}") from None
    except yaml.MarkedYAMLError as error:
        mark, problem = error.problem_mark or error.context_mark, error.problem or error.context
        if problem and r"'\t'" in problem:
            problem = "a tab stands where YAML takes spaces only"
        if problem and "but found another document" in problem:
            problem = "a second document begins: a file holds one"
        raise StudyError(f"{name} is not YAML: {f'line {mark.line + 1}: ' if mark else ''}{problem}") from None
    except (ValueError, OverflowError) as error:  # an escape in quotes for a character that does not exist
        raise StudyError(f"{name} is not YAML: a value cannot be read ({error})") from None
    finally:
        loader.dispose()


def read(path: str | Path, advice: str = "name a study's file with --configfile") -> Document:
    """Read the one document in a file of UTF-8 text.

    Raises StudyError as ``parse`` does, and with ``advice`` where the file cannot be read.
    """
    try:
        if not Path(path).is_file():
            found = "is a folder, not a file" if Path(path).is_dir() else "is no file" if Path(path).exists() else "is missing"
            raise StudyError(f"{path} {found}: {advice}")
        with open(path, "rb") as file:
            content = file.read(MOST_BYTES + 1)
    except (OSError, ValueError) as error:  # ValueError: a NUL in the path
        told = error.strerror if isinstance(error, OSError) else error
        raise StudyError(f"{path}: {told}: {advice}") from None
    if len(content) > MOST_BYTES:
        raise StudyError(f"{path} has more than {MOST_BYTES:,} bytes, which is too much: {advice}")
    if content[:2] in (b"\xff\xfe", b"\xfe\xff") or b"\0" in content[:4]:
        raise StudyError(f"{path} is UTF-16 text: save it as UTF-8")
    try:
        return parse(content.decode("utf-8"), str(path))
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise StudyError(f"{path} is not YAML: line {line} is not UTF-8 text: save the file as UTF-8") from None
