"""What a job asks for: threads and resources. Without a device every job asks for little, as on a laptop."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any

from scalinglaws.cluster import needs as model
from scalinglaws.cluster.needs import Needs
from scalinglaws.dag.context import Context

# A function of a job's wildcards and of the number of the attempt, which is 1 where it is left out.
NeedsOfJob = Callable[..., Needs]
LAPTOP_MINUTES = 60


@cache
def needs_of_run(context: Context, run: str, attempt: int = 1) -> Needs:
    """Return the needs of the job that trains a run on from its rung."""
    spec = context.run_spec(run)
    return model.needs_of_training(spec, spec.steps - context.study.starts.get(run, 0), context.device, attempt, context.speeds)


@cache
def needs_of_rung(context: Context, trunk: str, step: int, attempt: int = 1) -> Needs:
    """Return the needs of the job that trains a trunk on to the rung at ``step``."""
    spec = context.trunk_spec(trunk)
    return model.needs_of_rung(context.study, spec, step, context.device, attempt, context.speeds)


def needs_of_bundle(context: Context, name: str, attempt: int = 1) -> Needs:
    """Return the needs of a bundle. Bundles are planned for a device, so there is one."""
    assert context.device is not None, f"bundle {name}: the profile of this job has no device"
    return context.bundle(name).needs(context.device, attempt)


def needs_of_evaluation(context: Context, run: str, name: str, attempt: int = 1) -> Needs:
    """Return the needs of the evaluation of a run on the corpora of a set."""
    corpora = len(context.evaluation_set(name))
    return model.needs_of_evaluation(context.run_spec(run), corpora, context.device, attempt, context.speeds)


def processes_on_node(needs: Needs) -> int:
    """Return the number of processes that a job starts on each of its nodes."""
    return max(1, needs.gpus // needs.nodes)


def capped(context: Context, threads: int) -> int:
    """Return the threads of a job on one node: no more than the node has CPUs, where the device says how many these are."""
    most = context.device.cpus_per_node if context.device else 0
    return min(threads, most) if most else threads


def threads_of_run(context: Context, run: str) -> int:
    """Return the threads of all processes that train a run on one node."""
    threads = context.run_spec(run).threads
    return capped(context, threads * processes_on_node(needs_of_run(context, run))) if context.device else threads


def threads_of_rung(context: Context, trunk: str, step: int) -> int:
    """Return the threads of all processes that train a trunk on one node."""
    threads = context.trunk_spec(trunk).threads
    return capped(context, threads * processes_on_node(needs_of_rung(context, trunk, step))) if context.device else threads


def threads_of_bundle(context: Context, name: str) -> int:
    """Return the threads of all members that a bundle trains at the same time."""
    bundle = context.bundle(name)
    return capped(context, bundle.at_once * bundle.threads)


def on_one_node(context: Context, needs: NeedsOfJob, threads: Any = 1) -> dict[str, Any]:
    """Return the resources of a rule whose jobs are one process of Slurm on one node.

    ``threads`` is that of the rule, a number or a function of wildcards. ``device`` is where the job computes: with a device that
    has GPUs it must not go on without one, and only without a profile's device it takes what there is.
    """
    device = context.device
    if not device:
        return {"mem_mb": model.PROCESS_MB, "runtime": LAPTOP_MINUTES, "processes": 0, "device": "auto"}
    # Jobs on CPUs have other rules, without these.
    asked = {name: value for name in ("constraint", "qos") if (value := getattr(device, name)) and device.gpus_per_node}
    return asked | {
        "gres": lambda wildcards: _gres(device.gres, needs(wildcards)),
        "mem_mb": lambda wildcards, attempt: needs(wildcards, attempt).mem_mb,
        "runtime": lambda wildcards, attempt: needs(wildcards, attempt).minutes,
        "cpus_per_task": threads,  # a dry run reduces threads to the cores of this machine, and shows this as it is
        "processes": lambda wildcards: needs(wildcards).gpus,
        "device": device.backend if device.gpus_per_node else "cpu",
    }


def on_nodes(context: Context, needs: NeedsOfJob, threads: Callable[..., int]) -> dict[str, Any]:
    """Return the resources of a rule whose jobs may take several GPUs, also on several nodes; ``hosts`` says on how many."""
    if not context.device:
        return on_one_node(context, needs) | {"hosts": 1}

    def cpus(wildcards: Any) -> int:
        """Return the CPUs of each process, of which there is one for each GPU."""
        return max(1, threads(wildcards) // processes_on_node(needs(wildcards)))

    def tasks(wildcards: Any) -> int | None:
        """Return the processes of the whole job, where there is one on each node: the plugin takes no such number for each."""
        found = needs(wildcards)
        return found.gpus if processes_on_node(found) == 1 else None

    def tasks_per_node(wildcards: Any) -> int | None:
        """Return the processes on each node, where there are several."""
        on_node = processes_on_node(needs(wildcards))
        return on_node if on_node > 1 else None

    # The Slurm plugin does not use srun to start a job that has the resource mpi. The stage does that, once for each GPU.
    return on_one_node(context, needs, cpus) | {
        "hosts": lambda wildcards: needs(wildcards).nodes,
        "nodes": lambda wildcards: _where_several(needs(wildcards), needs(wildcards).nodes),
        "tasks": lambda wildcards: _where_several(needs(wildcards), tasks(wildcards)),
        "tasks_per_node": lambda wildcards: _where_several(needs(wildcards), tasks_per_node(wildcards)),
        "tasks_per_gpu": lambda wildcards: _where_several(needs(wildcards), 0),
        "mpi": lambda wildcards: _where_several(needs(wildcards), "srun"),
    }


def _gres(name: str, needs: Needs) -> str:
    """Return the GPUs to request on each node, in GRES syntax; empty for CPU jobs."""
    return f"{name}:{needs.gpus // needs.nodes}" if needs.gpus else ""


def _where_several(needs: Needs, value: Any) -> Any:
    """Return a value where a job has several processes, else None: a resource that is None is not asked for."""
    return value if needs.gpus > 1 else None
