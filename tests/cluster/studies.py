"""A study of runs that are alike but for their seeds, on the text of the smoke study."""

from __future__ import annotations

import yaml

from workflow.conftest import SMOKE, Workflow

SEEDS = "seeds.yaml"
LONG = 1_600_000  # tokens of a run that takes about a minute among four


def write_seeds(workflow: Workflow, seeds: int, tokens: int = LONG) -> None:
    """Write SEEDS into the folder of a workflow."""
    data = yaml.safe_load((workflow.folder / SMOKE).read_text())
    points = [{"model": "2x16", "tokens": tokens, "seed": seed, "schedule": "constant"} for seed in range(seeds)]
    experiments = {"seeds": {"points": points}}
    fits = {"laws": ["power-n"], "bootstrap": 0}
    data |= {"study": "seeds", "experiments": experiments, "figures": [], "fits": fits}
    (workflow.folder / SEEDS).write_text(yaml.safe_dump(data))
