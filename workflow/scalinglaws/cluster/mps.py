"""Processes that share a GPU: NVIDIA's Multi-Process Service lets their kernels run at the same time, and not by turns.

Its daemon runs while the block of ``shared_gpu`` does, as this user and with folders of its own, so that it disturbs no other
job. A GPU in the compute mode EXCLUSIVE_PROCESS takes a single process; with the daemon that is the daemon's server.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, MutableMapping
from pathlib import Path
from typing import Any

CONTROL = "nvidia-cuda-mps-control"
PIPES, LOGS = "CUDA_MPS_PIPE_DIRECTORY", "CUDA_MPS_LOG_DIRECTORY"
START_SECONDS = 20.0  # for which the daemon may take to answer
STOP_SECONDS = 20.0  # for which it may take to end


@contextlib.contextmanager
def shared_gpu(at_once: int, environment: MutableMapping[str, str] = os.environ) -> Iterator[int]:
    """Have so many processes share the GPU in this block as well as the machine allows, and give how many may.

    Parameters
    ----------
    at_once
        Number of processes that are to use the GPU at the same time.
    environment
        Environment of these processes. The daemon's folders are added to it for the block, and GPUs that are chosen by their
        numbers get the numbers that the daemon gives them. Where it names a folder already, another daemon serves the job.

    Yields
    ------
    int
        ``at_once``, or 1 where the GPU takes one process alone and there is no daemon.
    """
    if at_once <= 1:
        yield at_once
        return
    if environment.get(PIPES):
        print(f"bundle: the GPU is shared by the MPS daemon at {environment[PIPES]}", file=sys.stderr, flush=True)
        yield at_once
        return
    before = dict(environment)
    with contextlib.ExitStack() as stack:
        fault = _daemon(stack, environment)
        if not fault:
            print(f"bundle: {at_once} processes share the GPU by MPS", file=sys.stderr, flush=True)
        elif exclusive(environment):
            print(f"bundle: the GPU takes one process at a time (EXCLUSIVE_PROCESS), and {fault}", file=sys.stderr, flush=True)
            at_once = 1
        else:
            print(f"bundle: {at_once} processes take turns on the GPU: {fault}", file=sys.stderr, flush=True)
        try:
            yield at_once
        finally:
            for name in (PIPES, LOGS, "CUDA_VISIBLE_DEVICES"):
                environment.pop(name, None)
                environment.update({name: before[name]} if name in before else {})


def exclusive(environment: MutableMapping[str, str]) -> bool:
    """Tell whether a GPU that this process may use takes one process alone, as nvidia-smi says."""
    command = ["nvidia-smi", "--query-gpu=compute_mode", "--format=csv,noheader"]
    if chosen := environment.get("CUDA_VISIBLE_DEVICES"):
        command.append(f"--id={chosen}")
    try:
        told = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True, env=dict(environment)).stdout
    except (OSError, subprocess.SubprocessError):
        return False
    return any("exclusive" in line.lower() for line in told.splitlines())


def _daemon(stack: contextlib.ExitStack, environment: MutableMapping[str, str]) -> str:
    """Start the daemon until ``stack`` is closed, and name its folders in the environment.

    Returns why there is none, in words; empty where it answers.
    """
    if not shutil.which(CONTROL, path=environment.get("PATH")):
        return f"{CONTROL} is not on the path"
    # The names of its sockets must be short, whatever the folder of results is called.
    folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="mps-", ignore_cleanup_errors=True)))
    own = {PIPES: str(folder / "pipe"), LOGS: str(folder / "log")}
    for path in own.values():
        Path(path).mkdir()
    # In a group of its own: Ctrl-C is for the processes that train, which save before the daemon may end.
    command, output = [CONTROL, "-f"], subprocess.DEVNULL
    try:
        process = subprocess.Popen(command, env={**environment, **own}, stdout=output, stderr=output, process_group=0)
    except OSError as error:
        return f"{CONTROL} cannot be started ({error})"
    stack.callback(_stop, process, {**environment, **own})
    end = time.monotonic() + START_SECONDS
    while not _told("get_server_list", {**environment, **own}):
        if process.poll() is not None or time.monotonic() > end:
            return f"{CONTROL} does not answer (status {process.poll()})"
        time.sleep(0.1)
    environment.update(own)
    chosen = environment.get("CUDA_VISIBLE_DEVICES", "").split(",")
    if all(name.strip().isdigit() for name in chosen):  # the daemon gives its GPUs numbers from 0
        environment["CUDA_VISIBLE_DEVICES"] = ",".join(map(str, range(len(chosen))))
    return ""


def _told(order: str, environment: MutableMapping[str, str]) -> bool:
    """Give the daemon an order, and tell whether it took it."""
    options: dict[str, Any] = {"capture_output": True, "text": True, "timeout": STOP_SECONDS}
    try:
        done = subprocess.run([CONTROL], input=f"{order}\n", env=dict(environment), **options)
    except (OSError, subprocess.SubprocessError):
        return False
    return done.returncode == 0


def _stop(process: subprocess.Popen, environment: MutableMapping[str, str]) -> None:
    """Have the daemon end, and end it where it does not."""
    if process.poll() is None:
        _told("quit", environment)
    for end in (lambda: None, process.terminate, process.kill):
        end()
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(timeout=STOP_SECONDS)
            return
