"""The command line ``scalinglaws …``, which is ``python -m scalinglaws …`` as well: its commands, messages and exit statuses.

A command is a function of its own name in one of the files beside this one. Only the file of the command that is called is
imported, and libraries such as torch only when it runs: jobs of the workflow start by the thousand.
"""

from __future__ import annotations

import contextlib
import errno
import importlib
import io
import os
import resource
import sys
from pathlib import Path
from typing import Annotated, Any

import typer
import typer.core
import typer.main

from scalinglaws.common.errors import StudyError, shown, told
from scalinglaws.common.nearest import nearest

# The panels of the help: command -> the file that has it.
PANELS = {
    "Commands": {
        "run": "study",
        "plan": "study",
        "status": "status",
        "prune": "study",
        "verify": "verify",
        "fit": "laws",
        "forecast": "forecast",
        "suggest": "suggest",
        "curve": "curve",
        "compare": "compare",
        "figure": "figures",
        "report": "report",
        "exponents": "report",
        "export": "export",
        "curves": "curves",
        "draw": "draw",
        "html": "draw",
        "explore": "explore",
        "schema": "study",
        "reference": "reference",
    },
    "Stages, which the rules of the workflow call": {
        "corpus": "data",
        "tokenizer": "data",
        "tokenize": "data",
        "weights": "data",
        "rung": "train",
        "train": "train",
        "bundle": "bundles",
        "member": "bundles",
        "evaluate": "train",
        "rates": "rates",
        "aggregate": "tables",
        "register": "forecasts",
        "score": "forecasts",
    },
}
FILES = {name: file for commands in PANELS.values() for name, file in commands.items()}
LIGHT = {"plan", "status", "prune", "schema"}  # the commands that load no numerical library
ADDRESS_SPACE = 1_500_000_000  # bytes that loading these libraries takes on a machine of two cores; it grows with the cores
NO_SPACE = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO)


class Command(typer.core.TyperCommand):
    """A command that writes over none of the files that it reads, and gives each of its outputs a file of its own."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Read the command line. Where a value is none of an option's choices, the error proposes the nearest of them."""
        try:
            return super().parse_args(ctx, args)
        except typer.BadParameter as error:
            choices = getattr(getattr(error.param, "type_descriptor", None), "choices", None)
            if choices and isinstance(error.__cause__, ValueError):
                given = error.__cause__.errors()[0]["input"]  # type: ignore[attr-defined] # pydantic's ValidationError
                close = nearest(str(given), map(str, choices))
                error.message += f" Did you mean '{close}'?" if close else ""
            raise

    def invoke(self, ctx: Any) -> Any:
        """Run the command. Raises StudyError where an option --out… names a file that another option names, too."""
        given = {p.opts[-1]: Path(ctx.params[p.name]) for p in self.params if isinstance(ctx.params.get(p.name), Path)}
        for out, path in given.items():
            for option, other in given.items():
                if out.startswith("--out") and option != out and _same_file(path, other):
                    raise StudyError(f"{out} and {option} are the same file, {shown(path)}: name another file to write")
        return super().invoke(ctx)


def _same_file(path: Path, other: Path) -> bool:
    """Tell whether two paths are one file, there or not yet. A folder may be both read and written to."""
    if path.exists() and other.exists():
        return path.is_file() and path.samefile(other)
    return os.path.realpath(path) == os.path.realpath(other)


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
        alone.command(name, cls=Command, rich_help_panel=panel)(function)
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

    The status is 0 for success; 1 with one message for a user's mistake or a fault of the machine, such as a full disk or too
    little memory, and without one where what reads its output has ended, as head does; 2 with the usage for a wrong command line;
    and 130 where Ctrl-C stopped the command. Any other error keeps its traceback.
    """
    argv = sys.argv[1:] if argv is None else argv
    name = " ".join(["scalinglaws", *argv[:1]])
    _make_output_safe()
    try:
        _check_address_space(argv)
        status = group().main(args=argv, prog_name="scalinglaws", standalone_mode=False, obj={"arguments": argv})
        sys.stdout.flush()
    except typer.TyperException as error:
        error.show()  # type: ignore[attr-defined]
        return error.exit_code
    except StudyError as error:
        return _tell(f"{name}: {error}", 1)
    except BrokenPipeError:  # from the last flush; typer handles the others so, too
        _drop_output()
        return 1
    except KeyboardInterrupt:
        return _tell(f"{name}: stopped", 130)
    except typer.Abort as error:  # typer's name for an EOFError, which no command expects
        raise error.__cause__ or error from None
    except Exception as error:
        sentence = told(error, "a file or what the command prints" if getattr(error, "errno", None) in NO_SPACE else None)
        if sentence is None:
            raise
        if getattr(error, "errno", None) in NO_SPACE and getattr(error, "filename", None) is None:
            _drop_output()
        return _tell(f"{name}: {sentence}", 1)
    return _tell(f"{name}: stopped", 130) if status == 130 else status or 0


def _tell(message: str, status: int) -> int:
    with contextlib.suppress(OSError):  # nobody may read it any more
        print(message, file=sys.stderr, flush=True)
    return status


def _make_output_safe() -> None:
    """Let commands print where an output is closed, and print every file name whatever the encoding of the output is."""
    for name in ("stdout", "stderr"):
        stream = getattr(sys, name)
        if stream is None:
            setattr(sys, name, open(os.devnull, "w"))  # noqa: SIM115
        elif isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


def _drop_output() -> None:
    """Forget what could not be printed: Python would try to print it once more when it ends, and then report that this fails."""
    with contextlib.suppress(OSError, ValueError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _check_address_space(argv: list[str]) -> None:
    """Refuse a limit of the address space in which the numerical libraries cannot be loaded, since they end in ways of their own.

    Raises StudyError for a command that loads them.
    """
    limit = resource.getrlimit(resource.RLIMIT_AS)[0]
    asks = {"--help", "--list"} & set(argv)
    if argv and argv[0] in FILES and argv[0] not in LIGHT and not asks and 0 < limit < ADDRESS_SPACE:
        raise StudyError(
            f"the address space of this process is limited to {limit / 1e6:,.0f} MB, and the numerical libraries need "
            f"{ADDRESS_SPACE / 1e6:,.0f} MB: raise the limit (ulimit -v, or the memory that the job asks for)"
        )
