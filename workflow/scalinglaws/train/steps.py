"""The steps after which a run is measured. They follow from the absolute step alone, so a run and its trunk share them."""

from __future__ import annotations

import math

from scalinglaws.study.spec import RunSpec

# The validation loss of the first steps falls fast whatever the data: patience starts to count here.
FIRST_VALIDATION_STEP = 32
# Measuring a point of the curve takes as long as some steps, and no law looks at the first points.
FIRST_CURVE_STEP = 8


def is_eval_step(step: int) -> bool:
    """Tell whether the curve has a point after ``step`` updates: round(2^(k/4)) for whole k, from 8 on."""
    if step < FIRST_CURVE_STEP:
        return False
    near = round(4 * math.log2(step))
    return any(round(2 ** (k / 4)) == step for k in (near - 1, near, near + 1))


def is_validation_step(spec: RunSpec, step: int) -> bool:
    """Tell whether the point after ``step`` updates has a validation loss: in runs that stop early, from 32 on."""
    return spec.stop == "early" and step >= FIRST_VALIDATION_STEP and is_eval_step(step)
