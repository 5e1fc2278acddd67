"""Start this command line again as several processes, which train one run together (see train/distributed.py)."""

from __future__ import annotations

import os
import subprocess
import sys
from types import FrameType

from scalinglaws.cluster import gpus
from scalinglaws.cluster.slurm import first_address
from scalinglaws.common import stopping
from scalinglaws.common.errors import StudyError
from scalinglaws.train.distributed import wanted

PORTS = (20000, 30000)


def together(processes: int, nodes: int, device: str, arguments: list[str]) -> bool:
    """Tell whether the training that ``arguments`` asks for was done by processes that this call started and waited for.

    It is False where one process is enough, and in the processes that this call starts: then the caller trains. On a machine
    whose GPUs are divided among runs, this process holds those of the training. Raises SystemExit with torchrun's status where
    that is not 0.
    """
    if wanted(os.environ)[1] > 1:
        return False
    if device != "cpu":
        gpus.take(max(1, processes))
    if processes <= 1:
        return False
    if code := start(processes, nodes, arguments):
        raise SystemExit(code)
    return True


def start(processes: int, nodes: int, arguments: list[str]) -> int:
    """Run ``python -m scalinglaws`` with ``arguments`` as so many processes, shared evenly by ``nodes`` nodes.

    One node is this one; several are those of the Slurm job in which this process runs. Returns torchrun's status. Raises
    StudyError where the nodes do not share the processes evenly, or where several are asked for outside of a Slurm job.
    """
    if processes % nodes:
        raise StudyError(f"{processes} processes cannot be shared by {nodes} nodes: take a multiple")
    launcher = [sys.executable, "-m", "torch.distributed.run", f"--nproc-per-node={processes // nodes}"]
    if nodes == 1:
        return _call([*launcher, "--standalone", "-m", "scalinglaws", *arguments])
    job = os.environ.get("SLURM_JOB_ID", "")
    # Each job has a port of its own: the first processes of several jobs may share a node.
    meeting = f"{first_address(job)}:{PORTS[0] + int(job) % (PORTS[1] - PORTS[0])}"
    launcher += [f"--nnodes={nodes}", "--rdzv-backend=c10d", f"--rdzv-endpoint={meeting}", f"--rdzv-id={job}"]
    srun = ["srun", f"--nodes={nodes}", f"--ntasks={nodes}", "--ntasks-per-node=1", "--cpu-bind=none"]
    return _call([*srun, *launcher, "-m", "scalinglaws", *arguments])


def _call(command: list[str]) -> int:
    """Run a command in a process group of its own and return its exit status.

    A signal to stop is passed on to it as SIGTERM, once it ends this process ends too (SystemExit). torchrun tells its
    processes what it is told itself; in this group they would hear Ctrl-C twice and not save.
    """
    told: list[int] = []

    def pass_on(number: int, frame: FrameType | None) -> None:
        told.append(number)
        process.terminate()

    with subprocess.Popen(command, process_group=0) as process, stopping.handled(pass_on):
        code = process.wait()
    if told:
        stopping.leave(told[0], None)
    return code
