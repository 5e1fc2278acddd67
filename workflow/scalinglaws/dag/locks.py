"""One workflow a directory: who holds Snakemake's lock, and what a Snakemake that was killed left behind."""

from __future__ import annotations

import json
import os
import shutil
import socket
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import psutil

from scalinglaws.common import files, processes
from scalinglaws.common.errors import StudyError, faults_told
from scalinglaws.decide.status import heartbeats, status
from scalinglaws.study.paths import owner_path
from scalinglaws.study.study import Study
from scalinglaws.train.progress import trains

LOCKS = Path(".snakemake/locks")
STAGES = {"train", "rung", "bundle", "member"}  # the commands whose processes train
# This file says who took the lock last. Where machines share a folder, only one of them sees the process that locked it.
OWNER = owner_path(Path("results"))
# Options of Snakemake that say where jobs run: a failed job that is repeated by hand is to run there, too.
PLACES = ("--profile", "--workflow-profile", "--executor", "-e")


@faults_told()
def begin(study: Study, results: Path) -> None:
    """Write who holds the lock of this directory, when the first jobs are about to start, and the work that is left by then.

    Raises StudyError where a job that a killed Snakemake left on a cluster still trains a run or trunk of the study.
    """
    for name, beat in heartbeats(results).items():
        if name in study.runs.keys() | study.trunks.keys() and trains(beat):
            raise StudyError(
                f"{name} is being trained already, by process {beat.get('pid')} on {beat['host']}, which a killed snakemake "
                "left: wait until it ends, or stop it (on a cluster: squeue, scancel; it saves), then run again"
            )
    begun = {"study": study.name, "time": time.time(), "work_left": status(study, results).work_left}
    files.write_json(OWNER, processes.identity() | begun | {"options": places(sys.argv)})


def places(arguments: Sequence[str]) -> list[str]:
    """Return those of Snakemake's arguments that say where jobs run, as they were given."""
    found: list[str] = []
    for option, value in zip(arguments, [*arguments[1:], ""], strict=True):
        name, equals, _ = option.partition("=")
        if name in PLACES:
            found += [option] if equals else [option, value]
    return found


def processes_here(words: tuple[str, ...]) -> Iterator[psutil.Process]:
    """Yield live processes that were started in this directory and have one of the words as an argument or as its last part."""
    for process in psutil.process_iter():
        try:
            arguments = {Path(argument).name for argument in process.cmdline()}
            if process.pid != os.getpid() and arguments & set(words) and process.cwd() == os.getcwd():
                yield process
        except psutil.Error:
            continue


def clear_stale() -> None:
    """Remove the lock of a Snakemake that was killed, and stop the trainings that it left behind (they save first).

    Raises StudyError where a live Snakemake works in this directory, or one of another machine holds its lock.
    """
    me = psutil.Process()
    member = {me.pid, *(parent.pid for parent in me.parents())}
    if owners := [process for process in processes_here(("snakemake",)) if process.pid not in member]:
        raise StudyError(f"process {owners[0].pid} runs snakemake in this directory: wait for it, or stop it, then run again")
    orphans = [p for p in processes_here(("scalinglaws",)) if STAGES & set(p.cmdline()) and p.pid not in member]
    for process in orphans:
        print(
            f"stopping process {process.pid}, a training whose workflow was killed: it saves and is continued",
            flush=True,
        )
        process.terminate()
    psutil.wait_procs(orphans, timeout=60)
    if LOCKS.exists() and any(LOCKS.iterdir()):
        owner = last_owner()
        if owner["host"] != socket.gethostname():
            raise StudyError(
                f"process {owner.get('pid')} on {owner['host']} runs snakemake in this directory: wait for it, or stop it there. "
                "If it is gone, run `snakemake --unlock`, then run again"
            )
        print("removing the lock of a workflow that was killed", flush=True)
        shutil.rmtree(LOCKS)


def last_owner() -> dict[str, Any]:
    """Return who took the lock last; this machine where nobody has said so. Raises StudyError where the file is damaged."""
    try:
        owner = json.loads(OWNER.read_text())
        if isinstance(owner["host"], str):
            return owner
    except FileNotFoundError:
        return {"host": socket.gethostname()}
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        pass
    raise StudyError(
        f"{OWNER}, which names the machine whose snakemake works in this directory, is damaged: if none does on any machine, run "
        "`snakemake --unlock`, then run again"
    )
