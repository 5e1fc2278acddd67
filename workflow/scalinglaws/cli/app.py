"""The command line ``scalinglaws …``, which is ``python -m scalinglaws …`` as well: its commands, messages and exit statuses.

A command is a function of its own name in one of the files beside this one. Only the file of the command that is called is
imported, and libraries such as torch only when it runs: jobs of the workflow start by the thousand.
"""

from __future__ import annotations

import errno
import importlib
import sys
from typing import Annotated, Any

import typer
import typer.core
import typer.main

from scalinglaws.common.errors import StudyError

# The panels of the help: command -> the file that has it.
PANELS = {
    "Commands": {
        "run": "study",
        "plan": "study",
        "prune": "study",
        "verify": "verify",
        "fit": "laws",
        "figure": "figures",
        "report": "report",
        "exponents": "report",
        "schema": "study",
    },
    "Stages, which the rules of the workflow call": {
        "corpus": "data",
        "tokenizer": "data",
        "tokenize": "data",
        "rung": "train",
        "train": "train",
        "bundle": "bundles",
        "member": "bundles",
        "evaluate": "train",
        "aggregate": "tables",
    },
}
FILES = {name: file for commands in PANELS.values() for name, file in commands.items()}


class Commands(typer.core.TyperGroup):
    """The commands of PANELS, each imported when it is asked for."""

    def list_commands(self, ctx: Any) -> list[str]:
        return list(FILES)

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        if cmd_name in FILES:
            return self.commands.get(cmd_name) or self._imported(cmd_name)
        for name in FILES:  # a name that is nearly right is suggested from self.commands
            self._imported(name)
        return None

    def _imported(self, name: str) -> Any:
        function = getattr(importlib.import_module(f"scalinglaws.cli.{FILES[name]}"), name)
        panel = next(panel for panel, commands in PANELS.items() if name in commands)
        alone = typer.Typer(add_completion=False, rich_markup_mode=self.rich_markup_mode)
        alone.command(name, rich_help_panel=panel)(function)
        self.commands[name] = typer.main.get_command(alone)
        return self.commands[name]

    def format_commands(self, ctx: Any, formatter: Any) -> None:
        """Write the panels as plain text, for a help that is not read on a terminal."""
        width = max(map(len, FILES))
        for panel, commands in PANELS.items():
            rows = [(name.ljust(width), self.get_command(ctx, name).get_short_help_str(200)) for name in commands]
            with formatter.section(panel):
                formatter.write_dl(rows)


def _version(asked: bool) -> None:
    if asked:
        import scalinglaws

        typer.echo(f"scalinglaws {scalinglaws.__version__}")
        raise typer.Exit


def scalinglaws(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version and exit.")
    ] = False,
) -> None:
    """Scaling-law studies of language models: from text, through a grid of trainings, to fitted laws and figures.

    A study is described by a config.yaml: "scalinglaws plan" shows what it would train, "scalinglaws run" makes it, and --help
    after a command explains that command.

    \b
    Example:
      scalinglaws run --configfile workflow/studies/smoke.yaml
    """


def group() -> Any:
    """Return the command line as a click group; its help has colours and boxes on a terminal, and is plain text elsewhere."""
    markup: Any = "rich" if sys.stdout.isatty() else None
    app = typer.Typer(cls=Commands, no_args_is_help=True, pretty_exceptions_enable=False, rich_markup_mode=markup)
    app.callback()(scalinglaws)
    return typer.main.get_command(app)


def main(argv: list[str] | None = None) -> int:
    """Run a command and return its exit status.

    The status is 0 for success, 1 with one message for a user's mistake or a full disk, 2 with the usage for a wrong command
    line, and 130 where Ctrl-C stopped the command. Any other error keeps its traceback.
    """
    argv = sys.argv[1:] if argv is None else argv
    name = " ".join(["scalinglaws", *argv[:1]])
    try:
        status = group().main(args=argv, prog_name="scalinglaws", standalone_mode=False, obj={"arguments": argv})
    except typer.TyperException as error:
        error.show()  # type: ignore[attr-defined]
        return error.exit_code
    except StudyError as error:
        return _told(f"{name}: {error}", 1)
    except OSError as error:
        if error.errno != errno.ENOSPC:
            raise
        return _told(f"{name}: the disk is full ({error.filename or 'results'}): free space and run again", 1)
    except KeyboardInterrupt:
        return _told(f"{name}: stopped", 130)
    return _told(f"{name}: stopped", 130) if status == 130 else status or 0


def _told(message: str, status: int) -> int:
    print(message, file=sys.stderr)
    return status
