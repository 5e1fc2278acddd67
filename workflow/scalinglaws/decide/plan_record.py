"""What ``scalinglaws plan --json`` prints: plain JSON values, whose schema follows from these types."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import ConfigDict, Field, with_config
from typing_extensions import TypedDict  # that of typing has no schema before Python 3.12

STRICT = ConfigDict(extra="forbid", allow_inf_nan=False)
Count = Annotated[int, Field(ge=0)]
Amount = Annotated[float, Field(ge=0)]


@with_config(STRICT)
class PlannedRun(TypedDict):
    """A run of a study, as the plan lists it."""

    run: Annotated[str, Field(description="Its id.")]
    experiments: Annotated[list[str], Field(description="Experiments of the config that ask for it.")]
    n_params: Annotated[Count, Field(description="N, its parameters without embeddings.")]
    dataset_tokens: Annotated[Count | None, Field(description="D, the tokens that it is trained on; null for all of its text.")]
    tokens: Annotated[Count, Field(description="Its budget; max_tokens of a run that stops early.")]
    from_tokens: Annotated[
        Count, Field(description="Tokens of its trunk at the rung that it starts from; 0 where it starts from nothing.")
    ]
    n_heads: Annotated[Count, Field(description="Attention heads of a layer; 0 in a model without attention.")]
    gflop: Annotated[Amount, Field(description="GFLOP of its training from there to its end.")]
    state: Annotated[Literal["done", "to train"], Field(description="Whether it is trained.")]
    forecast: Annotated[
        bool, Field(description="Whether it is in no fit, and the fits of the other runs state its loss before it is trained.")
    ]
    learning_rate: Annotated[
        Amount | None, Field(description="Its learning rate; null where a sweep gives it and the rule is not known yet.")
    ]
    rate_sweep: Annotated[str | None, Field(description="Id of the sweep that gives its learning rate, or null.")]


@with_config(STRICT)
class PredictedRun(PlannedRun):
    """A run with what it takes on the device of the plan."""

    minutes: Annotated[Amount, Field(description="Expected minutes of its job, from the rung that it starts from to its end.")]
    most_minutes: Annotated[
        Amount, Field(description="The same where it goes on to the end of its budget: a run that stops early takes less.")
    ]
    gpus: Annotated[Count, Field(description="GPUs that its job asks for; 0 on processors.")]
    memory_gib: Annotated[Amount, Field(description="GiB of memory that it takes on each GPU, or of the machine.")]


@with_config(STRICT)
class Totals(TypedDict):
    """Sums over a study."""

    study: Annotated[str, Field(description="Name of the study.")]
    runs: Annotated[Count, Field(description="Its runs.")]
    runs_left: Annotated[Count, Field(description="Runs that are not trained yet.")]
    epochs: Annotated[
        dict[str, float],
        Field(
            description="Runs whose budget exceeds one epoch of all the data, and how many epochs it is, as far as the size of "
            "the text is known."
        ),
    ]
    mixtures: Annotated[
        dict[str, tuple[int, str]],
        Field(
            description="For each mixture whose size is known the tokens after which its training text ends, and the corpus that "
            "ends there."
        ),
    ]
    ladder_tokens: Annotated[Count, Field(description="Tokens to train for all budgets that share trunks, with the ladder.")]
    alone_tokens: Annotated[Count, Field(description="The same if each run were trained from nothing.")]
    rungs: Annotated[Count, Field(description="Rungs of the study.")]
    rung_bytes: Annotated[Amount, Field(description="Size of their weights and optimizer state in bytes.")]
    tokens_left: Annotated[Count, Field(description="Tokens that are left to train.")]
    flops_left: Annotated[Amount, Field(description="FLOP that are left.")]
    pf_days_left: Annotated[Amount, Field(description="The same in PF-days.")]
    h100_hours_left: Annotated[Amount, Field(description="Hours that one H100 is expected to take for the steps that are left.")]


@with_config(STRICT)
class DevicePlan(TypedDict):
    """What the times of a plan are for."""

    name: Annotated[str, Field(description="Its name: that of a profile's device, or of this machine's processor.")]
    profile: Annotated[str | None, Field(description="The profile that describes it; null for this machine.")]
    cores: Annotated[Count | None, Field(description="Cores that the jobs share; null with a profile.")]
    speed: Annotated[
        str, Field(description="How its speed is known: runs, timed steps, both (runs and timed steps), or assumed.")
    ]
    start_seconds: Annotated[Amount, Field(description="Seconds from the start of a job to its first step.")]
    price_per_hour: Annotated[Amount | None, Field(description="Price of an hour of one of it; null where none is given.")]


@with_config(STRICT)
class Cost(TypedDict):
    """What the study takes: all of it, and what is left."""

    minutes: Annotated[
        Amount | None,
        Field(description="Minutes on this machine from nothing to figures; null with a profile, whose jobs wait in a queue."),
    ]
    minutes_left: Annotated[Amount | None, Field(description="The same of what is left.")]
    most_minutes_left: Annotated[
        Amount | None, Field(description="The same where no run stops early before the end of its budget.")
    ]
    gpu_hours: Annotated[Amount | None, Field(description="GPU hours of the whole study; null without a profile.")]
    gpu_hours_left: Annotated[Amount | None, Field(description="GPU hours of what is left.")]
    price: Annotated[Amount | None, Field(description="What the whole study costs; null without price_per_hour in the profile.")]
    price_left: Annotated[Amount | None, Field(description="What the rest costs.")]


@with_config(STRICT)
class SizePlan(TypedDict):
    """The jobs that are left for one size of model on the device of a profile."""

    n_params: Annotated[Count, Field(description="N of the model.")]
    runs: Annotated[Count, Field(description="Runs that are left.")]
    gpus: Annotated[Amount, Field(description="GPUs that a job holds for each of them: a part of one where they share it.")]
    longest_hours: Annotated[Amount, Field(description="Hours of the longest job.")]
    gpu_hours: Annotated[Amount, Field(description="GPU hours in all.")]


@with_config(STRICT)
class LawPlan(TypedDict):
    """What a law will have to be fitted to."""

    law: Annotated[str, Field(description="Name of the law.")]
    points: Annotated[Count, Field(description="Points that its own rules choose among the planned runs or their curves.")]
    runs: Annotated[Count, Field(description="Runs that these points are of.")]
    trunks: Annotated[Count, Field(description="Trunks of these runs, which are resampled.")]
    sizes: Annotated[Count, Field(description="Different N among them.")]
    datasets: Annotated[Count, Field(description="Different dataset sizes among them.")]
    left_out: Annotated[dict[str, int], Field(description="Why runs of fitted experiments are left out, and how many.")]
    lacks: Annotated[list[str], Field(description="What it lacks, as ends of sentences; none where it has what it needs.")]


@with_config(STRICT)
class Disk(TypedDict):
    """Bytes that the study takes below results."""

    text: Annotated[Count, Field(description="Text, passages and token files, where the size of the text is declared or known.")]
    rungs: Annotated[Count, Field(description="Rungs of all trunks.")]
    runs: Annotated[Count, Field(description="Weights, curves and measures of all runs.")]
    checkpoints: Annotated[Count, Field(description="Checkpoints of the trainings that run at the same time, which are removed.")]
    left: Annotated[Count, Field(description="What is still to be written of all of it.")]
    free: Annotated[Count | None, Field(description="Free bytes of the disk of results; null where that cannot be told.")]


@with_config(STRICT)
class Plan(TypedDict):
    """What ``scalinglaws plan`` says of a study before anything is trained."""

    device: DevicePlan
    runs: list[PredictedRun]
    totals: Totals
    cost: Cost
    sizes: Annotated[list[SizePlan], Field(description="GPU hours by size; empty without a profile.")]
    laws: list[LawPlan]
    disk: Disk
    warnings: Annotated[list[str], Field(description="What is accepted and rarely meant, as sentences.")]
