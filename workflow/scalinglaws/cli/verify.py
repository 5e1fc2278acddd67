"""The command ``verify``."""

from __future__ import annotations

from typing import Annotated

import typer

from scalinglaws.cli.options import RESULTS, Json, Results


def verify(
    results: Results = RESULTS,
    repair: Annotated[
        bool, typer.Option("--repair", help="Remove what is damaged, so that the next run makes it again, and nothing else.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Check that every file in results/ is as it was written; the exit status is 1 where one is damaged or missing.

    Each job leaves sha256 sums of its files. Results of earlier versions have none: they are named, and accepted if they can be
    read. With --repair, what is damaged is removed with the files that its job makes together with it, and the exit status is 0.

    \b
    Examples:
      scalinglaws verify
      scalinglaws verify --repair && snakemake
    """
    from scalinglaws.cli.output import print_json, print_table, progress
    from scalinglaws.common.errors import StudyError
    from scalinglaws.decide import verify as checks

    if not results.is_dir():
        raise StudyError(f"{results} is no folder: call this where the Snakefile is, or name it by --results")
    if repair:
        from scalinglaws.dag.locks import clear_stale

        clear_stale()
    sizes = [part.size for part in checks.parts(results)]
    with progress("checking", sum(sizes)) as tell:
        found = checks.verify(results, tell)
    removed = checks.repair(found) if repair else []
    if as_json:
        faults = {"damaged": found.damaged, "missing": found.missing}
        shown: dict[str, object] = {
            name: [{"path": str(fault.path), "what": fault.what} for fault in those] for name, those in faults.items()
        }
        shown |= {"without_sums": list(map(str, found.without_sums)), "removed": list(map(str, removed))}
        print_json(shown | {"parts": len(sizes), "bytes": sum(sizes)})
    else:
        rows = [(str(fault.path), fault.what) for fault in [*found.damaged, *found.missing]]
        rows += [(str(path), "has no sums, an earlier version wrote it") for path in found.without_sums]
        if rows:
            print_table(("file", "state"), rows)
        print(
            f"{len(sizes)} results checked, {sum(sizes) / 1e6:.1f} MB: {len(found.damaged)} files damaged, "
            f"{len(found.missing)} missing, {len(found.without_sums)} without sums"
        )
        if repair and rows:
            print(f"{len(removed)} files removed: run snakemake, which makes them again where they are needed")
    if (found.damaged or found.missing) and not repair:
        raise typer.Exit(1)
