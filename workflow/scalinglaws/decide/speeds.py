"""How fast this machine trains the runs of a study: by its runs that are there, by timed steps, or else by assumption.

A speed is a factor: the measured over the expected seconds of a step (cluster/cost.py). Between two sizes that were measured it
is interpolated in log N. Steps are timed in as many processes as trainings will run, since two that run at the same time are each
slower than one alone, and what was timed is kept in results/speeds, so that the next plan need not wait for it.
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
import math
import os
import re
import statistics
import subprocess
import sys
import threading
import time
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from scalinglaws.cluster import needs
from scalinglaws.cluster.cost import CORE, CORE_START_SECONDS, MOST_APART, measured_ratios, step_seconds
from scalinglaws.cluster.device import Device
from scalinglaws.common import files
from scalinglaws.common.errors import StudyError
from scalinglaws.common.machine import processor_name
from scalinglaws.common.read import read_object
from scalinglaws.study.paths import has_run
from scalinglaws.study.spec import RunSpec, run_from_dict
from scalinglaws.study.study import Study

SECONDS = 1.0  # for which the steps of a size are timed
LONGEST_STEP = 4.0  # expected seconds on a core above which no step is timed
MOST_BYTES = 2**31  # memory of a training above which no step is timed
MOST_KINDS = 3  # kinds of models that are timed
NEAR = 4.0  # factor in N within which a measurement tells the speed of another size
# Start of a job over that of a process that times steps: it also loads the command line, reads tokens and writes its results.
JOB_START = 1.2
PATIENCE = 120.0  # seconds after which timed steps are given up

Kind = tuple[str, str, bool, int]  # architecture, precision, whether there is dropout, threads


def kind_of(spec: RunSpec) -> Kind:
    """Return what the factor of a run depends on beside its size."""
    return spec.architecture, spec.precision, spec.dropout > 0, spec.threads


@dataclass(frozen=True)
class Speeds:
    """What is known of the speed of this machine.

    Attributes
    ----------
    factors
        Kind -> N -> measured over expected seconds of a step.
    start_seconds
        Seconds from the start of a job to its first step, as far as it is measured.
    source
        "runs", "timed steps" or "assumed".
    """

    factors: dict[Kind, dict[int, float]] = field(default_factory=dict)
    start_seconds: float | None = None
    source: str = "assumed"

    def factor(self, spec: RunSpec) -> float:
        """Return the factor of a run: of its own kind where that was measured, else of the kind that agrees in most; else 1."""
        if not self.factors:
            return 1.0
        own = kind_of(spec)
        agree = {kind: sum(a == b for a, b in zip(kind, own, strict=True)) for kind in sorted(self.factors)}
        return interpolated(self.factors[max(agree, key=lambda kind: agree[kind])], spec.n_params)

    def step(self, spec: RunSpec) -> float:
        """Return the expected seconds of a step of a run."""
        return self.factor(spec) * step_seconds(spec, CORE)

    def near(self, spec: RunSpec) -> bool:
        """Tell whether a run of its kind and of about its size was measured."""
        return any(1 / NEAR <= n / spec.n_params <= NEAR for n in self.factors.get(kind_of(spec), {}))


def interpolated(factors: dict[int, float], n_params: int) -> float:
    """Return the factor at a size: linear between logs of neighbours in log N, and that of the nearest size outside of them."""
    below = max((n for n in factors if n <= n_params), default=min(factors))
    above = min((n for n in factors if n >= n_params), default=max(factors))
    if not below < n_params < above:
        return factors[above if n_params >= above else below]
    share = math.log(n_params / below) / math.log(above / below)
    return factors[below] ** (1 - share) * factors[above] ** share


def this_machine(study: Study, results: Path, at_once: int, timing: bool = True) -> Speeds:
    """Return what is known of this machine's speed for the runs of a study that are left.

    Parameters
    ----------
    study
        The study.
    results
        The folder of results, with the timings of runs, and with the kept ones of timed steps.
    at_once
        Number of trainings that will run at the same time.
    timing
        Whether to time steps of sizes that nothing is known of.
    """
    processor = CORE.model_copy(update={"name": processor_name()})
    of_runs = _of_runs(study, results, processor)
    path = kept_path(results, processor, at_once)
    known = _joined(of_runs, _kept(path), start=_start_of_runs(study, results))
    left = [spec for run, spec in study.runs.items() if not has_run(results, run)] or list(study.runs.values())
    wanted = [spec for spec in to_time(left) if not known.near(spec)]
    if not wanted or not timing:
        return known
    timed = time_steps(wanted, at_once, results)
    if timed is None:
        return known
    _keep(path, processor, at_once, *timed)
    return _joined(of_runs, _kept(path), start=known.start_seconds)


def to_time(specs: Iterable[RunSpec]) -> list[RunSpec]:
    """Return the smallest and the largest run of each of the kinds with most work, as specs of which a step can be timed."""
    kinds: dict[Kind, list[RunSpec]] = {}
    for spec in specs:
        kinds.setdefault(kind_of(spec), []).append(spec)
    work = {kind: sum(spec.steps * step_seconds(spec, CORE) for spec in found) for kind, found in kinds.items()}
    wanted = []
    for kind in sorted(kinds, key=lambda kind: (-work[kind], kind))[:MOST_KINDS]:
        short = {spec.n_params: small for spec in kinds[kind] if (small := _shortened(spec)) is not None}
        wanted += [short[n] for n in sorted({min(short), max(short)})] if short else []
    return wanted


def _shortened(spec: RunSpec) -> RunSpec | None:
    """Return a run with a batch that is small enough to be timed; None where even one context takes too long or too much."""
    seconds = step_seconds(spec, CORE)
    contexts = min(spec.batch_tokens // spec.n_ctx, max(1, int(spec.batch_tokens / spec.n_ctx * SECONDS / 4 / seconds)))
    batch = contexts * spec.n_ctx
    own: dict[str, Any] = {"dataset_tokens": None, "rate_sweep": "", "learning_rate": 1e-4, "init": (), "noise_every": 0}
    small = dataclasses.replace(spec, batch_tokens=batch, micro_batch_tokens=None, tokens=batch, warmup_tokens=0, **own)
    fits = needs.gpu_bytes(small, 1, batch) <= MOST_BYTES and step_seconds(small, CORE) <= LONGEST_STEP
    return small if fits else None


def time_steps(specs: list[RunSpec], at_once: int, results: Path) -> tuple[list[tuple[RunSpec, float]], float] | None:
    """Time steps in ``at_once`` processes that compute at the same time.

    Returns
    -------
    tuple or None
        Each spec with the mean seconds of its step, and the seconds that a process takes to start; None where it cannot be told,
        because a process ends early, as without memory, or takes too long.
    """
    root = str(Path(__file__).resolve().parents[2])
    path = os.pathsep.join([root, *filter(None, [os.environ.get("PYTHONPATH")])])
    question = json.dumps({"seconds": SECONDS, "specs": [spec.plain for spec in specs]})
    command, pipe, began = [sys.executable, "-m", "scalinglaws.train.timed", str(results)], subprocess.PIPE, time.monotonic()
    processes = [
        subprocess.Popen(
            command, stdin=pipe, stdout=pipe, stderr=subprocess.DEVNULL, text=True, env={**os.environ, "PYTHONPATH": path}
        )
        for _ in range(at_once)
    ]
    timer = threading.Timer(PATIENCE, _end, [processes])
    timer.start()
    try:
        start, seconds = 0.0, []
        _tell(processes, question)
        for _ in specs:
            if set(_hear(processes)) != {"ready"}:
                return None
            start = start or time.monotonic() - began
            _tell(processes, "go")
            seconds.append(statistics.fmean(map(float, _hear(processes))))
        return list(zip(specs, seconds, strict=True)), start
    except (OSError, ValueError):  # a process has ended, and what it was told or was to say is missing
        return None
    finally:
        timer.cancel()
        _end(processes)
        for process in processes:
            with contextlib.suppress(OSError):
                process.communicate()


def _end(processes: list[subprocess.Popen[str]]) -> None:
    for process in processes:
        process.kill()


def _tell(processes: list[subprocess.Popen[str]], line: str) -> None:
    for process in processes:
        assert process.stdin is not None
        process.stdin.write(f"{line}\n")
        process.stdin.flush()


def _hear(processes: list[subprocess.Popen[str]]) -> list[str]:
    """Return the next line of each process; an empty one of a process that has ended."""
    return [process.stdout.readline().strip() for process in processes if process.stdout is not None]


def kept_path(results: Path, device: Device, at_once: int) -> Path:
    """Return the file in which timed steps of a device are kept, by its name and the number of processes that shared it."""
    name = re.sub(r"[^A-Za-z0-9]+", "-", device.name).strip("-").lower() or "cpu"
    return results / "speeds" / f"{name}-{at_once}.json"


def _keep(path: Path, device: Device, at_once: int, timed: list[tuple[RunSpec, float]], start: float) -> None:
    """Add timed steps to those that are kept. A folder of results that cannot be written keeps none."""
    before = _read(path)
    specs = {spec.canonical for spec, _ in timed}
    steps = [{"spec": spec.plain, "seconds": seconds} for spec, seconds in before if spec.canonical not in specs]
    steps += [{"spec": spec.plain, "seconds": seconds} for spec, seconds in timed]
    about = {"device": device.name, "at_once": at_once, "start_seconds": start, "steps": steps}
    try:
        files.write_text(path, json.dumps(about, indent=1, sort_keys=True) + "\n")
    except (OSError, StudyError):
        return


def _read(path: Path) -> list[tuple[RunSpec, float]]:
    """Return the steps that are kept in a file; none where it is missing or damaged."""
    try:
        found = [(run_from_dict(step["spec"]), float(step["seconds"])) for step in read_object(path)["steps"]]
        return [(spec, seconds) for spec, seconds in found if 0 < seconds < math.inf]
    except (StudyError, KeyError, TypeError, ValueError, AttributeError):
        return []


def _kept(path: Path) -> Speeds:
    """Return the speeds of timed steps that are kept in a file."""
    factors: dict[Kind, dict[int, float]] = {}
    for spec, seconds in _read(path):
        try:
            ratio = seconds / step_seconds(spec, CORE)
        except StudyError:  # of an architecture whose plug-in is not loaded
            continue
        if 1 / MOST_APART < ratio < MOST_APART:
            factors.setdefault(kind_of(spec), {})[spec.n_params] = ratio
    try:
        start = JOB_START * float(read_object(path)["start_seconds"])
    except (StudyError, KeyError, TypeError, ValueError):
        return Speeds()
    return Speeds(factors, start if 0 < start < math.inf else None, "timed steps") if factors else Speeds()


def _of_runs(study: Study, results: Path, device: Device) -> Speeds:
    """Return the speeds of the study's runs that were trained on this machine, as geometric means of each size."""
    logs: dict[Kind, dict[int, list[float]]] = {}
    for spec, ratio, _ in measured_ratios(study, results, device):
        logs.setdefault(kind_of(spec), {}).setdefault(spec.n_params, []).append(math.log(ratio))
    factors = {kind: {n: math.exp(statistics.fmean(each)) for n, each in sizes.items()} for kind, sizes in logs.items()}
    return Speeds(factors, None, "runs") if factors else Speeds()


def _joined(of_runs: Speeds, timed: Speeds, start: float | None) -> Speeds:
    """Return both together: what runs took counts before what was timed at the same size."""
    kinds = of_runs.factors.keys() | timed.factors.keys()
    factors = {kind: timed.factors.get(kind, {}) | of_runs.factors.get(kind, {}) for kind in sorted(kinds)}
    source = " and ".join(sorted({part.source for part in (of_runs, timed) if part.factors})) or "assumed"
    return Speeds(factors, start or timed.start_seconds, source)


def _start_of_runs(study: Study, results: Path) -> float | None:
    """Return the seconds that jobs of this study took beside their training: the median over runs; None where none tells."""
    found = []
    for run in study.runs:
        try:
            row = (results / "logs" / "train" / f"{run}.benchmark.tsv").read_text().splitlines()[1]
            found.append(float(row.split("\t")[0]) - float(read_object(results / "runs" / run / "timing.json")["seconds"]))
        except (OSError, StudyError, ValueError, IndexError, KeyError, TypeError):
            continue
    start = statistics.median(found) if found else 0.0
    return start if 0 < start < math.inf else None


def start_seconds(speeds: Speeds) -> float:
    """Return the seconds from the start of a job on this machine to its first step."""
    return speeds.start_seconds or CORE_START_SECONDS
