"""Run a study to figures through Snakemake, with a line of progress; after a kill, clear what is stale and go on."""

from __future__ import annotations

import contextlib
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import psutil

from scalinglaws.common.errors import StudyError
from scalinglaws.common.numbers import counted
from scalinglaws.dag import profile
from scalinglaws.dag.locks import clear_stale
from scalinglaws.decide.load import load
from scalinglaws.decide.partial import is_there
from scalinglaws.decide.status import Status, heartbeats, seconds_left, status
from scalinglaws.study.paths import study_folder
from scalinglaws.study.study import Study

HEARD = "Terminating processes on user request"  # what Snakemake 9.27 writes to its log after an interrupt
SECONDS = 10.0  # time between two looks at the progress
SHOWN = {"id", "step", "steps", "loss", "tokens_per_second"}  # of a heartbeat


def line(study: Study, now: Status, first: Status, seconds: float, results: Path) -> str:
    """Return the line of progress: runs done of runs wanted, what trains now, tokens a second, and the minutes that are left.

    ``first`` is the status ``seconds`` ago, from which the speed of the study follows.
    """
    beats = heartbeats(results)
    current = [b for b in beats.values() if abs(time.time() - b.get("time", 0)) < 60 and b.keys() >= SHOWN]
    speed = sum(b["tokens_per_second"] for b in current)
    expected = seconds_left(study, now, first.work_left, seconds, current)
    left = "ETA in a moment" if expected is None else f"{expected / 60:.0f} min left"
    training = ", ".join(
        f"{b['id'].rpartition('-')[0]} {b['step']}/{b['steps']}" + (f" loss {b['loss']:.3f}" if b["loss"] else "")
        for b in current
    )
    head = f"[{study.name}] {now.runs_done}/{now.runs} runs"
    if now.finished:
        return f"{head}: tables, fits and figures are being made"
    return " · ".join(filter(None, [head, training, f"{speed:,.0f} tokens/s" if speed else "", left]))


def watch(study: Study, results: Path, stop: threading.Event) -> None:
    """Print the line of progress whenever it has changed, until ``stop`` is set."""
    first, began, last = status(study, results), time.monotonic(), ""
    while not stop.wait(SECONDS):
        now = status(study, results)
        if now.work_left == first.work_left:  # corpus and tokens come first: they do not tell how long training takes
            began = time.monotonic()
        text = line(study, now, first, time.monotonic() - began, results)
        if text != last:
            print(text, flush=True)
        last = text


def run(configfile: Path, cores: int, more: list[str], results: Path) -> int:
    """Check a config, run Snakemake on it and wait; Snakemake's output goes to results/logs/snakemake.log.

    ``more`` are further arguments of Snakemake. The return value is 0.

    Raises StudyError where the config is wrong, there is no Snakefile, the profile's executor is not installed, another
    workflow works in this directory, or a job fails.
    """
    study = load(configfile, results)
    profile.check_snakefile(more)
    profile.check_executor(more)
    clear_stale()
    log = results / "logs" / "snakemake.log"
    log.parent.mkdir(parents=True, exist_ok=True)
    first = status(study, results)
    print(f"[{study.name}] {first.runs_done} of {first.runs} runs are there; log: {log}", flush=True)
    if not first.finished:
        from scalinglaws.decide.design import warnings

        for sentence in warnings(study):
            print(f"[{study.name}] warning: {sentence}", file=sys.stderr, flush=True)
    command = [sys.executable, "-m", "snakemake", "--configfile", str(configfile), "--cores", str(cores), *more]
    for number in (signal.SIGINT, signal.SIGTERM):  # a shell that starts this in the background has them ignored
        signal.signal(number, signal.default_int_handler)
    if signal.getsignal(signal.SIGHUP) != signal.SIG_IGN:  # nohup has it ignored
        signal.signal(signal.SIGHUP, signal.default_int_handler)
    stop = threading.Event()
    watcher = threading.Thread(target=watch, args=(study, results, stop), daemon=True)
    with log.open("w") as file:
        process = subprocess.Popen(command, stdout=file, stderr=subprocess.STDOUT)
        watcher.start()
        code = wait(process, log)
    stop.set()
    watcher.join(timeout=5)
    if code:
        print("".join(log.read_text(errors="replace").splitlines(keepends=True)[-60:]), file=sys.stderr)
        raise StudyError(
            f"the workflow stopped with status {code}; the whole log: {log}. What is done is kept: run again to go on"
        )
    folder = study_folder(results, study.name)
    print(f"[{study.name}] done: its tables, fits, figures and report.md are in {folder}")
    if study.forecasts and (table := folder / "tables" / "forecasts.parquet").exists():  # a target by name may not make it
        from scalinglaws.report.forecasts import lines
        from scalinglaws.tables.read import read_own

        print("\n".join(lines(read_own(table))))
    return code


def draw(configfile: Path, cores: int, results: Path) -> int:
    """Have Snakemake draw the figures of a study of which all runs are there, with the tables and fits that they follow from.

    Raises StudyError as ``run`` does, and where a run is missing.
    """
    study = load(configfile, results)
    missing = [run for run in study.runs if not is_there(study, results, run)]
    if missing:
        raise StudyError(
            f"study {study.name} has {counted(len(missing), 'run')} of {len(study.runs)} still to train or to evaluate "
            f"({missing[0]} is the first): run the study (scalinglaws run), or draw what is there with --partial"
        )
    return run(configfile, cores, ["figures"], results)


def wait(process: subprocess.Popen, log: Path) -> int:
    """Wait for Snakemake and return its status.

    After Ctrl-C, SIGTERM or the end of the login its jobs are stopped (trainings save first), it removes its lock, and
    KeyboardInterrupt goes on. The shells of the jobs are not stopped: Snakemake would not wait for a training that saves.
    """
    try:
        return process.wait()
    except KeyboardInterrupt:
        jobs = psutil.Process(process.pid).children(recursive=True)
        if not interrupted(process, log):
            process.send_signal(signal.SIGINT)
        for job in jobs:
            with contextlib.suppress(psutil.Error):
                if "scalinglaws" in job.cmdline():
                    job.terminate()
        process.wait()
        raise


def interrupted(process: subprocess.Popen, log: Path) -> bool:
    """Tell, within a second and a half, whether Snakemake itself has heard the interrupt, as it does from a terminal.

    A second one would break off its own end, with a traceback.
    """
    end = time.monotonic() + 1.5
    while time.monotonic() < end:
        if process.poll() is not None or HEARD in log.read_text(errors="replace"):
            return True
        time.sleep(0.1)
    return False
