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
        Path | None,
        typer.Option(
            help="Snakemake profile with a device, for which times, memory, GPU hours by model size and price are told."
        ),
    ] = None,
    cores: Annotated[
        int, typer.Option(min=1, max=MOST_PROCESSES, help="CPU cores of this machine that all jobs would share.")
    ] = os.cpu_count() or 1,
    untimed: Annotated[
        bool,
        typer.Option("--untimed", help="Time no steps: where nothing was measured, assume the speed of a laptop's core."),
    ] = False,
    as_json: Json = False,
) -> None:
    """Show what a study would train, what of it is there, what the rest takes, and what each law will have to be fitted to.

    Times are for this machine, or for the device of a profile. Where nothing was measured on this machine, two short steps are
    timed, which is kept in results/speeds. Nothing is trained.

    \b
    Examples:
      scalinglaws plan --configfile workflow/studies/smoke.yaml
      scalinglaws plan --profile profiles/slurm
      scalinglaws plan --json
    """
    from scalinglaws.cli.output import print_json, print_table
    from scalinglaws.decide import plan_words
    from scalinglaws.decide.load import load
    from scalinglaws.decide.plan import of_sweeps, sentences
    from scalinglaws.decide.whole_plan import make_plan, of_profile
    from scalinglaws.study import config

    study = load(configfile, RESULTS)
    found = make_plan(study, config.load(configfile), RESULTS, cores, profile, timing=not untimed)
    if as_json:
        print_json(found)
        return
    elsewhere = ", ".join(table.path for table in study.external)
    print(f"study {study.name}: {len(study.runs)} runs" + (f", and those in {elsewhere}" if elsewhere else ""))
    if not study.runs:
        return
    print_table(*plan_words.table(found))
    lines = [*of_sweeps(study, RESULTS), *sentences(found["totals"]), *plan_words.of_laws(found["laws"])]
    lines += [*plan_words.of_cost(found["device"], found["cost"]), plan_words.of_disk(found["disk"])]
    lines += ["", *of_profile(study, RESULTS, profile), ""] if profile else []
    print("\n".join([*lines, *(f"warning: {sentence}" for sentence in found["warnings"])]))


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
