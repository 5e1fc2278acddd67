"""Where a study stands, all in one: what ``scalinglaws status`` says."""

from __future__ import annotations

import json
import socket
import time
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from scalinglaws.cluster.queue import QueuedJob, started_here
from scalinglaws.common import processes
from scalinglaws.decide.failures import Job, command, error_of, other_jobs, run_job, rung_job
from scalinglaws.decide.standing import STATES, Counts, FailedJob, RunStanding, Standing, Where, Workflow
from scalinglaws.decide.states import Look
from scalinglaws.decide.status import Status, seconds_left, status
from scalinglaws.study.paths import evaluation_path, owner_path
from scalinglaws.study.study import Study

Owner = dict[str, Any]


def overview(study: Study, results: Path, configfile: Path, jobs: Mapping[str, QueuedJob] | None = None) -> Standing:
    """Tell where a study stands. Nothing is written, and nothing but small files and the ends of logs is read.

    Parameters
    ----------
    study
        The study.
    results
        The folder of results. Only what belongs to the study's runs is counted, whatever other studies lie there.
    configfile
        The config of the study, for the commands that repeat what failed.
    jobs
        What Slurm has of the workflow's jobs, where there is a Slurm (cluster/queue.py).

    Returns
    -------
    Standing
        Runs by state, trunks, the time that is left, and what failed.
    """
    owner = owner_of(results)
    workflow = workflow_of(owner, results) if owner else None
    pid = workflow.pid if workflow is not None and workflow.state == "running" else None
    started = set() if pid is None else started_here(pid)
    ours = workflow is not None and workflow.state != "gone" and workflow.study in (None, study.name)
    look = Look(study, results, ours, jobs or {}, started)
    runs, now = list(look.runs()), status(study, results)
    evaluated = [evaluation_path(results, run, name).exists() for run, name in study.evaluations.items()]
    return Standing(
        study=study.name,
        total=counts(None, runs),
        experiments=[
            counts(name, [run for run in runs if name in run.experiments])
            for name in sorted({name for run in runs for name in run.experiments})
        ],
        evaluations=len(evaluated),
        evaluations_done=sum(evaluated),
        seconds_left=_time_left(look, now, owner),
        tokens_left=now.tokens_left,
        flops_left=now.flops_left,
        workflow=workflow,
        runs=runs,
        trunks=list(look.trunks.values()),
        failures=list(_failures(look, runs, configfile, owner)),
    )


def counts(experiment: str | None, runs: Iterable[RunStanding]) -> Counts:
    """Count runs by their state."""
    found = [run.state for run in runs]
    return Counts(experiment=experiment, wanted=len(found), **{state: found.count(state) for state in STATES})


def owner_of(results: Path) -> Owner:
    """Return what is known of the Snakemake that took the lock last; nothing where there was none, or the file is damaged."""
    kinds: dict[str, Any] = {"pid": int, "host": str, "started": str, "study": str, "options": list}
    kinds |= dict.fromkeys(("time", "work_left"), float)
    try:
        owner = json.loads(owner_path(results).read_text(), parse_constant=lambda name: None)
        return {name: owner[name] for name, kind in kinds.items() if isinstance(owner.get(name), kind)}
    except (OSError, ValueError, AttributeError, RecursionError):
        return {}


def workflow_of(owner: Owner, results: Path) -> Workflow:
    """Tell whether the Snakemake that took the lock last lives. One of another machine may, as long as there is its lock."""
    pid, host = owner.get("pid"), owner.get("host")
    if host in (None, socket.gethostname()):
        lives = pid is not None and "started" in owner and processes.started(pid) == owner["started"]
        state: Where = "running" if lives else "gone"
    else:
        locks = results.parent / ".snakemake" / "locks"
        state = "elsewhere" if locks.is_dir() and any(locks.iterdir()) else "gone"
    return Workflow(pid=pid, host=host, study=owner.get("study"), state=state)


def _time_left(look: Look, now: Status, owner: Owner) -> float | None:
    """Return the seconds that are left; None where nothing works on the study.

    The clock counts from the moment when the first training could start: where the Snakemake of the study began, or when the
    first tokens were there.
    """
    study, results, at = look.study, look.results, time.time()
    if not look.works and not look.live:
        return None
    work = owner.get("work_left") if look.works and "study" in owner else None
    paths = {results / "tokens" / spec.tokens_id / "meta.json" for spec in study.runs.values()}
    first = min((path.stat().st_mtime for path in paths if path.exists()), default=at)
    since = at - max(owner.get("time", at), first)
    return seconds_left(study, now, work if since > 0 else None, since, look.live.values())


def _failures(look: Look, runs: Iterable[RunStanding], configfile: Path, owner: Owner) -> Iterable[FailedJob]:
    """Yield the jobs that failed, in the order of the workflow."""
    study, results = look.study, look.results
    trained: list[Job] = [
        rung_job(study, results, each.trunk, each.steps) for each in look.trunks.values() if each.state == "failed"
    ]
    trained += [run_job(study, results, each.run) for each in runs if each.state == "failed"]
    options = [option for option in owner.get("options", []) if isinstance(option, str)]
    for job in (*trained, *other_jobs(study, results)):
        if lines := error_of(job.log, job.stage if job.stage == "bundle" else job.name):
            again = command(job, configfile, options)
            yield FailedJob(stage=job.stage, name=job.name, log=str(job.log), lines=lines, command=again)
