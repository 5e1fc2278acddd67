"""The JSON schema of config.yaml, by which editors complete and check it.

The names of laws and of figures are known only to rooms above ``study``, so they are put into the schema here, and so are the
sentences on what each key means.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from scalinglaws.common.files import write_text
from scalinglaws.figures.registry import FIGURES
from scalinglaws.laws.registry import LAW_KINDS
from scalinglaws.study.config import Config
from scalinglaws.study.describe import ALSO, KEYS


def config_schema() -> dict[str, Any]:
    """Return the schema as JSON values.

    Returns
    -------
    dict
        The schema of the config's model, in which the keys ``fits.laws`` and ``figures`` take known names only, and each key
        has a description.
    """
    schema = Config.model_json_schema()
    _allow_only(schema["$defs"]["FitsConfig"]["properties"]["laws"], list(LAW_KINDS))
    _allow_only(schema["properties"]["figures"], list(FIGURES))
    _describe(schema["properties"], KEYS["Config"])
    of_models = {key: text for name, keys in KEYS.items() if name.endswith("Options") for key, text in keys.items()}
    for name, model in schema["$defs"].items():
        own = KEYS.get(name, {}) | (of_models if name == "ModelShape" else {})
        _describe(model.get("properties", {}), KEYS.get(ALSO.get(name, ""), {}) | own)
    return schema


def write_schema(out: Path) -> None:
    """Write the schema to a file, such as the one that is kept beside the workflow for editors."""
    write_text(out, json.dumps(config_schema(), indent=1, sort_keys=True) + "\n")


def _allow_only(key: dict[str, Any], names: list[str]) -> None:
    """Let a key that is "all" or a list of names take no other names."""
    for choice in key["anyOf"]:
        if choice.get("type") == "array":
            choice["items"] = {"type": "string", "enum": names}


def _describe(properties: dict[str, Any], sentences: dict[str, str]) -> None:
    """Add to the keys of a mapping what they mean."""
    for key in properties.keys() & sentences.keys():
        properties[key]["description"] = sentences[key]
