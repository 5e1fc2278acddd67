"""The command ``export``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from scalinglaws.cli.options import RESULTS, Json, Results


def export(
    run: Annotated[str, typer.Argument(help="Id of a finished run, or a beginning of it that no other run has.")],
    to: Annotated[Path, typer.Option("--to", help="Folder to write, which is empty or not there yet.")],
    results: Results = RESULTS,
    as_json: Json = False,
) -> None:
    """Write a finished run as a folder that the library transformers loads, with its tokenizer and a model card.

    The logits are those of the run. Architectures transformer, recurrent, llama and moe have a class there (docs/models.md).
    Nothing is sent anywhere.

    \b
    Example:
      scalinglaws export gpt-n25.1k-t1.0M-s0-0123456789 --to published/gpt-25k
    """
    from scalinglaws.cli.output import print_json
    from scalinglaws.decide import export as exports

    run_id = exports.find_run(run, results)
    written = exports.export(run_id, results, to)
    if as_json:
        print_json({"run": run_id, "to": str(to), "files": written})
    else:
        print(f"{run_id}: written to {to}: {', '.join(written)}")
