"""A study whose runs differ only in their seeds, on the text of the smoke study."""

from __future__ import annotations

import json
import shutil

import yaml

from workflow.conftest import SMOKE, Workflow

SEEDS = "seeds.yaml"


def write_seeds(workflow: Workflow, seeds: int, tokens: int) -> None:
    """Write the config SEEDS, of so many runs, into the folder of a workflow."""
    data = yaml.safe_load((workflow.folder / SMOKE).read_text())
    points = [{"model": "2x16", "tokens": tokens, "seed": seed, "schedule": "constant"} for seed in range(seeds)]
    experiments = {"seeds": {"points": points}}
    fits = {"laws": ["power-n"], "bootstrap": 0}
    data |= {"study": "seeds", "experiments": experiments, "figures": [], "fits": fits}
    (workflow.folder / SEEDS).write_text(yaml.safe_dump(data))


def tokens_per_second(workflow: Workflow) -> float:
    """Measure the speed of one such run alone on this machine, over some seconds; what was trained is deleted.

    The first steps of a run are evaluated often, so that a run of a second is slower than one of minutes.
    """
    return measured(workflow, round(10 * measured(workflow, 100_000)))


def measured(workflow: Workflow, tokens: int) -> float:
    """Return the tokens per second of one run of so many tokens, and delete it."""
    write_seeds(workflow, 1, tokens)
    workflow.run("--cores", "1", "--until", "train", study=SEEDS)
    (timing,) = (workflow.folder / "results/runs").glob("*/timing.json")
    speed = json.loads(timing.read_text())["tokens_per_second"]
    for name in ("results/runs", ".snakemake"):
        shutil.rmtree(workflow.folder / name)
    return speed
