"""Options that several commands share, and the ways in which values are written on the command line."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from scalinglaws.common.errors import StudyError, shown
from scalinglaws.common.fields import LARGEST_INTEGER, MOST_RESAMPLES
from scalinglaws.common.files import check_replaceable
from scalinglaws.common.nearest import proposal

RESULTS = Path("results")
CONFIG = Path("config.yaml")
OUTPUT = Path("-")  # the standard output in place of a file
MOST_PROCESSES = 4096  # processes of one machine, or cores: a larger number is a slip


def file_to_write(path: Path | None) -> Path | None:
    """Return the file that an option gives, checked before any work is done: the callback of options such as --out.

    Raises StudyError for what is no file that can be replaced, such as a device (see ``files.check_replaceable``).
    """
    if path == OUTPUT:
        raise typer.BadParameter("it is '-', and this command writes to files alone: name a file")
    if path is not None:
        check_replaceable(path)
    return path


def file_or_output(path: Path | None) -> Path | None:
    """Return the file that an option gives, as ``file_to_write`` does, or "-", the standard output, as it is."""
    return path if path == OUTPUT else file_to_write(path)


def folder_to_write(path: Path) -> Path:
    """Return the folder that an option gives, which may be missing. Raises StudyError where a file has its name."""
    if path.exists() and not path.is_dir():
        raise StudyError(f"{shown(path)} is a file where a folder is needed: name a folder")
    return path


def seconds(value: float) -> float:
    """Return a time in seconds; one that is negative or not a number is a wrong command line."""
    if not value >= 0:
        raise typer.BadParameter(f"it is {value}: give a number of seconds, 0 or more")
    return value


ConfigFile = Annotated[Path, typer.Option("--configfile", help="Config file of the study.")]
Json = Annotated[bool, typer.Option("--json", help="Print JSON instead of a table.")]
Resamples = Annotated[
    int, typer.Option(metavar="N", min=0, max=MOST_RESAMPLES, help="Resamples of trunks for the intervals; 0 gives none.")
]
Seed = Annotated[int, typer.Option(min=0, max=LARGEST_INTEGER, help="Seed of the resamples.")]
Results = Annotated[Path, typer.Option("--results", help="Folder of all results.")]
Fits = Annotated[Path, typer.Option("--fits", help="Folder of the fits, LAW.json.")]
Spec = Annotated[Path, typer.Option("--spec", help="The spec.json of what this command makes.")]
TokensRoot = Annotated[Path, typer.Option("--tokens", help="Root of the token folders, CORPUS/TOKENIZER.")]
Workers = Annotated[
    int,
    typer.Option(
        "--workers", min=1, max=MOST_PROCESSES, help="Processes to use for a large corpus; the bytes do not depend on it."
    ),
]
Device = Annotated[
    Literal["auto", "cpu", "cuda", "mps"],
    typer.Option("--device", help="Where to compute; auto takes a GPU of CUDA if there is one, and mps is the GPU of a Mac."),
]
LimitMinutes = Annotated[
    float,
    typer.Option(
        "--limit-minutes",
        callback=seconds,
        help="Time limit of the Slurm job, as it was submitted, for nodes without Slurm's clients; 0 where it is not known.",
    ),
]
Sums = Annotated[
    bool, typer.Option("--sums", help="Leave a list of sha256 sums beside what is written, NAME.sha256, as the workflow does.")
]
CheckpointSeconds = Annotated[
    float, typer.Option("--checkpoint-seconds", callback=seconds, help="Wall time between two checkpoints, in seconds.")
]


def names(text: str | None) -> list[str] | None:
    """Return the names in a list with commas, "a,b"; an empty text has none, and None stands for an option that was not given."""
    return None if text is None else [name for part in text.split(",") if (name := part.strip())]


def named(option: str, text: str | None, known: Iterable[str]) -> list[str] | None:
    """Return the names in a list with commas, as ``names`` does. Raises StudyError for a name that is none of ``known``."""
    found, there = names(text), list(known)
    for name in found or []:
        if name not in there:
            raise StudyError(f"{option}: {name!r:.120} is unknown: {proposal(name, there)}")
    return found


def known_laws() -> list[str]:
    """Return the names of the laws, for completion in the shell."""
    from scalinglaws.laws.registry import LAW_KINDS

    return list(LAW_KINDS)


def known_figures() -> list[str]:
    """Return the names of the figures, for completion in the shell."""
    from scalinglaws.figures.registry import FIGURES

    return list(FIGURES)


def json_value(option: str, text: str, kind: Any) -> Any:
    """Return the value of an option that is written as JSON, of the type ``kind``; another value is a wrong command line."""
    from pydantic import TypeAdapter, ValidationError

    try:
        return TypeAdapter(kind).validate_json(text)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        place = "".join(f"[{part!r}]" for part in first["loc"])
        raise typer.BadParameter(f"it cannot be read{place and f' at {place}'}: {first['msg']}", param_hint=option) from None
