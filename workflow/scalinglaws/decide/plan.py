"""What a study would train, what is there already, and what it costs: rows, totals, and sentences about them."""

from __future__ import annotations

from pathlib import Path

from scalinglaws.common.numbers import PF_DAY, counted, short
from scalinglaws.decide.disk import rung_bytes
from scalinglaws.decide.plan_record import PlannedRun, Totals
from scalinglaws.decide.status import status
from scalinglaws.study.ladder import flops_per_step, tokens_to_train
from scalinglaws.study.paths import has_run, rate_rule_path
from scalinglaws.study.study import Study
from scalinglaws.study.sweeps import FittedRule, known_rate, read_rule


def plan_rows(study: Study, results: Path) -> list[PlannedRun]:
    """List the runs of a study.

    Parameters
    ----------
    study
        The study.
    results
        The folder of results, which tells what is trained.

    Returns
    -------
    list of PlannedRun
        A row for each run, in the order of their ids.
    """
    return [
        PlannedRun(
            run=run,
            experiments=list(study.experiments[run]),
            n_params=spec.n_params,
            dataset_tokens=spec.dataset_tokens,
            tokens=spec.tokens,
            from_tokens=study.starts[run] * spec.batch_tokens,
            n_heads=spec.n_heads,
            gflop=(spec.steps - study.starts[run]) * flops_per_step(spec) / 1e9,
            state="done" if has_run(results, run) else "to train",
            forecast=run in study.forecasts,
            learning_rate=known_rate(run, spec, results),
            rate_sweep=spec.rate_sweep or None,
        )
        for run, spec in study.runs.items()
    ]


def plan_totals(study: Study, results: Path) -> Totals:
    """Sum up what a study trains, what of it is left, and what that costs.

    Parameters
    ----------
    study
        The study.
    results
        The folder of results, which tells what is trained.

    Returns
    -------
    Totals
        Runs, tokens, rungs and compute.
    """
    ladder, alone = tokens_to_train({run: spec for run, spec in study.runs.items() if run in study.trunk_ids}, study.ladder)
    now = status(study, results)
    return Totals(
        study=study.name,
        runs=now.runs,
        runs_left=now.runs - now.runs_done,
        epochs=dict(study.epochs),
        mixtures=dict(study.mixtures),
        ladder_tokens=ladder,
        alone_tokens=alone,
        rungs=sum(map(len, study.rungs.values())),
        rung_bytes=sum(rung_bytes(study.trunks[trunk]) * len(steps) for trunk, steps in study.rungs.items()),
        tokens_left=now.tokens_left,
        flops_left=now.flops_left,
        pf_days_left=now.flops_left / PF_DAY,
        h100_hours_left=now.h100_seconds_left / 3600,
    )


def sentences(totals: Totals) -> list[str]:
    """Return the totals of a study in words, as lines of text."""
    ladder, alone, hours = totals["ladder_tokens"], totals["alone_tokens"], totals["h100_hours_left"]
    saving = f"{short(ladder)} tokens to train, run by run {short(alone)}: {alone / ladder:.2f} times fewer" if ladder else ""
    paid = f", {hours:,.0f} hours of an H100" if hours >= 1 else ""
    return [
        *ends_of_mixtures(totals["mixtures"]),
        *beyond_an_epoch(totals["epochs"]),
        f"budgets on the ladder: {saving}" if ladder else "no budgets on the ladder",
        f"rungs: {totals['rungs']}, {totals['rung_bytes'] / 1e6:.1f} MB (weights and optimizer state)",
        f"left: {totals['runs_left']} of {totals['runs']} runs, {short(totals['tokens_left'])} tokens",
        f"compute left: {totals['flops_left']:.2e} FLOP, {totals['pf_days_left']:.2g} PF-days{paid}",
    ]


def ends_of_mixtures(mixtures: dict[str, tuple[int, str]]) -> list[str]:
    """Return a sentence for each mixture that says how large it is, and which corpus has no more text there."""
    return [
        f"mixture {name}: {short(tokens)} training tokens at most, where {source} has no more text"
        for name, (tokens, source) in mixtures.items()
    ]


def of_sweeps(study: Study, results: Path) -> list[str]:
    """Return a sentence about each sweep that gives runs their learning rate: its runs, the runs that use it, and its rule."""
    told = []
    for name, sweep in study.sweeps.items():
        sizes = sorted({study.runs[run].n_params for run in sweep.runs})
        users = [spec.n_params for spec in study.runs.values() if spec.rate_sweep == name]
        far = FittedRule(name, 1.0, 0.0, (sizes[0], sizes[-1])).beyond(max(users))
        reach = f"N up to {far:.3g} times its largest" if far > 1 else "N within its sizes"
        told.append(
            f"learning rate: sweep {name}, {counted(len(sweep.runs), 'run')} at {counted(len(sizes), 'size')} up to "
            f"N = {sizes[-1]:,}, gives that of {counted(len(users), 'run')} with {reach}; {_rule(name, results)}"
        )
    return told


def rate_in_words(row: PlannedRun) -> str:
    """Return the learning rate of a run, and the sweep that gives it if one does, for the table of the plan."""
    if row["rate_sweep"] is None:
        return f"{row['learning_rate']:.3g}"
    known = "" if row["learning_rate"] is None else f"{row['learning_rate']:.3g} "
    return f"{known}from sweep {row['rate_sweep']}"


def _rule(sweep: str, results: Path) -> str:
    """Return the rule of a sweep in words, or what it waits for."""
    if not rate_rule_path(results, sweep).exists():
        return "its rule is not known until its runs are trained"
    rule = read_rule(results, sweep)
    return " ".join([f"its rule is {rule.coefficient:.4g} · N^{rule.exponent:.4g}.", *rule.notes]).removesuffix(".")


def beyond_an_epoch(epochs: dict[str, float]) -> list[str]:
    """Return a sentence about the runs whose budgets exceed one epoch, from run -> epochs; none where there are no such runs."""
    if not epochs:
        return []
    most, names = max(epochs.values()), list(epochs)
    shown = f"{', '.join(names[:3])}{f' and {len(names) - 3} more' if len(names) > 3 else ''}"
    return [
        f"beyond one epoch: {counted(len(names), 'run')} with budgets of up to {most:.3g} times the training text ({shown}): "
        "what repeats text enters no law but repetition; give more text or smaller budgets for the other laws"
    ]
