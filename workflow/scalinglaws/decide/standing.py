"""What ``scalinglaws status`` says, as ``--json`` prints it; its JSON schema follows from these types."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

Number = float | None
Where = Literal["running", "gone", "elsewhere"]
State = Literal["done", "running", "waiting", "stopped", "failed", "diverged"]
STATES: tuple[State, ...] = ("done", "running", "waiting", "stopped", "failed", "diverged")


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


class Counts(_Part):
    """Runs by their state; a run is in one state, and ``wanted`` is the sum of them."""

    experiment: str | None = Field(description="The experiment; null for the whole study, which counts each run once.")
    wanted: int = Field(ge=0, description="Runs that the config asks for.")
    done: int = Field(ge=0, description="Runs that are trained, with a loss.")
    running: int = Field(ge=0, description="Runs that a process trains now.")
    waiting: int = Field(ge=0, description="Runs of which nothing is trained, and that wait for something.")
    stopped: int = Field(ge=0, description="Runs whose process was stopped or killed, and that go on where they were saved.")
    failed: int = Field(ge=0, description="Runs whose last process ended with an error.")
    diverged: int = Field(ge=0, description="Runs that are trained and whose loss is no number: this is a result.")


class Training(_Part):
    """A training, of a run or of a trunk."""

    state: State
    step: int = Field(ge=0, description="The step that it has reached or, where it does not run, that it goes on from.")
    steps: int = Field(ge=0, description="The step at which it ends.")
    loss: Number = Field(description="Loss of a batch in nats per token, at its last heartbeat.")
    test_loss: Number = Field(description="Last loss on the test split in nats per token; of a run that is done, the final one.")
    tokens_per_second: Number = Field(description="Mean speed of its process; null where none runs.")
    seconds_left: Number = Field(description="Seconds until it ends at this speed; null where no process runs.")
    host: str | None = Field(description="The machine on which it runs; null where it does not.")
    because: str | None = Field(description="What it waits for, or why it stopped, in words; null in other states.")


class RunStanding(Training):
    """A run of the study."""

    run: str = Field(description="Its id.")
    experiments: list[str] = Field(description="Experiments of the config that ask for it.")
    trunk: str | None = Field(description="The trunk whose rung it waits for; null where it waits for none.")


class TrunkStanding(Training):
    """A trunk that runs wait for; ``steps`` is its next rung that is missing."""

    trunk: str = Field(description="Its id.")
    rungs_made: int = Field(ge=0, description="Its rungs that are there, of those on the way of runs that are not trained.")
    rungs: int = Field(ge=1, description="All of these rungs.")
    runs: int = Field(ge=0, description="Runs that wait for one of its rungs.")


class FailedJob(_Part):
    """A job whose last process ended with an error."""

    stage: str = Field(description="The stage of the workflow, such as train or fit.")
    name: str = Field(description="What the stage was to make there: the id of a run, a law, a figure.")
    log: str = Field(description="The path of its log.")
    lines: list[str] = Field(min_length=1, description="The last lines of the log.")
    command: str = Field(description="The command line that repeats it, quoted for a shell.")


class Workflow(_Part):
    """The Snakemake that took the lock of this directory last."""

    pid: int | None
    host: str | None = Field(description="The machine that it was started on.")
    study: str | None = Field(description="The study that it was started for.")
    state: Where = Field(description="elsewhere: it runs on another machine, or was killed there; only that machine can tell.")


class Standing(_Part):
    """Where a study stands."""

    study: str = Field(description="Its name.")
    total: Counts
    experiments: list[Counts]
    evaluations: int = Field(ge=0, description="Evaluations of runs on other text that the config asks for.")
    evaluations_done: int = Field(ge=0, description="Those of them that are there.")
    seconds_left: Number = Field(
        description="Seconds until all is trained and evaluated, by the clock of ``scalinglaws run``; null where it is unknown."
    )
    tokens_left: int = Field(ge=0, description="Tokens that are left to train.")
    flops_left: float = Field(ge=0, description="FLOP that are left to train.")
    workflow: Workflow | None = Field(description="Null where no Snakemake has run jobs in this directory.")
    runs: list[RunStanding] = Field(description="Every run of the study, by id.")
    trunks: list[TrunkStanding] = Field(description="Trunks that have rungs to train, by id.")
    failures: list[FailedJob]

    @property
    def at_work(self) -> bool:
        """Tell whether a Snakemake or a training works on the study, as far as this machine sees."""
        found = self.workflow
        working = found is not None and found.state != "gone" and found.study in (None, self.study)
        return working or any(each.state == "running" for each in (*self.runs, *self.trunks))
