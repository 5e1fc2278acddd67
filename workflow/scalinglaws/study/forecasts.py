"""Which runs are forecast: those of experiments with ``forecast: true``, checked before anything is trained.

A forecast is what the laws that are fitted to the other runs say about the final loss of a run. It is written before the run is
trained, so that nobody can have chosen it by the outcome. The laws that can say it (``laws.registry.Entry.states``) are laws of
runs whose learning rate decayed and that saw each text once.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from scalinglaws.common.errors import StudyError
from scalinglaws.models.count import flops_6nd
from scalinglaws.study.config import Config
from scalinglaws.study.spec import RunSpec


def forecast_runs(
    config: Config, runs: Mapping[str, tuple[RunSpec, Sequence[str]]], epochs: Mapping[str, float]
) -> frozenset[str]:
    """Return the ids of the runs that are forecast.

    Parameters
    ----------
    config
        The config of the study.
    runs
        Run -> its spec and the experiments that ask for it.
    epochs
        Run -> its epochs, for runs whose budget exceeds one epoch of all the data.

    Raises
    ------
    StudyError
        An experiment has both ``fit: true`` and ``forecast: true``, a run belongs to a forecast experiment and to one that laws
        are fitted to, or no law states the loss of such a run.
    """
    forecasting = {name for name, experiment in config.experiments.items() if experiment.forecast}
    for name, experiment in config.experiments.items():
        if experiment.forecast and experiment.fit and "fit" in experiment.model_fields_set:
            raise StudyError(
                f"experiments.{name}: fit: true and forecast: true contradict each other: the runs of a forecast are in no fit; "
                "leave one of the two out"
            )
    found = {run: [name for name in asked if name in forecasting] for run, (_, asked) in runs.items()}
    for run, names in found.items():
        spec, asked = runs[run]
        fitted = [name for name in asked if name not in forecasting and config.experiments[name].fit]
        if names and fitted:
            raise StudyError(
                f"experiments.{names[0]} and experiments.{fitted[0]} both ask for run {run}: {names[0]} has forecast: true and "
                f"laws are fitted to the runs of {fitted[0]}; leave the run out of one of them"
            )
        if names and (reason := beyond_the_laws(spec, epochs.get(run))):
            raise StudyError(f"experiments.{names[0]}: forecast: true, and no law states the loss of run {run}: {reason}")
    return frozenset(run for run, names in found.items() if names)


def beyond_the_laws(spec: RunSpec, epochs: float | None = None) -> str:
    """Tell why the laws of forecasts neither state the final loss of a run nor are fitted to it; an empty text where they do.

    Parameters
    ----------
    spec
        The run.
    epochs
        Its epochs, where its budget exceeds one epoch of all the data and that is known.

    Returns
    -------
    str
        The reason, with what to change.
    """
    if spec.stop == "early":
        return "it is stopped early; give stop: budget"
    if spec.schedule == "constant" or (spec.schedule == "wsd" and not spec.decay):
        return "its learning rate does not decay; give another schedule, or a decay"
    if spec.dataset_tokens is not None:
        return "its dataset is limited; give dataset_tokens: all"
    if spec.init:
        return "it begins from published weights, whose own tokens no law counts; leave out init"
    if epochs:
        return f"its budget is {epochs:.3g} times the training text, which it would see again; give more text or fewer tokens"
    return ""


def quantities(spec: RunSpec) -> dict[str, float]:
    """Return what laws state the loss of a run from, known before it is trained, under the names that tables have for it.

    These are n_params (N, parameters without embeddings), tokens (those of its whole optimizer steps) and flops (C = 6ND).
    """
    tokens = spec.steps * spec.batch_tokens
    return {
        "n_params": float(spec.n_params),
        "tokens": float(tokens),
        "flops": float(flops_6nd(spec.shape(0), tokens)),
    }
