"""The page of all keys of a config: types, defaults and meanings, from the typed model."""

from __future__ import annotations

import types
import typing
from typing import Any, Literal

import yaml
from pydantic import BaseModel, BeforeValidator, WithJsonSchema
from pydantic.fields import FieldInfo
from pydantic_core import PydanticUndefined

from scalinglaws.common.fields import COUNT_EXAMPLES, LARGEST_INTEGER, MOST_TOKENS, parse_count
from scalinglaws.decide.reference.markdown import page, paragraphs, table
from scalinglaws.models.registry import ARCHITECTURES
from scalinglaws.study import config
from scalinglaws.study.describe import sentence

SIMPLE = {int: "integer", float: "number", str: "text", bool: "true or false", Any: "any value"}
BOUNDS = {"gt": "above", "ge": "at least", "lt": "below", "le": "at most"}
NAMES = {config.Overrides: "Settings", config.ModelShape: "Model"}
HOW = f"""
A **count** is a whole number above 0, written as {COUNT_EXAMPLES}. A key that has no default and is not called *needed* may
be left out. Settings, which most keys are, can stand under `defaults`, in an experiment, as an axis of its `grid` (there each is
a list of values) and in each of its `points`; the later of these wins. An unknown key is refused with its line.
"""


def sections() -> list[tuple[str, type[BaseModel], list[str]]]:
    """Return (title, model, keys) of every section of the page, in its order.

    The keys that a model shares with one before it are left out, and a model that is met twice has one section.
    """
    named: list[tuple[str, type[BaseModel]]] = [
        ("Top level", config.Config),
        ("Corpora", config.CorpusConfig),
        ("Sources", config.SourceConfig),
        ("Tokenizer", config.TokenizerConfig),
        ("Settings", config.Settings),
        ("Model", config.ModelShape),
        *((f"Model of architecture {entry.name}", entry.options) for entry in _architectures()),
        ("Experiments", config.Experiment),
        ("Ladder", config.Ladder),
        ("Fits", config.FitsConfig),
        ("External runs", config.ExternalRuns),
    ]
    found = [(title, model, _own(model)) for title, model in named]
    known = {model for _, model in named} | set(NAMES) | {config.Grid}
    waiting = [inner for _, model, keys in found for key in keys for inner in _models(model.model_fields[key].annotation)]
    while waiting:  # models that a value of a key may be, and those in them
        model = waiting.pop(0)
        if model not in known:
            known.add(model)
            found.append((model.__name__, model, list(model.model_fields)))
            waiting += [inner for field in model.model_fields.values() for inner in _models(field.annotation)]
    return found


def config_page() -> str:
    """Return the page."""
    lines = [*HOW.strip().splitlines(), ""]
    for title, model, keys in sections():
        lines += [f"## {title}", "", *paragraphs(model.__doc__ or "")]
        if keys:
            rows = [(f"`{key}`", kind_of(model.model_fields[key]), default(model.model_fields[key])) for key in keys]
            said = [sentence(model, key) for key in keys]
            lines += table(("key", "value", "default", "meaning"), [(*row, text) for row, text in zip(rows, said, strict=True)])
    return page("Config", lines)


def kind_of(field: FieldInfo) -> str:
    """Return in words what values a key takes."""
    return words(field.annotation, list(field.metadata))


def default(field: FieldInfo) -> str:
    """Return the default of a key as a config writes it; *needed* where there is none."""
    value = field.default
    if value is PydanticUndefined:
        return "*needed*"
    if isinstance(value, BaseModel):
        return "those of its keys"
    if value is None or value in ({}, []):
        return ""
    text = yaml.safe_dump(value, default_flow_style=True, width=10_000).removesuffix("...\n").strip()
    return f"`{text}`"


def words(kind: Any, more: list[Any]) -> str:
    """Return in words what values a type allows, given constraints that stand beside it."""
    if typing.get_origin(kind) is typing.Annotated:
        kind, *own = typing.get_args(kind)
        flat = [each for item in own for each in (item.metadata if isinstance(item, FieldInfo) else [item])]
        return words(kind, [*flat, *more])
    if chosen := next((item for item in more if isinstance(item, WithJsonSchema)), None):
        return f"{_either(chosen.json_schema['anyOf'][0]['enum'])}, or a name from a plug-in"  # type: ignore[index]
    origin, inner = typing.get_origin(kind), typing.get_args(kind)
    if origin in (typing.Union, types.UnionType):
        return " or ".join(words(each, more) for each in inner if each is not type(None))
    if origin is Literal:
        return _either(inner)
    if origin is list:
        return f"list of: {words(inner[0], [])}"
    if origin is dict:
        return f"mapping of names to: {words(inner[1], [])}"
    if isinstance(kind, type) and issubclass(kind, BaseModel):
        return _link(kind)
    counted = any(isinstance(item, BeforeValidator) and item.func is parse_count for item in more)
    simple = SIMPLE[kind]
    if counted:
        simple = "count or 0" if any(getattr(item, "ge", None) == 0 for item in more) else "count"
    return ", ".join([simple, *filter(None, (_bound(item, counted) for item in more))])


def _either(values: Any) -> str:
    return ", ".join(f"`{value}`" for value in values)


def _bound(item: Any, counted: bool) -> str:
    """Return a bound in words; nothing for what every count or whole number has, or for another constraint."""
    for name, word in BOUNDS.items():
        value = getattr(item, name, None)
        common = value in (MOST_TOKENS, LARGEST_INTEGER) or (counted and value == 0)
        if isinstance(value, int | float) and not common:
            return f"{word} {f'{value:.7g}'.replace('e+', 'e')}"
    return ""


def _link(model: type[BaseModel]) -> str:
    """Return a link to the section of a model."""
    if model is config.Grid:
        return "settings, each with a list of values"
    title = NAMES.get(model) or next((title for title, own, _ in sections() if own is model), model.__name__)
    return f"[{title}](#{title.lower().replace(' ', '-')})"


def _architectures() -> list[Any]:
    """Return the architectures of the package; those of plug-ins are on no page."""
    return [entry for name, entry in zip(ARCHITECTURES, ARCHITECTURES.values(), strict=True) if not ARCHITECTURES.plugin_of(name)]


def _own(model: type[BaseModel]) -> list[str]:
    """Return the keys that a model does not share with the settings."""
    shared = config.Settings.model_fields if model is config.Experiment else {}
    return [key for key in model.model_fields if key not in shared]


def _models(kind: Any) -> list[type[BaseModel]]:
    """Return the models in a type, in their order."""
    if isinstance(kind, type) and issubclass(kind, BaseModel):
        return [kind]
    return [model for inner in typing.get_args(kind) for model in _models(inner)]
