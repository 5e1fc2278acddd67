"""What a job that trains several runs makes: a bundle, its members, and the file in which it lies.

A member is what one process trains: a trunk with the runs that start from it, or a run that has no trunk. A bundle is the members
of one job. It lies in a file that is named by its content, and the job reads that file whatever config.yaml says by then.
"""

from __future__ import annotations

import dataclasses
import json
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from scalinglaws.cluster.cost import START_SECONDS
from scalinglaws.cluster.device import Device
from scalinglaws.cluster.needs import Needs, minutes
from scalinglaws.common.errors import StudyError
from scalinglaws.common.read import read_text
from scalinglaws.common.sums import REWRITTEN, is_named_by

MOST_TIMES = 1000  # times that a bundle of the same content is made


@dataclass(frozen=True)
class Member:
    """What one process of a bundle makes.

    Attributes
    ----------
    name
        The id of the trunk, or of the run where it has no trunk.
    rungs
        Steps of the trunk's rungs that are to be made, ascending.
    runs
        Ids of the runs that are to be trained.
    evaluations
        Evaluations that are to be made, as (run, name of the set of token folders).
    seconds
        Expected time in a process that shares a GPU with others.
    """

    name: str
    rungs: tuple[int, ...]
    runs: tuple[str, ...]
    evaluations: tuple[tuple[str, str], ...]
    seconds: int


@dataclass(frozen=True)
class Bundle:
    """The members of one job.

    Attributes
    ----------
    members
        The members, in no particular order.
    at_once
        Number of members that train at the same time.
    threads
        CPU threads of each of these processes.
    mem_mb
        Host memory of each of these processes, in MB.
    """

    members: tuple[Member, ...]
    at_once: int
    threads: int
    mem_mb: int

    @cached_property
    def canonical(self) -> str:
        """Return the bundle as one line of JSON: the content of its file."""
        return json.dumps(dataclasses.asdict(self), separators=(",", ":"), sort_keys=True) + "\n"

    @property
    def seconds(self) -> float:
        """Return the expected time of the job: of its longest member or of all, shared by the processes, whichever is longer."""
        times = [member.seconds for member in self.members]
        return START_SECONDS + max(max(times), sum(times) / self.at_once)

    @property
    def runs(self) -> list[str]:
        """Return the ids of the runs that it trains."""
        return [run for member in self.members for run in member.runs]

    @property
    def evaluations(self) -> list[tuple[str, str]]:
        """Return the evaluations that it makes, as (run, set)."""
        return [pair for member in self.members for pair in member.evaluations]

    @property
    def rungs(self) -> list[tuple[str, int]]:
        """Return the rungs that it makes, as (trunk, step)."""
        return [(member.name, step) for member in self.members for step in member.rungs]

    def processes(self, attempt: int = 1) -> int:
        """Return how many members train at the same time: fewer after a failure, since that may have been one of memory."""
        return max(1, self.at_once // attempt)

    def needs(self, device: Device, attempt: int = 1) -> Needs:
        """Return what the job asks for: one GPU, and host memory for all of its processes."""
        limit = minutes(self.seconds, device, attempt)
        return Needs(min(1, device.gpus_per_node), 1, self.at_once * self.mem_mb, limit, self.seconds)


def read(path: Path) -> Bundle:
    """Read a bundle from its file. Raises StudyError where the file is missing or damaged."""
    text = read_text(path, REWRITTEN)
    try:
        # A bundle that was made before and is made once more has a number after its content when that is hashed.
        if not any(is_named_by(f"{text}{times or ''}".encode(), path.stem) for times in range(MOST_TIMES)):
            raise ValueError("its content is not what its name says")
        data = json.loads(text)
        members = [
            Member(m["name"], tuple(m["rungs"]), tuple(m["runs"]), tuple((run, to) for run, to in m["evaluations"]), m["seconds"])
            for m in data["members"]
        ]
        return Bundle(tuple(members), data["at_once"], data["threads"], data["mem_mb"])
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise StudyError(f"{path} is not a list of runs to train together ({error}): {REWRITTEN}") from None
