"""What pydantic finds wrong in a config, in words: a line for each wrong key, with its path and its line in the file."""

from __future__ import annotations

import re
import reprlib
import types
import typing
from collections.abc import Callable
from typing import Any

from pydantic import BaseModel, ValidationError

from scalinglaws.common.nearest import nearest

MOST_ERRORS, MOST_LINES = 200, 20  # that are looked at, and of a message
QUOTED = re.compile("'([^']*)'")  # a value among those that pydantic says there are
Line = Callable[[tuple[Any, ...]], str]  # path -> where it stands in the file, as " (line 3)", or nothing


def no_line(path: tuple[Any, ...]) -> str:
    """Say nothing about the line of a key: what is checked does not come from a file."""
    return ""


def explain(error: ValidationError, model: Any, prefix: str = "", line: Line = no_line) -> str:
    """Write one line for each wrong key: its path, what was expected and what was found.

    ``model`` is what was validated, whose keys are proposed for unknown ones, and ``prefix`` the path at which it stands.
    """
    found: dict[tuple[str, str], list[str]] = {}
    errors = error.errors(include_url=False, include_context=False)[:MOST_ERRORS]
    items = [(item, *_follow(model, item["loc"], item["type"])) for item in errors]
    inner = {path[:end] for _, path, _ in items for end in range(len(path))}
    for item, path, keys in items:
        if path in inner:  # another form that the value might have had; what is wrong in the one that it has is told
            continue
        found.setdefault((path_of(path, prefix), line(path)), []).append(_told(item, path, keys))
    lines = [f"  {key and f'{key}: '}{'; or '.join(dict.fromkeys(whats))}{at}" for (key, at), whats in found.items()]
    more = ["  and more like these"] if len(lines) > MOST_LINES else []
    return "\n".join(lines[:MOST_LINES] + more)


def path_of(path: tuple[Any, ...], prefix: str = "") -> str:
    """Write the place of a key as a path: ("experiments", "size", "grid", 0) is experiments.size.grid[0]."""
    out = prefix
    for part in path:
        out += f"[{part}]" if isinstance(part, int) else f".{part}" if out else str(part)
    return out


def _told(item: Any, path: tuple[Any, ...], keys: list[str]) -> str:
    if item["type"] == "extra_forbidden":
        close = nearest(str(path[-1]), keys)
        listed = f": use one of {', '.join(keys)}" if 0 < len(keys) <= 12 else ""
        return "unknown key" + (f": did you mean {close}?" if close else listed)
    if item["type"] == "missing":
        return "is missing"
    value, what = item["input"], item["msg"].removeprefix("Value error, ").replace("Input should", "it should")
    hint = "; write it in quotes" if item["type"] == "string_type" and isinstance(value, int | float) else ""
    if item["type"] == "literal_error" and (close := nearest(str(value), QUOTED.findall(item["msg"]))):
        hint = f"; did you mean {close}?"
    if isinstance(value, dict | list) and len(reprlib.repr(value)) > 60:
        return what
    return f"{what}, found {_SHORT.repr(value)}{hint}"


_SHORT = reprlib.Repr()
_SHORT.maxstring = _SHORT.maxother = 60


def _follow(model: Any, loc: tuple[Any, ...], kind: str) -> tuple[tuple[Any, ...], list[str]]:
    """Return the path in the data of an error, without pydantic's names of members of unions, and the keys beside its last."""
    path: list[Any] = []
    choices, keys = _members(model), []
    for place, part in enumerate(loc):
        if part == "[key]":
            continue
        models = [each for each in choices if isinstance(each, type) and issubclass(each, BaseModel)]
        if isinstance(part, int):
            path.append(part)
            choices = [item for each in choices for item in _items(each, list)]
        elif named := [each.model_fields[part].annotation for each in models if part in each.model_fields]:
            path.append(part)
            choices = [member for each in named for member in _members(each)]
        elif within := [item for each in choices for item in _items(each, dict)]:
            path.append(part)
            choices = within
        elif tagged := [each for each in models if each.__name__ == part and place + 1 < len(loc)]:
            choices = tagged
        elif kind == "extra_forbidden" and place + 1 == len(loc):
            path.append(part)
            keys = [key for each in models for key in each.model_fields]
    return tuple(path), keys


def _members(kind: Any) -> list[Any]:
    """Return the types that a value of ``kind`` may have: the members of a union, without annotations and None."""
    if typing.get_origin(kind) is typing.Annotated:
        return _members(typing.get_args(kind)[0])
    if typing.get_origin(kind) in (typing.Union, types.UnionType):
        return [member for each in typing.get_args(kind) for member in _members(each)]
    return [] if kind is type(None) else [kind]


def _items(kind: Any, container: type) -> list[Any]:
    """Return the types of the values in a list or a mapping."""
    return _members(typing.get_args(kind)[-1]) if typing.get_origin(kind) is container and typing.get_args(kind) else []
