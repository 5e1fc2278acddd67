"""Compare the workflow with training the runs of a study one after another from nothing, each by the faster of 1 or 2 threads.

The second is measured on each size at a stated number of steps, with one and with two threads, and scaled to the runs'
steps; a process start is added for each run. The first is the wall time of the last `make results`, read from its log: it must
have trained the whole study, and it includes corpus, tokens, evaluations, tables, fits and figures, which the second does not.

rm -rf results/[!R]* && make results && python tests/benchmarks/study_speed.py
"""

import argparse
import dataclasses
import json
import re
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from fixtures.small_runs import write_tokens
from scalinglaws.study import config, study


def seconds_of(spec, steps: int, tokens: Path = Path("results/tokens")) -> float:
    """Return the wall time of a training process of so many steps, its start included."""
    with tempfile.TemporaryDirectory() as name:
        path = Path(name, "spec.json")
        path.write_text(dataclasses.replace(spec, tokens=steps * spec.batch_tokens).canonical)
        began = time.perf_counter()
        command = [sys.executable, "-m", "scalinglaws", "train", "--spec", path, "--tokens", tokens, "--out", name]
        done = subprocess.run(list(map(str, command)), capture_output=True, text=True)
        if done.returncode:
            sys.exit(f"study_speed: training ended with {done.returncode}:\n{done.stdout}{done.stderr}")
        return time.perf_counter() - began


def smoke(spec) -> None:
    """Train a model for one step on made-up tokens. This program ends where the training process fails."""
    short = {"dataset_tokens": None, "eval_tokens": 4096, "curve_tokens": 4096}
    timed = dataclasses.replace(spec, stop="budget", patience=0, schedule="constant", decay=0.0, **short)
    with tempfile.TemporaryDirectory() as name:
        write_tokens(Path(name, spec.tokens_id), train=100_000, held_out=20_000)
        print(f"{spec.n_params} parameters: {seconds_of(timed, 1, Path(name)):.1f} s for a process of one step")


def seconds_of_workflow(runs: int) -> float:
    """Return the wall time of the workflow that made the study, from its log."""
    log = Path("results/logs/snakemake.log")
    text = log.read_text() if log.exists() else ""
    trained = re.search(r"^train +(\d+)$", text, re.MULTILINE)
    elapsed = re.search(r"^Elapsed time: (\d+):(\d+):([\d.]+)$", text, re.MULTILINE)
    if not trained or int(trained[1]) != runs or not elapsed:
        sys.exit(
            f"study_speed: {log} is not of a workflow that trained all {runs} runs: delete results/ and run `make results` first"
        )
    hours, minutes, seconds = map(float, elapsed.groups())
    return 3600 * hours + 60 * minutes + seconds


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--configfile", default="config.yaml")
    parser.add_argument("--smoke", action="store_true", help="run one step of the smallest model alone, to see that this works")
    parser.add_argument("--steps", type=int, default=300, help="steps measured of each size, beside those of the warm-up")
    args = parser.parse_args()
    made = study.build(config.load(args.configfile))
    if args.smoke:
        smoke(min(made.runs.values(), key=lambda spec: spec.n_params))
        return
    workflow = seconds_of_workflow(len(made.runs))
    total, measured = 0.0, {}
    for run, spec in made.runs.items():
        key = (spec.n_layer, spec.d_model)
        if key not in measured:
            rates = []
            for threads in (1, 2):
                timed = dataclasses.replace(spec, threads=threads, stop="budget", patience=0, schedule="constant", decay=0.0)
                short, long = (seconds_of(timed, steps) for steps in (1, args.steps + 1))
                rates.append((short, (long - short) / args.steps))
            measured[key] = min(rates, key=lambda pair: pair[1])
            print(f"{spec.n_params} parameters: {', '.join(f'{1e3 * rate:.1f} ms a step' for _, rate in rates)}", flush=True)
        metrics = Path("results/runs", run, "metrics.json")
        steps = json.loads(metrics.read_text())["steps"] if metrics.exists() else spec.steps
        start, rate = measured[key]
        total += start + steps * rate
    print(f"one after another {total:.0f} s, workflow {workflow:.0f} s: {total / workflow:.2f} times faster")


if __name__ == "__main__":
    main()
