"""Measure how long Snakemake takes to start.

It times a dry run of 1,000 runs against a trivial workflow with as many jobs, the start of one of these jobs on a cluster node
against one of the trivial workflow, and a no-op of a finished study.

Times are processor time, user and system, so that other work on the machine counts as little as possible. The calls share a
bytecode cache, as they do for a user; the first call fills it and is not counted.

python tests/benchmarks/dag.py [--repeats 3] [--smoke]
"""

import argparse
import os
import re
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

import yaml

from scalinglaws.dag import kept, snapshot
from scalinglaws.study import config, study

ROOT = Path(__file__).parents[2]
TRIVIAL = """
rule all:
    input: expand("out/{{i}}.txt", i=range({jobs}))

rule one:
    output: "out/{{i}}.txt"
    shell: "touch {{output}}"
"""


def snakemake(folder: Path, *arguments: str, **environment: str) -> tuple[float, str]:
    """Return the processor seconds and the output of one call. This program ends, with that output, where Snakemake fails."""
    before = os.times()
    command = [sys.executable, "-m", "snakemake", *arguments]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, env=os.environ | environment)
    if done.returncode:
        sys.exit(f"snakemake {' '.join(arguments)} ended with {done.returncode}:\n{done.stdout}{done.stderr}")
    after = os.times()
    seconds = after.children_user + after.children_system - before.children_user - before.children_system
    return seconds, done.stdout + done.stderr


def grid_of_runs(seeds: int) -> dict:
    """Return the config of a study of ten sizes, so many seeds and ten budgets."""
    smoke = yaml.safe_load((ROOT / "workflow/studies/smoke.yaml").read_text())
    sizes = [f"{n_layer}x{d_model}" for n_layer in (1, 2) for d_model in (8, 16, 32, 48, 64)]
    grid = {"model": sizes, "seed": list(range(seeds)), "tokens": [f"{32 * k}k" for k in range(1, 11)]}
    return smoke | {"experiments": {"size": {"grid": grid}}}


def job_starts(ours: Path, trivial: Path, data: dict, repeats: int) -> None:
    """Print how long Snakemake takes on a cluster node until a job could start: with our study, and without any."""
    kept_config = snapshot.keep(data, {}, ours / "results")
    made = study.build(config.parse(data))
    for name, text in kept.of_study(made):
        path = ours / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    target = f"results/corpora/{next(iter(made.corpora))}/report.json"
    node = ("-n", "--quiet", "rules", "--mode", "remote", "--nolock", "--cores", "1", "--force")
    for _ in range(repeats):
        a = snakemake(ours, target, *node, "--allowed-rules", "corpus", SCALINGLAWS_STUDY=str(kept_config))[0]
        b = snakemake(trivial, "out/0.txt", *node, "--allowed-rules", "one")[0]
        print(f"start of a job: our study {a:.1f} s, trivial {b:.1f} s, difference {a - b:.1f} s", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--smoke", action="store_true", help="100 runs, once, to see that this works")
    args = parser.parse_args()
    repeats, data = (1, grid_of_runs(seeds=1)) if args.smoke else (args.repeats, grid_of_runs(seeds=10))
    runs = len(study.build(config.parse(data)).runs)
    with tempfile.TemporaryDirectory() as name:
        os.environ["PYTHONPYCACHEPREFIX"] = str(Path(name, "bytecode"))
        os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
        ours, trivial = Path(name, "ours"), Path(name, "trivial")
        ours.mkdir()
        trivial.mkdir()
        for link in ("Snakefile", "workflow", "profiles"):
            (ours / link).symlink_to(ROOT / link)
        (ours / "config.yaml").write_text(yaml.safe_dump(data))
        _, text = snakemake(ours, "-n", "--quiet", "rules")
        jobs = int(re.findall(r"^total +(\d+)$", text, flags=re.MULTILINE)[-1]) - 1
        (trivial / "Snakefile").write_text(TRIVIAL.format(jobs=jobs))
        pairs = []
        for _ in range(repeats):
            a = snakemake(ours, "-n", "--quiet", "all")[0]
            b = snakemake(trivial, "-n", "--quiet", "all", "--cores", "1")[0]
            pairs.append((a, b))
            print(f"dry run, {jobs} jobs: study of {runs} runs {a:.1f} s, trivial {b:.1f} s, ratio {a / b:.2f}", flush=True)
        print(f"median ratio {statistics.median(a / b for a, b in pairs):.2f}")
        job_starts(ours, trivial, data, repeats)
    if args.smoke:
        return
    times = sorted(snakemake(ROOT)[0] for _ in range(repeats)) if finished() else []
    print(f"no-op of the default study: {', '.join(f'{t:.1f}' for t in times)} s" if times else "no-op: run `make results` first")


def finished() -> bool:
    """Return whether the default study is there, so that Snakemake would start nothing."""
    return "Nothing to be done" in snakemake(ROOT, "-n", "--quiet", "rules")[1]


if __name__ == "__main__":
    main()
