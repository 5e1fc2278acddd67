"""The state of each run and trunk of a study, from the files in results/ and, where there is a Slurm, from its queue.

A run is done where its metrics are there. It is running where the process of its heartbeat lives (train/progress.py), and where
its process is being started here or Slurm runs its job. It has failed where its log ends with an error (failures.py). It is
stopped where a process that is gone has left a heartbeat or a checkpoint. Otherwise it waits.
"""

from __future__ import annotations

import math
import socket
import time
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property, lru_cache
from pathlib import Path
from typing import Any

from scalinglaws.cluster.queue import QueuedJob
from scalinglaws.common import finished
from scalinglaws.common.errors import StudyError
from scalinglaws.common.numbers import counted
from scalinglaws.common.read import read_object
from scalinglaws.decide.failures import Job, error_of, members_of_bundle, run_job, rung_job
from scalinglaws.decide.standing import RunStanding, State, TrunkStanding
from scalinglaws.decide.status import heartbeats, needed_rungs
from scalinglaws.study import paths
from scalinglaws.study.init import CONFIG as WEIGHTS_CONFIG
from scalinglaws.study.init import weights_of
from scalinglaws.study.spec import RunSpec
from scalinglaws.study.study import Study
from scalinglaws.train.progress import trains

BUNDLE, TRAIN, RUNG = "bundle_wildcards_", "train_wildcards_", "rung_wildcards_"


@dataclass
class Look:
    """One look at the files of a study.

    Attributes
    ----------
    study
        The study.
    results
        The folder of results.
    works
        Whether a Snakemake works on the study, as far as this machine sees.
    jobs
        What Slurm has of the workflow's jobs (cluster/queue.py).
    started
        Runs and trunks whose trainings have been started on this machine, with a heartbeat or not yet.
    """

    study: Study
    results: Path
    works: bool
    jobs: Mapping[str, QueuedJob] = field(default_factory=dict)
    started: Collection[str] = ()

    def __post_init__(self) -> None:
        ours = self.study.runs.keys() | self.study.trunks.keys()
        self.beats = {name: beat for name, beat in heartbeats(self.results).items() if name in ours}
        self.live = {name: beat for name, beat in self.beats.items() if trains(beat)}

    @cached_property
    def own_jobs(self) -> dict[str, QueuedJob]:
        """Return run or trunk -> the job of Slurm that trains it alone."""
        found = {name.removeprefix(TRAIN): job for name, job in self.jobs.items() if name.startswith(TRAIN)}
        rungs = {name.removeprefix(RUNG).rpartition("_")[0]: job for name, job in self.jobs.items() if name.startswith(RUNG)}
        return {**found, **rungs}

    @cached_property
    def shared_jobs(self) -> dict[str, QueuedJob]:
        """Return run or trunk -> the job of Slurm that trains it with others."""
        bundles = {name.removeprefix(BUNDLE): job for name, job in self.jobs.items() if name.startswith(BUNDLE)}
        return {
            name: job for bundle, job in bundles.items() for name in members_of_bundle(paths.bundle_path(self.results, bundle))
        }

    @cached_property
    def trunks(self) -> dict[str, TrunkStanding]:
        """Return the trunks that have rungs to train, by id."""
        return {each.trunk: each for each in self._trunks()}

    def runs(self) -> Iterator[RunStanding]:
        """Yield every run of the study, by id."""
        for run, spec in self.study.runs.items():
            values = self._trained(run, spec) if paths.has_run(self.results, run) else self._run(run, spec)
            yield RunStanding(run=run, experiments=sorted(self.study.experiments[run]), **{"trunk": None, **values})

    def _trained(self, run: str, spec: RunSpec) -> dict[str, Any]:
        """Return what is known of a run that is trained."""
        path = paths.run_folder(self.results, run) / "metrics.json"
        status, loss = _outcome(path, path.stat().st_mtime_ns)
        return _values("diverged" if status == "diverged" else "done", spec.steps, spec.steps) | {"test_loss": loss}

    def _run(self, run: str, spec: RunSpec) -> dict[str, Any]:
        """Return what is known of a run that is not trained."""
        trunk, start = self.study.trunk_ids.get(run), self.study.starts[run]
        there = not start or trunk is None or paths.has_rung(self.results, trunk, start)
        folder = paths.run_folder(self.results, run)
        values = self._training(run, spec, run_job(self.study, self.results, run), folder, "checkpoint-", start if there else 0)
        if values["state"] == "waiting" and values["because"] is None:
            missing = self._missing(spec, folder, [run] if run in self.study.forecasts else [])
            if missing is None and not there:
                return values | {"because": f"rung {start} of {trunk}", "trunk": trunk}
            values["because"] = missing or self._place()
        return values

    def _trunks(self) -> Iterator[TrunkStanding]:
        """Yield the trunks that have rungs to train: a trunk trains to one rung after the other."""
        waiting = [run for run in self.study.trunk_ids if not paths.has_run(self.results, run)]
        for trunk, steps in needed_rungs(self.study, self.results).items():
            missing = [step for step in steps if not paths.has_rung(self.results, trunk, step)]
            if not missing:
                continue
            spec, first, folder = self.study.trunks[trunk], missing[0], self.results / "trunks" / trunk
            below = max((step for step in steps if step < first), default=0)
            job = rung_job(self.study, self.results, trunk, first)
            values = self._training(trunk, spec, job, folder, f"partial-{first}-", below, first)
            if values["state"] == "waiting" and values["because"] is None:
                forecasts = self.study.forecasts_of_rungs.get((trunk, first), ())
                values["because"] = self._missing(spec, folder, forecasts) or self._place()
            runs = sum(self.study.trunk_ids[run] == trunk and self.study.starts[run] in missing for run in waiting)
            made = len(steps) - len(missing)
            yield TrunkStanding(trunk=trunk, rungs_made=made, rungs=len(steps), runs=runs, **values)

    def _training(
        self, name: str, spec: RunSpec, job: Job, folder: Path, prefix: str, start: int, steps: int | None = None
    ) -> dict[str, Any]:
        """Return what is known of a training whose result is missing. ``because`` is None where it waits for no job of Slurm.

        ``prefix`` is that of its checkpoints, ``start`` the step that it begins at, and ``steps`` the one at which it ends.
        """
        steps = spec.steps if steps is None else steps
        if name in self.live:
            return _of_heartbeat(self.live[name], spec, start, steps)
        saved = max((step for step in _saved(folder, prefix) if step <= steps), default=None)
        values = _values("waiting", start if saved is None else saved, steps)
        own = self.own_jobs.get(name)
        shared = self.shared_jobs.get(name)
        if name in self.started or (own is not None and own.runs):
            return values | {"state": "running", "host": socket.gethostname() if name in self.started else None}
        if (queued := own or shared) is not None:
            return values | {"because": f"its turn in {queued.words}" if queued.runs else queued.words}
        if error_of(job.log, name):
            return values | {"state": "failed"}
        if finished.is_kept(job.target):
            why = "it had ended, and the next start puts its files in place"
            return values | {"state": "stopped", "step": steps, "because": why}
        if saved is not None or name in self.beats:
            return values | {"state": "stopped", "because": _end(self.beats.get(name))}
        return values

    def _missing(self, spec: RunSpec, folder: Path, forecasts: Any) -> str | None:
        """Return what a training waits for that no process trains; None where all of it is there."""
        if not (folder / "spec.json").exists():
            return "a start of snakemake: none has read this config yet"
        if not (self.results / "tokens" / spec.tokens_id / "meta.json").exists():
            return f"the tokens of {spec.tokens_id}"
        if (weights := weights_of(spec)) and not (paths.weights_folder(self.results, weights.id) / WEIGHTS_CONFIG).exists():
            return f"the published weights {weights.id}"
        if spec.rate_sweep and not paths.rate_rule_path(self.results, spec.rate_sweep).exists():
            return f"the learning rate of sweep {spec.rate_sweep}, {self._of(self.study.sweeps[spec.rate_sweep].runs)}"
        own = paths.study_folder(self.results, self.study.name) / "forecasts"
        if any(not (own / f"{run}.json").exists() for run in forecasts):
            return f"its forecast, {self._of(self.study.basis)}"
        return None

    def _of(self, runs: Any) -> str:
        """Return in words how many of the runs are trained that a rule or a forecast follows from."""
        done = sum(paths.has_run(self.results, run) for run in runs)
        return f"which follows from {counted(len(runs), 'run')}, {done} of them trained"

    def _place(self) -> str:
        return "its turn" if self.works else "a start of snakemake"


def _values(state: State, step: int, steps: int) -> dict[str, Any]:
    empty = dict.fromkeys(("loss", "test_loss", "tokens_per_second", "seconds_left", "host", "because"))
    return {"state": state, "step": step, "steps": steps, **empty}


def _of_heartbeat(beat: dict[str, Any], spec: RunSpec, start: int, steps: int) -> dict[str, Any]:
    """Return what the heartbeat of a process that lives says."""
    step = min(steps, max(0, int(beat.get("step", start))))  # a heartbeat may be damaged
    speed = beat.get("tokens_per_second", 0)
    since = max(0.0, time.time() - beat.get("time", time.time()))
    left = max(0.0, (steps - step) * spec.batch_tokens / speed - since) if speed > 0 else None
    said = {name: beat.get(name) for name in ("loss", "test_loss", "host")}
    return _values("running", step, steps) | said | {"tokens_per_second": max(0, speed), "seconds_left": left}


def _saved(folder: Path, prefix: str) -> Iterator[int]:
    """Yield the steps of the checkpoints of a training that its process left behind."""
    for path in folder.glob(f"{prefix}*.safetensors"):
        if (step := path.name.removeprefix(prefix).removesuffix(".safetensors")).isdecimal():
            yield int(step)


def _end(beat: dict[str, Any] | None) -> str:
    """Return in words how the process of a training ended, from the heartbeat that it left; one that saved has left none."""
    if beat is None:
        return "it was told to stop, and saved"
    if beat.get("host") == socket.gethostname():
        return f"its process {beat.get('pid')} was killed"
    return f"no heartbeat has come from {beat.get('host', 'its machine')} for {time.time() - beat.get('time', 0):.0f} s"


@lru_cache(maxsize=100_000)
def _outcome(path: Path, changed: int) -> tuple[str | None, float | None]:
    """Return status and loss in the metrics of a run; None for both where they are damaged. ``changed`` is the file's time."""
    try:
        metrics = read_object(path)
    except StudyError:
        return None, None
    status, loss = metrics.get("status"), metrics.get("loss")
    known = isinstance(loss, float) and math.isfinite(loss)
    return status if isinstance(status, str) else None, loss if known else None
