"""Build the optimizer that a run asks for."""

from __future__ import annotations

from scalinglaws.common.errors import StudyError
from scalinglaws.common.nearest import proposal
from scalinglaws.optim import parametrization
from scalinglaws.optim.base import BuiltOptimizer, FlatParameters, OneProcess, Processes, Settings
from scalinglaws.optim.registry import OPTIMIZERS

ALONE = OneProcess()


def build_optimizer(model: FlatParameters, settings: Settings, processes: Processes = ALONE) -> BuiltOptimizer:
    """Build the optimizer of a run, its state zero.

    Parameters
    ----------
    model
        The model that it is to train.
    settings
        The run's settings; a run's spec is one.
    processes
        The processes that train the model together.

    Returns
    -------
    BuiltOptimizer
        What ``settings.optimizer`` names.

    Raises
    ------
    StudyError
        No optimizer has that name, the run's parametrization has no rules for it, or a plug-in's lacks something that training
        needs.
    """
    if settings.optimizer not in OPTIMIZERS:
        known = proposal(settings.optimizer, OPTIMIZERS)
        raise StudyError(f"optimizer: {settings.optimizer!r} of run {settings.id} is unknown: {known}")
    entry = OPTIMIZERS.find(settings.optimizer)
    parametrization.check(settings)
    options = [entry.options.model_validate(dict(settings.optimizer_options))] if entry.options else []
    built = entry.loaded()(model, settings, processes, *options)
    if missing := [name for name in ("by_element", "tensors", "update") if not hasattr(built, name)]:
        raise StudyError(f"optimizer: {entry.name} has no {missing[0]}: see BuiltOptimizer in optim/base.py for what it needs")
    return built
