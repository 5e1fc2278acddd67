"""Where a study stands on a page: paragraphs, tables, and the failures with the ends of their logs."""

from __future__ import annotations

import itertools
import shlex
import textwrap
from collections import Counter
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, NamedTuple

from scalinglaws.common.numbers import counted, lasting, short
from scalinglaws.decide.standing import STATES, Counts, FailedJob, Standing, Training, TrunkStanding

if TYPE_CHECKING:
    from rich.console import Group

WIDTH = 80  # columns that a page needs
MOST_ROWS, MOST_FAILURES = 20, 5  # of a longer list, the page says how many more there are
MOST_EXPERIMENTS = 12  # where there are more, a terminal shows those with something new


class Table(NamedTuple):
    """Rows of texts under their columns; those named in ``right`` hold numbers and end at one edge."""

    columns: tuple[str, ...]
    rows: list[list[str]]
    right: tuple[str, ...] = ()


Part = str | Table  # lines that are kept as they are, or a table


def show(now: Standing) -> None:
    """Print the page as plain lines."""
    from scalinglaws.cli.output import print_table

    for k, part in enumerate(page(now)):
        if k:
            print()
        if isinstance(part, str):
            print(part)
        else:
            print_table(part.columns, part.rows, part.right)


def drawn_page(now: Standing) -> Group:
    """Return the page as rich draws it on a terminal."""
    from rich.console import Group
    from rich.text import Text

    from scalinglaws.cli.output import drawn

    parts = page(now, brief=True)
    return Group(*(Text(f"{p}\n") if isinstance(p, str) else drawn(p.columns, p.rows, p.right) for p in parts))


def page(now: Standing, brief: bool = False) -> Iterator[Part]:
    """Yield the parts of the page in their order; failures stand before what is long.

    A page that is ``brief``, for a terminal of some height, leaves out experiments of which nothing runs, was stopped or failed
    where there are many.
    """
    yield _head(now)
    columns, shown = ("experiment", "wanted", *STATES), now.experiments
    if brief and len(shown) > MOST_EXPERIMENTS:
        shown = [each for each in shown if each.running or each.stopped or each.failed]
    if now.experiments:
        several = [now.total] if len(now.experiments) > 1 else []
        yield Table(columns, [_counts(each) for each in (*shown, *several)], columns[1:])
    if len(shown) < len(now.experiments):
        yield f"Of {len(now.experiments) - len(shown)} more experiments nothing runs: scalinglaws status | cat has them."
    yield from _failures(now.failures)
    running = [("trunk " + each.trunk, each) for each in now.trunks] + [(each.run, each) for each in now.runs]
    yield from _running([(name, each) for name, each in running if each.state == "running"])
    yield from _stopped([(name, each) for name, each in running if each.state == "stopped"])
    yield from _waiting(now)


def _head(now: Standing) -> str:
    """Return the sentences that sum up where the study stands."""
    total = now.total
    trained = total.done + total.diverged
    told = [f"study {now.study}: {trained} of {counted(total.wanted, 'run')} trained"]
    if now.evaluations:
        told.append(f"{now.evaluations_done} of {counted(now.evaluations, 'evaluation')} done")
    if trained < total.wanted:
        told.append(f"{short(now.tokens_left)} tokens left")
    if now.seconds_left is not None and now.tokens_left:
        told.append(f"about {lasting(now.seconds_left)} left")
    return "\n".join(_broken(sentence) for sentence in (f"{', '.join(told)}.", _workflow(now)))


def _workflow(now: Standing) -> str:
    """Return a sentence on the Snakemake that works on the study."""
    found, done = now.workflow, now.total.done + now.total.diverged == now.total.wanted
    if found is None or (found.state == "gone" and done and not now.failures):
        return "No snakemake runs here." if done else "No snakemake has run here: start one (scalinglaws run, or snakemake)."
    if found.state == "gone":
        left = " Trainings that it left behind go on." if now.at_work else ""
        return f"No snakemake runs here, so that nothing new starts: start one (scalinglaws run, or snakemake).{left}"
    other = f", on study {found.study}" if found.study not in (None, now.study) else ""
    if found.state == "elsewhere":
        return (
            f"The last snakemake was started on {found.host}, as process {found.pid}{other}; whether it runs shows there alone."
        )
    return f"Process {found.pid} runs snakemake{other}."


def _counts(counts: Counts) -> list[str]:
    values = counts.model_dump()
    return [counts.experiment or "(all runs)", *(str(values[name]) for name in ("wanted", *STATES))]


def _failures(failures: Sequence[FailedJob]) -> Iterator[str]:
    """Yield what failed: the end of its log, and the command that repeats it in lines that a shell takes."""
    for failure in failures[:MOST_FAILURES]:
        lines = [f"  | {line}" for line in failure.lines]
        again = " \\\n      ".join(_words(failure.command))
        yield "\n".join([f"FAILED: {failure.stage} {failure.name}", f"  log: {failure.log}", *lines, f"  again: {again}"])
    if len(failures) > MOST_FAILURES:
        yield f"and {counted(len(failures) - MOST_FAILURES, 'more failure')}: --json has all of them"


def _words(command: str) -> Iterator[str]:
    """Yield the words of a command line, quoted, with each option beside its value."""
    line = ""
    for word in map(shlex.quote, shlex.split(command)):
        if line and (word.startswith("-") or not line.startswith("-") or " " in line):
            yield line
            line = word
        else:
            line = f"{line} {word}".strip()
    yield line


def _running(found: Sequence[tuple[str, Training]]) -> Iterator[Part]:
    """Yield the table of what trains now."""
    hosts = len({each.host for _, each in found}) > 1
    columns = ("running", "step", "loss", "test", "tokens/s", "left", *(["on"] if hosts else []))
    rows = [
        [
            name,
            f"{each.step}/{each.steps}",
            *("-" if loss is None else f"{loss:.3f}" for loss in (each.loss, each.test_loss)),
            f"{each.tokens_per_second:,.0f}" if each.tokens_per_second else "-",
            "-" if each.seconds_left is None else lasting(each.seconds_left),
            *([each.host or "-"] if hosts else []),
        ]
        for name, each in found
    ]
    yield from _listed(columns, rows, columns[1:6])


def _stopped(found: Sequence[tuple[str, Training]]) -> Iterator[Part]:
    """Yield the table of what was stopped and goes on."""
    rows = [[name, f"{each.step}/{each.steps}", each.because or ""] for name, each in found]
    yield from _listed(("stopped", "goes on from", "because"), rows, ("goes on from",))


def _waiting(now: Standing) -> Iterator[Part]:
    """Yield the table of what runs and trunks wait for."""
    waiting = [run for run in now.runs if run.state == "waiting"]
    reasons = Counter(run.because or "" for run in waiting if run.trunk is None)
    rows = [[counted(number, "run"), reason] for reason, number in reasons.most_common()]
    runs = Counter(run.trunk for run in waiting if run.trunk)
    rows += [[counted(runs[each.trunk], "run"), _trunk(each)] for each in now.trunks if each.trunk in runs]
    yield from _listed(("waiting", "for"), rows)


def _trunk(trunk: TrunkStanding) -> str:
    """Return in words how far a trunk is whose rungs runs wait for."""
    how = f"waits for {trunk.because}" if trunk.state == "waiting" else f"{trunk.state} at step {trunk.step}"
    return f"{trunk.trunk}: {trunk.rungs_made} of {counted(trunk.rungs, 'rung')}, {how}"


def _listed(columns: tuple[str, ...], rows: list[list[str]], right: tuple[str, ...] = ()) -> Iterator[Part]:
    """Yield a table of the first rows, and how many more there are; nothing where there are none."""
    if rows:
        yield Table(columns, list(itertools.islice(rows, MOST_ROWS)), right)
    if len(rows) > MOST_ROWS:
        yield f"and {len(rows) - MOST_ROWS} more: --json has all of them"


def _broken(sentence: str) -> str:
    return textwrap.fill(sentence, WIDTH, break_on_hyphens=False, break_long_words=False)
