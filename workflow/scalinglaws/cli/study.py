"""Commands about a whole study: ``run``, ``plan``, ``prune`` and ``schema``."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated

import typer

from scalinglaws.cli.options import CONFIG, MOST_PROCESSES, RESULTS, ConfigFile, Json, file_to_write


def run(
    configfile: ConfigFile = CONFIG,
    cores: Annotated[int, typer.Option(min=1, max=MOST_PROCESSES, help="CPU cores that all jobs share.")] = os.cpu_count() or 1,
    snakemake: Annotated[
        list[str] | None, typer.Argument(metavar="-- SNAKEMAKE_ARGUMENT", help="After --: further arguments for snakemake.")
    ] = None,
) -> None:
    """Run a study to its figures, with a line of progress.

    Only what is missing is made. A study that was stopped goes on where it was: trainings save their state before they end.

    \b
    Examples:
      scalinglaws run
      scalinglaws run --configfile workflow/studies/smoke.yaml --cores 4
      scalinglaws run -- --profile profiles/slurm
    """
    from scalinglaws.dag import launch

    launch.run(configfile, cores, snakemake or [], RESULTS)


def plan(
    configfile: ConfigFile = CONFIG,
    profile: Annotated[
        Path | None, typer.Option(help="Snakemake profile of a cluster: also show GPU-hours by model size on its device.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Show what a study would train, what of it is there, and what the rest costs.

    \b
    Examples:
      scalinglaws plan --configfile workflow/studies/smoke.yaml
      scalinglaws plan --profile profiles/slurm
      scalinglaws plan --json
    """
    from scalinglaws.cli.output import print_json, print_table
    from scalinglaws.cluster import bundles
    from scalinglaws.cluster.cost import measured_speeds
    from scalinglaws.cluster.device import device_of_profile
    from scalinglaws.common.errors import StudyError
    from scalinglaws.common.numbers import short
    from scalinglaws.decide.design import warnings
    from scalinglaws.decide.load import load
    from scalinglaws.decide.plan import of_sweeps, plan_rows, plan_totals, rate_in_words, sentences

    if as_json and profile:
        raise typer.BadParameter("GPU-hours of a profile are printed as a table alone: leave --json or --profile out")
    study = load(configfile, RESULTS)
    rows, totals = plan_rows(study, RESULTS), plan_totals(study, RESULTS)
    if as_json:
        print_json({"runs": rows, "totals": totals, "warnings": warnings(study)})
        return
    elsewhere = ", ".join(table.path for table in study.external)
    print(f"study {study.name}: {len(rows)} runs" + (f", and those in {elsewhere}" if elsewhere else ""))
    if not rows:
        return
    columns = ("run", "experiments", "heads", "tokens", "from", "GFLOP", *(["rate"] if study.sweeps else []), "state")
    texts = [
        (
            row["run"],
            ",".join(row["experiments"]),
            str(row["n_heads"] or "-"),
            short(row["tokens"]),
            short(row["from_tokens"]) if row["from_tokens"] else "-",
            f"{row['gflop']:,.0f}",
            *([rate_in_words(row)] if study.sweeps else []),
            f"{row['state']}, forecast" if row["forecast"] else row["state"],
        )
        for row in rows
    ]
    print_table(columns, texts, right=("heads", "tokens", "from", "GFLOP"))
    told = [*of_sweeps(study, RESULTS), *sentences(totals)]
    print("\n".join([*told, *(f"warning: {sentence}" for sentence in warnings(study))]))
    if profile:
        device = device_of_profile(profile)
        if device is None:
            raise StudyError(f"{profile} describes no device: give one under config, as profiles/slurm does")
        speeds = measured_speeds(study, RESULTS, device)
        print("\n".join(["", *bundles.table(study, RESULTS, device, speeds)]))


def prune(
    configfile: ConfigFile = CONFIG,
    yes: Annotated[bool, typer.Option("--yes", help="Delete the files; without it they are only listed.")] = False,
    as_json: Json = False,
) -> None:
    """List or delete the rungs (checkpoints) of a study that no unfinished run needs.

    Nothing that is done is trained again without them. A longer budget that is added later starts lower on the ladder.

    \b
    Examples:
      scalinglaws prune
      scalinglaws prune --configfile config.yaml --yes
    """
    from scalinglaws.cli.output import print_json
    from scalinglaws.decide.load import of_config
    from scalinglaws.decide.prune import spare_rungs
    from scalinglaws.study import config

    study = of_config(config.load(configfile), RESULTS)  # the files of text that it names do not matter here
    spare = {path: path.stat().st_size for path in spare_rungs(study, RESULTS)}
    for path in spare:
        if not as_json:
            print(path)
        if yes:
            path.unlink()
    if as_json:
        print_json({"rungs": [{"path": str(path), "bytes": size} for path, size in spare.items()], "deleted": yes})
        return
    told = "deleted" if yes else "could be deleted (--yes does)"
    print(f"{len(spare)} rungs, {sum(spare.values()) / 1e6:.1f} MB {told}")


def schema(
    out: Annotated[Path, typer.Option(callback=file_to_write, help="JSON file to write.")] = Path("workflow/config.schema.json"),
) -> None:
    """Write the JSON schema of config.yaml, with which editors complete and check it.

    \b
    Example:
      scalinglaws schema --out workflow/config.schema.json
    """
    from scalinglaws.decide.schema import write_schema

    write_schema(out)
    print(out)
