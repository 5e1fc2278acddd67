"""Fixtures: a real Slurm on this machine, a copy of the workflow, and the shipped profile set up for that cluster."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import yaml

from cluster.studies import tokens_per_second
from workflow.conftest import Workflow, copy_workflow, environment

HERE = Path(__file__).parent
STATE = "/tmp/slurm-scalinglaws"
# A made-up GPU as fast as a CPU core, so that expected times are near those of this machine.
DEVICE = "name: none, bfloat16: 2e9, float32: 2e9, utilisation: 1, memory_gib: 80, bandwidth: 1e12, gpus_per_node: 4"


class Cluster(Workflow):
    """A copy of the workflow in a folder, and the means to run it on the cluster."""

    def __init__(self, folder: Path):
        super().__init__(folder)
        self.began = int(sbatch_id())
        self.profile()

    def profile(
        self,
        device: str = "",
        local: str = "",
        minutes: int = 30,
        train: dict[str, int] | None = None,
        **changes: object,
    ) -> None:
        """Write profiles/slurm for this cluster, with further ``changes`` to its keys.

        Jobs get so many ``minutes`` and little memory; with 0 minutes they get what is computed. Jobs that train a run also get
        the resources in ``train``.
        """
        data = yaml.safe_load((HERE.parents[1] / "profiles/slurm/profile.yaml").read_text())
        data["default-resources"] |= {"slurm_account": "root", "slurm_partition": "main", "mem_mb": 1500, "runtime": 10}
        data["config"] = [f"device={{{DEVICE}, small_minutes: 0{', ' if device else ''}{device}}}", f"local=[{local}]"]
        if minutes:
            for rule in data["set-resources"]:
                data["set-resources"][rule] |= {"runtime": minutes, "mem_mb": 1500 if rule != "bundle" else 4000}
        for rule in data["set-resources"]:
            data["set-resources"][rule] |= {"device": "cpu"}  # the GPUs are made up
        data["set-resources"]["train"] |= train or {}
        data |= {"latency-wait": 10, "slurm-init-seconds-before-status-checks": 1, "jobs": 8} | changes
        path = self.folder / "profiles/slurm/profile.yaml"
        path.write_text(yaml.safe_dump(data, sort_keys=False))

    def save_every(self, seconds: int) -> None:
        """Let trainings save a checkpoint after so many seconds, in place of a minute."""
        rules = self.folder / "workflow/rules/train.smk"
        text = rules.read_text()
        option = '" --trunks results/trunks"\n'
        assert option in text
        rules.write_text(text.replace(option, f'{option}        " --checkpoint-seconds {seconds}"\n'))

    def command(self, *arguments: str, study: str) -> list[str]:
        script = str(HERE / "fast_poll.py")
        return [sys.executable, script, "--configfile", study, "--workflow-profile", "profiles/slurm", *arguments]

    def submit(self, *arguments: str, study: str, check: bool = True, seconds: int = 2400) -> subprocess.CompletedProcess:
        """Run Snakemake on the cluster and wait for it."""
        return self.call("timeout", str(seconds), *self.command(*arguments, study=study), check=check)

    def start(self, *arguments: str, study: str) -> subprocess.Popen:
        """Start Snakemake on the cluster in the background; its output goes to out.log."""
        with (self.folder / "out.log").open("w") as log:
            command = ["timeout", "2400", *self.command(*arguments, study=study)]
            return subprocess.Popen(command, cwd=self.folder, env=environment(), stdout=log, stderr=subprocess.STDOUT)

    def slurm_jobs(self) -> list[dict[str, str]]:
        """Return the Slurm jobs since this folder was made; ``gres`` is that of one node, ``rule`` has the wildcards in it."""
        fields = {"id": "JobID", "state": "State", "gres": "tres-per-node", "rule": "Comment", "limit": "TimeLimit"}
        fields |= {"nodes": "NumNodes", "node": "NodeList", "restarts": "RestartCnt"}
        text = slurm("squeue", "-h", "-t", "all", "-O", ",".join(f"{name}:|" for name in fields.values()))
        rows = [dict(zip(fields, line.rstrip("|").split("|"), strict=True)) for line in text.splitlines()]
        return sorted((row for row in rows if int(row["id"]) > self.began), key=lambda row: int(row["id"]))

    def log(self) -> str:
        return (self.folder / "out.log").read_text()


def slurm(*command: str) -> str:
    return subprocess.run(["timeout", "30", *command], capture_output=True, text=True, check=True).stdout


def sbatch_id() -> str:
    """Submit a job that does nothing and return its id: those of later jobs are larger."""
    return slurm("sbatch", "--parsable", "--output", "/dev/null", "--mem", "100", "--wrap", "true").strip()


def wait_for(what: Callable[[], object], seconds: float = 300) -> None:
    """Wait until ``what`` is true. Fails after so many seconds."""
    end = time.monotonic() + seconds
    while not what():
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.3)


def control(*arguments: str) -> None:
    subprocess.run([str(HERE / "slurm-one-node"), *arguments], check=True)


@contextmanager
def started() -> Iterator[None]:
    """Run a Slurm with six CPUs, more than the machine may have, and four made-up GPUs; stop it in the end."""
    control("up", STATE, "--cpus", "6", "--gpus", "4", "--etc-hosts", "--port", "27817")
    os.environ["SLURM_CONF"] = f"{STATE}/slurm.conf"
    try:
        yield
    finally:
        control("down", STATE, "--purge")


def prepare(made: Workflow) -> Path:
    """Make the text and tokens of the smoke study without the cluster, and return their folder.

    The specs of its runs, which are written when it is read, are deleted, for the tests train other studies.
    """
    made.run("--cores", "2", "--until", "tokenize")
    for name in ("runs", "trunks", "studies"):
        shutil.rmtree(made.folder / "results" / name)
    return made.folder


def copy(prepared: Path, folder: Path) -> Path:
    return Path(shutil.copytree(prepared, folder, copy_function=shutil.copy2))


@pytest.fixture(scope="session")
def one_node() -> Iterator[None]:
    with started():
        yield


@pytest.fixture(scope="session")
def prepared(one_node: None, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return prepare(copy_workflow(tmp_path_factory.mktemp("prepared") / "w"))


@pytest.fixture(scope="session")
def speed(prepared: Path) -> float:
    """Measure the tokens per second of the runs of studies.write_seeds."""
    return tokens_per_second(Workflow(prepared))


@pytest.fixture
def two_nodes(one_node: None) -> Iterator[None]:
    """Add a second node, on the same machine, for one test."""
    control("up", STATE, "--nodes", "2")
    try:
        yield
    finally:
        control("up", STATE, "--nodes", "1")


@pytest.fixture
def cluster(prepared: Path, tmp_path: Path) -> Cluster:
    return Cluster(copy(prepared, tmp_path / "w"))
