"""The first state of a training that begins from published weights."""

from __future__ import annotations

import contextlib
from pathlib import Path

from safetensors import SafetensorError, safe_open

from scalinglaws.common import sums
from scalinglaws.common.errors import StudyError
from scalinglaws.common.read import read_object
from scalinglaws.models import exchange, published_config
from scalinglaws.study.init import CONFIG, ROWS, weights_of
from scalinglaws.train.trainer import Trainer


def begin(trainer: Trainer, root: Path | None) -> None:
    """Set the weights of a training that has no state yet to the published ones that its spec names, where it names some.

    Parameters
    ----------
    trainer
        The training. One that goes on from a checkpoint or a rung is left as it is.
    root
        The folder of published weights, results/weights.

    Raises
    ------
    StudyError
        The weights are not there or damaged, or they are not those of the run's model; a line for each key that differs.
    """
    weights = weights_of(trainer.spec)
    if weights is None or trainer.step:
        return
    if root is None:
        raise StudyError(f"{trainer.spec.id} begins from published weights: give --weights, the folder of those")
    folder = root / weights.id
    listed = sums.read(folder / sums.LIST) or {}
    if missing := [name for name in sorted(listed) if not (folder / name).exists()]:
        raise StudyError(f"{folder / missing[0]} is missing: {sums.REPAIR}")
    sums.require(folder / sums.LIST, listed)
    shape = trainer.spec.shape(trainer.n_vocab)
    rows = dict(trainer.spec.init).get(ROWS)
    found = published_config.differences(shape, read_object(folder / CONFIG), rows)
    if found:
        lines = "\n".join(f"  {line}" for line in found)
        raise StudyError(
            f"{trainer.spec.id} cannot begin from {weights.repository}, revision {weights.revision}, whose {CONFIG} describes "
            f"another model:\n{lines}"
        )
    with contextlib.ExitStack() as stack:
        try:
            opened = [stack.enter_context(safe_open(path, framework="pt")) for path in sorted(folder.glob("*.safetensors"))]
        except (SafetensorError, OSError) as error:
            raise StudyError(f"a file of weights in {folder} is damaged ({error}): {sums.REPAIR}") from None
        places = {name: file for file in opened for name in file.keys()}  # noqa: SIM118, not a dict
        exchange.fill(shape, trainer.model.params, places, lambda name: places[name].get_tensor(name), str(folder))
