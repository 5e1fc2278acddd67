"""How a study would train a run of some size and budget: an entry of ``experiments`` to paste, and what its rules give the run.

The shape has the proportions of the study's largest fitted model: its width over its depth, and its options of the architecture,
of which those that are widths or numbers of heads grow with d_model. What the experiment of that model sets besides the model and
the tokens is kept.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from scalinglaws.common.errors import StudyError
from scalinglaws.common.fields import WIDEST
from scalinglaws.common.numbers import short
from scalinglaws.decide.answer import Trained
from scalinglaws.models.config import ModelConfig
from scalinglaws.models.count import n_params
from scalinglaws.study import study as study_model
from scalinglaws.study.config import Config, parse
from scalinglaws.study.grid import points
from scalinglaws.study.resolve import resolve_shape
from scalinglaws.study.spec import RunSpec

GROW = ("d_ff", "d_attn", "n_heads", "n_kv_heads")  # options that keep their ratio to d_model
NOT_OF_A_RUN = ("grid", "points", "evaluate", "fit", "forecast")  # keys of an experiment that are no settings of its runs
DEPTHS = 200  # the most layers of a shape
ASPECT_WEIGHT = 0.1  # of the square of the log of a wrong proportion, beside that of a wrong size
DEFAULT_ASPECT, DEFAULT_STEP = 64, 64  # width over depth, and a divisor of the width, where no study gives any
DIGITS = 4  # of a budget
NAME = "forecast-{}"


@dataclass(frozen=True)
class Pattern:
    """The model whose proportions are kept: its settings, with those of its experiment and of its point, and its shape."""

    config: Config
    experiment: str
    settings: Any
    step: int  # a divisor of every d_model

    @property
    def aspect(self) -> float:
        """Return the width over the depth."""
        return float(self.settings.model.d_model / self.settings.model.n_layer)

    def model(self, n_layer: int, d_model: int) -> dict[str, Any]:
        """Return the key ``model`` of a shape, with the options that the pattern gives."""
        own = self.settings.model
        options = {name: value for name, value in (own.model_extra or {}).items() if value is not None}
        grown = {name: value * d_model // own.d_model if name in GROW else value for name, value in options.items()}
        return {"n_layer": n_layer, "d_model": d_model, **grown}

    def size(self, n_layer: int, d_model: int) -> int:
        """Return N of a shape; 0 where the architecture refuses it."""
        model = type(self.settings.model).model_validate(self.model(n_layer, d_model))
        try:
            return _size_of(self.settings.model_copy(update={"model": model}))
        except StudyError:
            return 0


def pattern(config: Config) -> Pattern:
    """Return the largest model of the experiment that has the most points to which laws of decayed runs are fitted.

    Raises
    ------
    StudyError
        The config has no such point.
    """
    built = study_model.build(config.model_copy(update={"external_runs": []}))
    usable = {name for run in built.basis for name in built.experiments[run]}
    found: dict[str, list[Any]] = {}
    for experiment, _, settings in points(config):
        of = config.experiments[experiment]
        whole = settings.stop == "budget" and settings.dataset_tokens == "all"
        if of.fit and not of.forecast and experiment in usable and whole:
            found.setdefault(experiment, []).append(settings)
    if not found:
        raise StudyError(
            f"study {config.study} has no runs of decayed budgets on all the data, whose proportions a larger model could keep: "
            "forecast from its table of runs with --table, without --configfile"
        )
    experiment = max(found, key=lambda name: len(found[name]))
    settings = max(found[experiment], key=_size_of)
    own = settings.model
    numbers = [value for name, value in (own.model_extra or {}).items() if name in GROW and isinstance(value, int)]
    step = own.d_model // math.gcd(own.d_model, *numbers) if numbers else math.gcd(*(s.model.d_model for s in found[experiment]))
    return Pattern(config, experiment, settings, step)


def _size_of(settings: Any) -> int:
    """Return N of the model of settings. Raises StudyError where the architecture refuses it."""
    shape = resolve_shape(settings, "")
    options = {"options": dict(shape["options"])}
    return n_params(ModelConfig(n_ctx=settings.n_ctx, architecture=settings.architecture, **shape | options))


def shape(of: Pattern | None, size: float) -> tuple[int, int, int]:
    """Return n_layer, d_model and N of the shape that is near a size and near the proportions of a pattern.

    Without a pattern the model is the Transformer of 2020 of N = 12·n_layer·d_model², with DEFAULT_ASPECT.
    """
    step, aspect = (of.step, of.aspect) if of else (DEFAULT_STEP, DEFAULT_ASPECT)
    best: tuple[float, int, int, int] | None = None
    for n_layer in range(1, DEPTHS + 1):
        # N grows as the square of the width, nearly: the widths at both sides of the root are tried.
        one = of.size(n_layer, step) if of else 12 * n_layer * step**2
        root = math.sqrt(size / one) if one else 0.0
        for times in {max(1, math.floor(root)), max(1, math.ceil(root))}:
            d_model = step * times
            found = of.size(n_layer, d_model) if of and d_model <= WIDEST else 12 * n_layer * d_model**2
            if not found or d_model > WIDEST:
                continue
            wrong = math.log(found / size) ** 2 + ASPECT_WEIGHT * math.log(d_model / n_layer / aspect) ** 2
            if best is None or wrong < best[0]:
                best = (wrong, n_layer, d_model, found)
    if best is None:
        raise StudyError(f"no shape of {short(int(size))} parameters is found: its width would be above {WIDEST}")
    return best[1:]


def budget(flops: float, size: int) -> int:
    """Return the tokens that a model of ``size`` parameters processes for a compute C = 6ND, to DIGITS digits."""
    return max(1, int(float(f"{flops / (6 * size):.{DIGITS}g}")))


def trained(of: Pattern | None, n_params_wanted: float, flops: float, name: str, tokens_root: Path) -> Trained:
    """Return how a run is trained, with an entry to paste.

    Parameters
    ----------
    of
        The pattern of its shape; None where no config is known, which gives a shape and a budget alone.
    n_params_wanted, flops
        N and the compute. The shape's own N differs a little, and its budget is that of the same compute.
    name
        What the name of the experiment ends with.
    tokens_root
        The root of the token folders, which tell the size of the text where it is tokenized.

    Raises
    ------
    StudyError
        No shape has that size.
    """
    n_layer, d_model, size = shape(of, n_params_wanted)
    tokens = budget(flops, size)
    own = own_settings(of) if of else {}
    model: Any = of.model(n_layer, d_model) if of else {"n_layer": n_layer, "d_model": d_model}
    model = f"{n_layer}x{d_model}" if set(model) == {"n_layer", "d_model"} else model
    entry = {"forecast": True, **own, "points": [{"model": model, "tokens": tokens}]}
    block = yaml.safe_dump({NAME.format(name): entry}, sort_keys=False, default_flow_style=None, width=120, allow_unicode=True)
    spec, refused = _resolved(of.config, NAME.format(name), entry, tokens_root) if of else (None, None)
    return Trained(
        run=spec.id if spec else None,
        model=f"{n_layer}x{d_model}",
        n_params=size,
        tokens=tokens,
        batch_tokens=spec.batch_tokens if spec else None,
        steps=spec.steps if spec else None,
        learning_rate=spec.learning_rate if spec else None,
        refused=refused,
        block="".join(f"  {line}\n" for line in block.splitlines()),
    )


def own_settings(of: Pattern) -> dict[str, Any]:
    """Return the settings that the pattern's experiment gives its runs, beside the model and the budget, as YAML has them."""
    experiment = of.config.experiments[of.experiment].model_dump(mode="json", exclude_unset=True, exclude_none=True)
    return {key: value for key, value in experiment.items() if key not in (*NOT_OF_A_RUN, "model", "tokens")}


def _resolved(config: Config, name: str, entry: Mapping[str, Any], tokens_root: Path) -> tuple[RunSpec | None, str | None]:
    """Return the run of an entry, None where it cannot be run, and why the study refuses the entry, None where it takes it."""
    data = config.model_dump(mode="json", exclude_unset=True, exclude_none=True)
    spec, refused = None, None
    for alone, forecast in ((True, False), (False, True)):
        others = {} if alone else data["experiments"]
        own = dict(entry) | {"forecast": forecast} | ({} if forecast else {"fit": False})
        try:
            built = study_model.build(parse(data | {"experiments": {**others, name: own}}), tokens_root)
        except StudyError as error:
            refused = str(error)
            continue
        spec = next(spec for run, spec in built.runs.items() if name in built.experiments[run])
    return spec, refused
