"""Which experiments the runs behind a number belong to, and the noise between seeds that comparisons of single runs have."""

from __future__ import annotations

from collections.abc import Iterable

import polars

from scalinglaws.figures.shared import seed_noise


def experiments(tables: dict[str, polars.DataFrame], names: Iterable[str], column: str = "run") -> tuple[str, ...]:
    """Return the experiments that runs belong to, sorted; ``names`` are those of runs, or of the trunks in ``column``."""
    of = tables["runs"].filter(polars.col(column).is_in(list(names)))
    found = of["experiments"].explode().drop_nulls().unique().sort().to_list() if len(of) else []
    return tuple(found)


def difference(runs: polars.DataFrame, data: polars.DataFrame) -> float | None:
    """Return the standard deviation, in percent, of the difference between two single runs that differ in their seed alone.

    It is that of models near the median N of ``data``; None where no run has a second seed.
    """
    known = seed_noise.noise(runs, float(data["n_params"].median())) if len(data) else None  # type: ignore[arg-type]
    return 100 * 2**0.5 * known[0] if known else None
