"""Run a study to figures through Snakemake, with a line of progress; after a kill, clear what is stale and go on."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import psutil

from scalinglaws.common import files
from scalinglaws.common.errors import StudyError
from scalinglaws.decide.load import load
from scalinglaws.decide.plan import Status, heartbeats, status
from scalinglaws.study.study import Study
from scalinglaws.train import progress

SECONDS = 10.0
LOCKS = Path(".snakemake/locks")
STAGES = {"train", "rung", "bundle", "member"}  # what trains
# Who took the lock last: a folder that several machines share is locked by a process that only one of them sees.
OWNER = Path("results/logs/owner.json")


def begin(study: Study, results: Path) -> None:
    """When the first jobs are about to start: write who holds the lock of this directory.

    Raises StudyError where a run or trunk of the study is trained already, by a job that a killed Snakemake left on a cluster.
    """
    for name, beat in heartbeats(results).items():
        if name in study.runs.keys() | study.trunks.keys() and trains(beat):
            raise StudyError(
                f"{name} is being trained already, by process {beat['pid']} on {beat['host']}, which a killed snakemake left: "
                "wait until it ends, or stop it (on a cluster: squeue, scancel; it saves), then run again"
            )
    files.write_json(OWNER, {"host": socket.gethostname(), "pid": os.getpid()})


def trains(beat: dict) -> bool:
    """Whether the process of a heartbeat lives: on this machine by its number, on others if it was heard lately."""
    if beat.get("host") != socket.gethostname():
        return "host" in beat and time.time() - beat["time"] < 3 * progress.SECONDS
    with contextlib.suppress(psutil.Error):
        return "scalinglaws" in psutil.Process(beat["pid"]).cmdline()
    return False


def processes_here(words: tuple[str, ...]) -> Iterator[psutil.Process]:
    """Live processes that were started in this directory and have one of the words as an argument or its last part."""
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
        owner = json.loads(OWNER.read_text()) if OWNER.exists() else {"host": socket.gethostname()}
        if owner["host"] != socket.gethostname():
            raise StudyError(
                f"process {owner['pid']} on {owner['host']} runs snakemake in this directory: wait for it, or stop it there. "
                "If it is gone, `snakemake --unlock`, then run again"
            )
        print("removing the lock of a workflow that was killed", flush=True)
        shutil.rmtree(LOCKS)


def line(study: Study, now: Status, first: Status, seconds: float, results: Path) -> str:
    """Points done of points wanted, what trains now, tokens per second, ETA."""
    beats = heartbeats(results)
    current = [b for b in beats.values() if time.time() - b["time"] < 60]
    speed = sum(b["tokens_per_second"] for b in current)
    done = first.work_left - now.work_left
    left = f"{now.work_left / done * seconds / 60:.0f} min left" if done > 0.02 * first.work_left else "ETA in a moment"
    training = ", ".join(
        f"{b['id'].rpartition('-')[0]} {b['step']}/{b['steps']}" + (f" loss {b['loss']:.3f}" if b["loss"] else "")
        for b in current
    )
    head = f"[{study.name}] {now.runs_done}/{now.runs} runs"
    if now.finished:
        return f"{head}: tables, fits and figures are being made"
    return " · ".join(filter(None, [head, training, f"{speed:,.0f} tokens/s" if speed else "", left]))


def watch(study: Study, results: Path, stop: threading.Event) -> None:
    """Print the progress line until told to stop."""
    first, began, last = status(study, results), time.monotonic(), ""
    while not stop.wait(SECONDS):
        now = status(study, results)
        if now.work_left == first.work_left:  # corpus and tokens first: no measure of how long training takes
            began = time.monotonic()
        text = line(study, now, first, time.monotonic() - began, results)
        if text != last:
            print(text, flush=True)
        last = text


def run(configfile: Path, cores: int, more: list[str], results: Path) -> int:
    """Start Snakemake for a checked config and wait for it; its output goes to results/logs/snakemake.log."""
    study = load(configfile, results)
    clear_stale()
    log = results / "logs" / "snakemake.log"
    log.parent.mkdir(parents=True, exist_ok=True)
    first = status(study, results)
    print(f"[{study.name}] {first.runs_done} of {first.runs} runs are there; log: {log}", flush=True)
    command = [sys.executable, "-m", "snakemake", "--configfile", str(configfile), "--cores", str(cores), *more]
    for number in (signal.SIGINT, signal.SIGTERM):  # also where a background shell has them ignored
        signal.signal(number, signal.default_int_handler)
    stop = threading.Event()
    watcher = threading.Thread(target=watch, args=(study, results, stop), daemon=True)
    with log.open("w") as file:
        process = subprocess.Popen(command, stdout=file, stderr=subprocess.STDOUT)
        watcher.start()
        code = wait(process)
    stop.set()
    watcher.join(timeout=5)
    if code:
        print("".join(log.read_text(errors="replace").splitlines(keepends=True)[-60:]), file=sys.stderr)
        raise StudyError(
            f"the workflow stopped with status {code}; the whole log: {log}. What is done is kept: run again to go on"
        )
    print(f"[{study.name}] done: {results}/figures, {results}/tables, {results}/fits")
    return code


def wait(process: subprocess.Popen) -> int:
    """Wait; after an interrupt or SIGTERM the jobs are stopped (trainings save first) and Snakemake removes its lock."""
    try:
        return process.wait()
    except KeyboardInterrupt:
        jobs = psutil.Process(process.pid).children(recursive=True)
        process.send_signal(signal.SIGINT)
        for job in jobs:
            with contextlib.suppress(psutil.Error):
                job.terminate()
        process.wait()
        raise
