"""The command ``reference``: the reference pages of the documentation, and among them that of the commands themselves."""

from __future__ import annotations

import enum
from pathlib import Path
from typing import Annotated, Any

import typer

from scalinglaws.cli.options import folder_to_write

KINDS = {Path: "PATH", int: "INTEGER", float: "NUMBER"}  # how the values of options without a name of their own are shown


def reference(
    to: Annotated[Path, typer.Option("--to", callback=folder_to_write, help="Folder of the pages.")] = Path("docs/reference"),
) -> None:
    """Write the reference pages of the documentation: config keys, tables, laws, commands and their JSON, as the code has them.

    \b
    Example:
      scalinglaws reference --to docs/reference
    """
    from scalinglaws.common.files import write_text

    for name, text in pages().items():
        (to / name).parent.mkdir(parents=True, exist_ok=True)
        write_text(to / name, text)
        print(to / name)


def pages() -> dict[str, str]:
    """Return the text of each reference page, and of each schema that one links, by the name of its file."""
    from scalinglaws.decide.reference.config_page import config_page
    from scalinglaws.decide.reference.laws_page import laws_page
    from scalinglaws.decide.reference.tables_page import tables_page
    from scalinglaws.decide.schemas import json_page, schema_files

    found = {"commands.md": commands_page(), "config.md": config_page(), "laws.md": laws_page(), "tables.md": tables_page()}
    return found | {"json.md": json_page()} | {f"json/{name}": text for name, text in schema_files().items()}


def commands_page() -> str:
    """Return the page of the commands, from what their ``--help`` says."""
    from scalinglaws.cli.app import PANELS, group
    from scalinglaws.decide.reference.markdown import page

    lines = ["`scalinglaws COMMAND --help` prints the same; `python -m scalinglaws` is the same program.", ""]
    commands = group()
    for panel, names in PANELS.items():
        lines += [f"## {panel}", ""]
        for name in names:
            lines += [f"### {name}", "", *_help(commands.get_command(None, name))]
    return page("Commands", lines)


def _help(command: Any) -> list[str]:
    """Return the help of a command: its text, its examples as a block of code, and a table of its options."""
    from scalinglaws.decide.reference.markdown import table

    lines: list[str] = []
    for part in command.help.strip().split("\n\n"):
        if part.startswith("\b"):
            _, title, *examples = part.splitlines()
            lines += [title, "", "```sh", *(line.strip() for line in examples), "```", ""]
        else:
            lines += [*part.splitlines(), ""]
    rows = [_option(each) for each in command.params if each.name != "help"]
    return lines + (table(("option", "value", "default", "meaning"), rows) if rows else [])


def _option(option: Any) -> tuple[str, str, str, str]:
    """Return what stands in the row of an option: its name, its value, its default and its help."""
    names = (
        [option.metavar or option.name.upper()]
        if option.param_type_name == "argument"
        else [*option.opts, *option.secondary_opts]
    )
    return " ".join(f"`{name}`" for name in names), _value(option), _default(option), option.help or ""


def _value(option: Any) -> str:
    """Return how the value of an option is written; nothing for a flag."""
    if getattr(option, "is_flag", False) or option.param_type_name == "argument":
        return ""
    if choices := getattr(option.type_descriptor, "choices", None):
        return ", ".join(f"`{choice}`" for choice in choices)
    kind = KINDS.get(option.type_descriptor.annotation, "TEXT")
    return f"`{option.metavar or kind}`"


def _default(option: Any) -> str:
    """Return the default of an option; *needed* where it must be given."""
    if option.required:
        return "*needed*"
    value = option.default.value if isinstance(option.default, enum.Enum) else option.default
    if option.name == "cores":
        return "all of the machine"
    empty = value is None or value is False or value in ((), [], "")
    return "" if empty or callable(value) else f"`{value}`"
