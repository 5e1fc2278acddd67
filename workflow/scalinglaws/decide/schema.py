"""The JSON schema of config.yaml, by which editors complete and check it, with the names that only rooms above ``study`` know."""

from __future__ import annotations

from typing import Any

from scalinglaws.figures.registry import FIGURES
from scalinglaws.laws.registry import LAW_KINDS
from scalinglaws.study.config import Config


def config_schema() -> dict[str, Any]:
    """The schema as JSON values: the config's model, and the names of laws and figures where the model takes any text."""
    schema = Config.model_json_schema()
    _name(schema["$defs"]["FitsConfig"]["properties"]["laws"], list(LAW_KINDS))
    _name(schema["properties"]["figures"], list(FIGURES))
    return schema


def _name(key: dict[str, Any], names: list[str]) -> None:
    """Let a key that is "all" or a list of names take no other names."""
    for choice in key["anyOf"]:
        if choice.get("type") == "array":
            choice["items"] = {"type": "string", "enum": names}
