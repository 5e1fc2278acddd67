"""The JSON schema of what each command prints with ``--json``, and the page that lists them."""

from __future__ import annotations

import json
from typing import Any

from pydantic import TypeAdapter

from scalinglaws.decide import printed
from scalinglaws.decide.answer import Answers
from scalinglaws.decide.comparison import Comparison
from scalinglaws.decide.plan_record import Plan
from scalinglaws.decide.reference.markdown import page, table
from scalinglaws.decide.standing import Standing
from scalinglaws.decide.suggestion import Suggestion

# Command, with the option that makes it print something else, -> what it prints.
PRINTED: dict[str, Any] = {
    "compare": Comparison,
    "curve": printed.Curve,
    "export": printed.Exported,
    "figure --list": printed.FigureList,
    "fit": printed.FitResult,
    "fit --list": printed.LawList,
    "forecast": Answers,
    "plan": Plan,
    "prune": printed.Pruned,
    "status": Standing,
    "suggest": Suggestion,
    "verify": printed.Verified,
}
INTRODUCTION = """
With `--json` a command prints one JSON value on standard output and nothing else there; warnings go to standard error. Each value
has a JSON schema (draft 2020-12), which is kept beside this page and which a test holds against what the command prints. Numbers
that are not known are null. Within a version of the package no key is removed or changes its meaning.
"""


def schema(command: str) -> dict[str, Any]:
    """Return the JSON schema of what a command of ``PRINTED`` prints."""
    found: dict[str, Any] = TypeAdapter(PRINTED[command]).json_schema()
    return found


def file_name(command: str) -> str:
    """Return the name of the file of a command's schema."""
    return f"{command.replace(' --', '-')}.schema.json"


def schema_files() -> dict[str, str]:
    """Return the text of each schema's file by the file's name."""
    return {file_name(name): json.dumps(schema(name), indent=1, sort_keys=True, ensure_ascii=False) + "\n" for name in PRINTED}


def json_page() -> str:
    """Return the page that lists the schemas."""
    rows = [
        (
            f"`scalinglaws {name} --json`",
            " ".join((model.__doc__ or "").split("\n\n")[0].split()),
            f"[schema](json/{file_name(name)})",
        )
        for name, model in PRINTED.items()
    ]
    return page("JSON output", [*INTRODUCTION.strip().splitlines(), "", *table(("command", "what it prints", "schema"), rows)])
