"""Options that several commands share, and the ways in which values are written on the command line."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

RESULTS = Path("results")

ConfigFile = Annotated[Path, typer.Option("--configfile", help="Config file of the study.")]
Json = Annotated[bool, typer.Option("--json", help="Print JSON instead of a table.")]
Results = Annotated[Path, typer.Option("--results", help="Folder of all results.")]
Fits = Annotated[Path, typer.Option("--fits", help="Folder of the fits, LAW.json.")]
Spec = Annotated[Path, typer.Option("--spec", help="The spec.json of what this command makes.")]
TokensRoot = Annotated[Path, typer.Option("--tokens", help="Root of the token folders, CORPUS/TOKENIZER.")]
Workers = Annotated[int, typer.Option("--workers", help="Processes to use for a large corpus; the bytes do not depend on it.")]
Device = Annotated[
    Literal["auto", "cpu", "cuda"], typer.Option("--device", help="Where to compute; auto takes a GPU if there is one.")
]
Sums = Annotated[
    bool, typer.Option("--sums", help="Leave a list of sha256 sums beside what is written, NAME.sha256, as the workflow does.")
]
CheckpointSeconds = Annotated[float, typer.Option("--checkpoint-seconds", help="Wall time between two checkpoints, in seconds.")]


def names(text: str | None) -> list[str] | None:
    """Return the names in a list with commas, "a,b"; an empty text has none, and None stands for an option that was not given."""
    return None if text is None else [name for part in text.split(",") if (name := part.strip())]


def known_laws() -> list[str]:
    """Return the names of the laws, for completion in the shell."""
    from scalinglaws.laws.registry import LAW_KINDS

    return list(LAW_KINDS)


def known_figures() -> list[str]:
    """Return the names of the figures, for completion in the shell."""
    from scalinglaws.figures.registry import FIGURES

    return list(FIGURES)
