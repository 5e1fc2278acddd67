"""Which of the processes of a training this one is, and where they meet, by the variables of torchrun or of Slurm's srun."""

from __future__ import annotations

import re
import socket
from collections.abc import Mapping

# The variable by which cluster/together.py tells processes of srun that they train together: the port at which they meet.
PORT = "SCALINGLAWS_PORT"
TORCHRUN = ("RANK", "WORLD_SIZE", "LOCAL_RANK")
SRUN = ("SLURM_PROCID", "SLURM_NTASKS", "SLURM_LOCALID")


def wanted(environment: Mapping[str, str]) -> tuple[int, int, int]:
    """Return (rank, count, rank on this node) of this process; (0, 1, 0) where no launcher has set them.

    Slurm's variables count where PORT is set. Without it they are those of a job step that trains one run in each of its tasks.
    """
    values = [environment.get(name, "") for name in (SRUN if environment.get(PORT) else TORCHRUN)]
    if not all(value.isdigit() for value in values):
        return 0, 1, 0
    rank, count, local = map(int, values)
    return rank, count, local


def meeting(environment: Mapping[str, str]) -> str:
    """Return the address at which the processes meet, as ``init_process_group`` takes it.

    torchrun has set it in variables that PyTorch reads. Under srun it is the first node of the step by its name, where that can
    be resolved, else the address of the node that called srun, which is the first node of a batch job. MASTER_ADDR replaces it.
    """
    port = environment.get(PORT)
    if not port:
        return "env://"
    host = environment.get("MASTER_ADDR") or first_host(environment.get("SLURM_STEP_NODELIST", ""))
    if not _resolves(host):
        host = environment.get("SLURM_LAUNCH_NODE_IPADDR") or host
    return f"tcp://{host}:{port}"


def first_host(nodes: str) -> str:
    """Return the first host of a list as Slurm writes it: gpu001 of ``gpu[001-004,007],login1``."""
    match = re.match(r"(?:[^,\[]|\[[^\]]*\])+", nodes)
    return re.sub(r"\[([^\],-]*)[^\]]*\]", r"\1", match[0]) if match else ""


def _resolves(host: str) -> bool:
    try:
        return bool(host and socket.getaddrinfo(host, None))
    except OSError:
        return False
