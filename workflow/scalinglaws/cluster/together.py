"""Start this command line again as several processes, which train one run together (see train/distributed.py).

In a Slurm job, srun starts them on each node of the job, a process for each GPU, and they know their ranks from Slurm's variables
(train/ranks.py). On a machine without Slurm, torchrun starts them.
"""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from collections.abc import Mapping
from types import FrameType

from scalinglaws.cluster import gpus
from scalinglaws.common import stopping
from scalinglaws.common.errors import StudyError
from scalinglaws.models.device import require
from scalinglaws.train.ranks import PORT, wanted


def together(processes: int, nodes: int, device: str, arguments: list[str]) -> bool:
    """Tell whether the training that ``arguments`` asks for was done by processes that this call started and waited for.

    It is False where one process is enough, and in the processes that this call starts: then the caller trains. On a machine
    whose GPUs are divided among runs, this process holds those of the training. Raises SystemExit with the launcher's status
    where that is not 0.
    """
    if wanted(os.environ)[1] > 1:
        return False
    if device != "cpu":
        gpus.take(max(1, processes))
    if processes <= 1:
        return False
    if code := start(processes, nodes, device, arguments):
        raise SystemExit(code)
    return True


def start(processes: int, nodes: int, device: str, arguments: list[str]) -> int:
    """Run ``python -m scalinglaws`` with ``arguments`` as so many processes, shared evenly by ``nodes`` nodes.

    One node is this one; several are those of the Slurm job in which this process runs. Returns the launcher's status.

    Raises
    ------
    StudyError
        The nodes do not share the processes evenly, several are asked for outside of a Slurm job, or this node has fewer GPUs
        than ``device`` needs.
    """
    if processes % nodes:
        raise StudyError(f"{processes} processes cannot be shared by {nodes} nodes: take a multiple")
    on_node = processes // nodes
    require(device, on_node)
    if in_slurm(os.environ):
        environment = {**os.environ, PORT: str(free_port())}
        return _call([*srun(nodes, on_node), sys.executable, "-m", "scalinglaws", *arguments], environment)
    if nodes > 1:
        raise StudyError(f"{nodes} nodes are asked for outside of a Slurm job: submit it to Slurm, or take one node")
    torchrun = [sys.executable, "-m", "torch.distributed.run", f"--nproc-per-node={on_node}", "--standalone"]
    return _call([*torchrun, "-m", "scalinglaws", *arguments], dict(os.environ))


def in_slurm(environment: Mapping[str, str]) -> bool:
    """Tell whether Slurm starts the processes: in a job of Slurm, unless runs divide its GPUs among themselves."""
    return bool(environment.get("SLURM_JOB_ID")) and not environment.get(gpus.PLACES)


def srun(nodes: int, on_node: int) -> list[str]:
    """Return the beginning of a command line that starts so many processes on each of so many nodes of this job.

    Each process sees all CPUs and GPUs that the job has on its node, and takes the GPU of its rank there. Where one fails, Slurm
    ends the others, which would wait for it. Where one has ended well, the others may take their time.
    """
    shape = [f"--nodes={nodes}", f"--ntasks={nodes * on_node}", f"--ntasks-per-node={on_node}"]
    # Overlap: this process may be a step of the job itself, which holds what the new step needs.
    return ["srun", *shape, "--overlap", "--cpu-bind=none", "--gpu-bind=none", "--kill-on-bad-exit=1", "--wait=0", "--export=ALL"]


def free_port() -> int:
    """Return a port that is free on this machine, which is the first node of a batch job."""
    with socket.socket() as listening:
        listening.bind(("", 0))
        port: int = listening.getsockname()[1]
    return port


def _call(command: list[str], environment: dict[str, str]) -> int:
    """Run a command in a process group of its own and return its exit status.

    A signal to stop is passed on to it as SIGTERM, once it ends this process ends too (SystemExit). Launchers tell their
    processes what they are told themselves; in this group these would hear Ctrl-C twice and not save.
    """
    told: list[int] = []

    def pass_on(number: int, frame: FrameType | None) -> None:
        told.append(number)
        process.terminate()

    try:
        with subprocess.Popen(command, process_group=0, env=environment) as process, stopping.handled(pass_on):
            code = process.wait()
    except FileNotFoundError:
        raise StudyError(
            f"{command[0]} is not on the path of this node: Slurm's clients must be there to start a training"
        ) from None
    if told:
        stopping.leave(told[0], None)
    return code
