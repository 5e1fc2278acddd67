"""The points of a study: each experiment's grid (a product of lists) and its listed points, as complete settings of one run."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator
from typing import Any

from pydantic import ValidationError

from scalinglaws.common.errors import StudyError
from scalinglaws.study.config import Config, Settings
from scalinglaws.study.explain import explain

MOST_POINTS = 10_000  # of a study: their product is not made beyond it


def _given(model: Any) -> dict[str, Any]:
    """Return the keys that the user set, with the values that pydantic read."""
    return {key: getattr(model, key) for key in model.model_fields_set if getattr(model, key) is not None}


def points(config: Config) -> Iterator[tuple[str, str, Settings]]:
    """Yield (experiment, path of the point in the config, settings) of every point.

    A key of the point or the grid overrides the experiment's, and that overrides the defaults'. Raises StudyError where an
    experiment has nothing to run, where there are too many points, or where a setting is missing or wrong.
    """
    _check_count(config)
    for name, experiment in config.experiments.items():
        own = _given(experiment)
        grid, listed = own.pop("grid", None), own.pop("points", [])
        own.pop("evaluate", None)
        own.pop("fit", None)
        own.pop("forecast", None)
        base = {**_given(config.defaults), **own}
        where = f"experiments.{name}"
        if grid is None and not listed:
            raise StudyError(f"{where}: neither grid nor points: nothing to run")
        axes = sorted(_given(grid).items()) if grid is not None else []
        if grid is not None and not axes:
            raise StudyError(f"{where}.grid: empty")
        products = (
            [dict(zip(dict(axes), values, strict=True)) for values in itertools.product(*(v for _, v in axes))] if axes else []
        )
        for axis_values in products:
            shown = ", ".join(f"{key} {shown_value(value)}" for key, value in axis_values.items())
            yield name, f"{where}.grid ({shown})", _settings({**base, **axis_values}, where)
        for i, point in enumerate(listed):
            yield name, f"{where}.points[{i}]", _settings({**base, **_given(point)}, f"{where}.points[{i}]")


def _check_count(config: Config) -> None:
    """Count the points before any is made. Raises StudyError where there are too many."""
    total = 0
    for name, experiment in config.experiments.items():
        axes = sorted(_given(experiment.grid).items()) if experiment.grid is not None else []
        count = math.prod(len(values) for _, values in axes) if axes else 0
        total += count + len(experiment.points)
        if total > MOST_POINTS:
            sizes = " x ".join(f"{len(values)} {key}" for key, values in axes)
            made = f"its grid has {sizes} = {count:,} points" if axes else f"it has {len(experiment.points):,} points"
            raise StudyError(
                f"experiments.{name}: {made}, and the study {total:,} with those before it: {MOST_POINTS:,} are the most"
            )


def shown_value(value: Any) -> str:
    """Return a value as the path of a grid's point shows it: 2x32 for a model."""
    if hasattr(value, "d_model"):
        return f"{value.n_layer}x{value.d_model}"
    return str(value)


def _settings(values: dict[str, Any], where: str) -> Settings:
    plain = {key: value.model_dump() if hasattr(value, "model_dump") else value for key, value in values.items()}
    try:
        return Settings.model_validate(plain)
    except ValidationError as error:
        raise StudyError(
            f"incomplete settings (give the key under defaults or in the experiment):\n{explain(error, Settings, where)}"
        ) from None
