"""The HTML of ``explore.html``: what stands around the plots, and everything that they need inside the page.

Bokeh numbers its models in the order in which a process makes them; here they are numbered anew, so that the same study gives the
same bytes.
"""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path
from typing import Any

import polars as pl
from bokeh.document import Document
from bokeh.resources import Resources

from scalinglaws.common.numbers import counted
from scalinglaws.decide.explore_forecast import Step
from scalinglaws.decide.explore_laws import Curve
from scalinglaws.decide.explore_plots import FORECAST, LINES
from scalinglaws.decide.explore_runs import Panel, experiments

DASHES = {"solid": "", "dashed": "7 4", "dotted": "2 3", "dotdash": "2 3 7 3"}
SHAPES = {
    "circle": '<circle cx="8" cy="8" r="5"/>',
    "square": '<rect x="3" y="3" width="10" height="10"/>',
    "triangle": '<path d="M8 2 14 13H2z"/>',
    "diamond": '<path d="M8 1 14 8 8 15 2 8z"/>',
    "inverted_triangle": '<path d="M8 14 14 3H2z"/>',
}
FORECAST_WORDS = "<b>forecast</b> of the best run for a compute by all laws together"
Limits = dict[str, tuple[float, float]]  # the ends of an axis by its scale, "log" or "linear"


@dataclass(frozen=True)
class Part:
    """A panel of the page: its curves, sentences of doubt about its laws, and the ends of its axes."""

    panel: Panel
    curves: Sequence[Curve]
    doubts: Sequence[str]
    x: Limits
    y: Limits


def page(
    study: str,
    table: pl.DataFrame,
    parts: Sequence[Part],
    steps: Sequence[Step],
    lack: str,
    document: Document,
    marks: dict[str, tuple[str, str]],
) -> str:
    """Return the page.

    Parameters
    ----------
    study
        The name of the study.
    table
        The runs, a frame of ``explore_runs.shown``.
    parts
        The panels.
    steps, lack
        The forecasts of the slider, and the sentence in their place where there are none.
    document
        The plots, in the order of ``parts``, and the table.
    marks
        Colour and marker of each experiment.
    """
    plots = numbered(document.to_json(deferred=False))
    roots = [root["id"] for root in plots["roots"]]
    places = [*(f"plot-{part.panel.letter}" for part in parts), "table"]
    data = {
        "document": plots,
        "item": {"docid": "explore", "roots": dict(zip(roots, places, strict=True)), "root_ids": roots},
        "experiments": table["experiments"].to_list(),
        "steps": [_step(step) for step in steps],
        "limits": {part.panel.letter: {"x": part.x, "y": part.y} for part in parts},
    }
    # No text of a study can end the element that holds the data.
    text = json.dumps(_finite(data), ensure_ascii=False, allow_nan=False, separators=(",", ":")).replace("<", "\\u003c")
    title = f"Study {study}: loss against size, data and compute" if study else "Loss against size, data and compute"
    library = "\n".join(Resources(mode="inline", components=["bokeh", "bokeh-tables"]).js_raw)
    return f"""<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{escape(title)}</title>
<style>
{_file("explore.css")}</style>
</head>
<body>
<main>
<h1>{escape(title)}</h1>
{_introduction(table)}
{_controls(table, marks)}
<section class="panels" aria-label="Plots">
{"".join(_panel(part, bool(steps) and part.panel.letter == "C") for part in parts)}</section>
{_forecast(steps, lack)}
<section>
<h2>Runs</h2>
<p>A click on a header sorts the table, and a click on a row marks the run in the plots. Diverged runs are in the table alone.</p>
<div id="table"></div>
</section>
</main>
<script type="application/json" id="data">{text}</script>
<script>
{library}
</script>
<script>
{_file("explore.js")}</script>
</body>
</html>
"""


def numbered(document: Any) -> Any:
    """Return the JSON of a document of Bokeh with the ids of its models numbered in the order in which they stand there.

    An id stands under the key "id" alone, where no text of a study can: columns are lists and arrays.
    """
    known: dict[str, str] = {}

    def renamed(value: Any) -> Any:
        if isinstance(value, dict):
            return {key: known.setdefault(of, f"m{len(known)}") if key == "id" else renamed(of) for key, of in value.items()}
        return [renamed(of) for of in value] if isinstance(value, list) else value

    return renamed(document)


def _finite(value: Any) -> Any:
    """Return JSON with null in place of numbers that are not finite."""
    if isinstance(value, dict):
        return {key: _finite(of) for key, of in value.items()}
    if isinstance(value, (list, tuple)):
        return [_finite(of) for of in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _file(name: str) -> str:
    return Path(__file__).with_name(name).read_text(encoding="utf-8")


def _step(step: Step) -> dict[str, Any]:
    """Return what the page draws and writes for a forecast."""
    places = {"N": step.n_params, "D": step.tokens, "C": step.flops}
    return {"at": places, "loss": step.loss, "low": step.low, "high": step.high, "words": step.words()}


def _introduction(table: pl.DataFrame) -> str:
    lost = int((table["status"] != "ok").sum())
    diverged = f" {counted(lost, 'run')} diverged and {'is' if lost == 1 else 'are'} in the table alone." if lost else ""
    runs = counted(len(table), "run")
    return f"""<p class="lead">Each mark is one of the {runs} of this study: its test loss, in nats per token, with an error bar
of 1.96 standard errors. Full marks enter a fit of their panel and hollow ones do not; point at a run to see which it is, and
why.{diverged} A line is a fitted law, thin beyond its data. Its band is the 95 % interval of the loss of a new run, which beyond
the data counts the error of the law itself. N counts parameters without embeddings. D is the dataset of a run that was stopped
early, and else the tokens that the run processed. C is 6ND in FLOP, of the tokens processed.</p>"""


def _controls(table: pl.DataFrame, marks: dict[str, tuple[str, str]]) -> str:
    boxes = "".join(
        f'<label><input type="checkbox" name="experiment" value="{escape(name)}" checked>{_mark(*marks[name])}{escape(name)} '
        f'<span class="count">{count}</span></label>\n'
        for name, count in experiments(table).items()
    )
    several = int((table["experiments"].list.len() > 1).sum())
    shared = f" Of several experiments, a run has the mark of the first ({counted(several, 'run')})." if several else ""
    return f"""<section class="controls" aria-label="Controls">
<fieldset><legend>Experiments</legend>
<div class="boxes">
{boxes}</div>
<p class="note"><button type="button" id="all">show all</button> <button type="button" id="none">hide all</button>{shared}</p>
</fieldset>
<fieldset class="axes"><legend>Axes</legend>
<div><label for="scale-x">N, D and C</label> <select id="scale-x"><option value="log">logarithmic</option>
<option value="linear">linear</option></select></div>
<div><label for="scale-y">loss</label> <select id="scale-y"><option value="log">logarithmic</option>
<option value="linear">linear</option></select></div>
</fieldset>
</section>"""


def _mark(colour: str, marker: str) -> str:
    return f'<svg class="mark" viewBox="0 0 16 16" fill="{colour}" aria-hidden="true">{SHAPES[marker]}</svg>'


def _line(colour: str, dash: str) -> str:
    dashes = f' stroke-dasharray="{DASHES[dash]}"' if DASHES[dash] else ""
    path = f'<path d="M1 5H33" stroke="{colour}" stroke-width="2.4"{dashes}/>'
    return f'<svg class="line" viewBox="0 0 34 10" aria-hidden="true">{path}</svg>'


def _panel(part: Part, forecast: bool) -> str:
    """Return a panel: its plot, a box for each law, and what is missing or not resolved."""
    laws = "".join(
        f'<label><input type="checkbox" name="law" value="{curve.law}" checked>{_line(*look)}<span><b>{curve.law}</b>: '
        f"{escape(curve.words)}</span></label>\n"
        for curve, look in zip(part.curves, LINES, strict=False)
    )
    if forecast:
        look = _line(FORECAST, "dashed")
        laws += f'<label><input type="checkbox" name="law" value="forecast" checked>{look}<span>{FORECAST_WORDS}</span></label>\n'
    doubts = "".join(f'<p class="note">{escape(sentence)}</p>\n' for sentence in part.doubts)
    return f"""<article>
<h2>{escape(part.panel.title)}</h2>
<div class="plot" id="plot-{part.panel.letter}"></div>
<div class="laws">
{laws}</div>
{doubts}</article>
"""


def _forecast(steps: Sequence[Step], lack: str) -> str:
    if not steps:
        return f'<section id="forecast">\n<h2>Forecast</h2>\n<p>{escape(lack)}</p>\n</section>'
    first = next((k for k, step in enumerate(steps) if step.factors.get("compute", 2.0) > 1), 0)
    return f"""<section id="forecast">
<h2>Forecast of the best run for a compute</h2>
<p>The slider moves the star in the plots. It begins beyond the largest compute of a fitted run.
<code>scalinglaws forecast --flops C</code> tells more of each.</p>
<div class="slider"><label for="compute">Compute C</label>
<input type="range" id="compute" min="0" max="{len(steps) - 1}" step="1" value="{first}">
<output for="compute" id="flops"></output></div>
<div class="answer" aria-live="polite">
<dl><dt>Loss</dt><dd id="loss" class="large"></dd><dt>Best size</dt><dd id="n_params"></dd>
<dt>Data</dt><dd id="tokens"></dd></dl>
<p id="beyond"></p>
<table><caption>The loss by each law</caption><thead><tr><th>law</th><th>loss</th><th>95 % interval</th>
<th>times its largest run</th><th>checked up to</th></tr></thead><tbody id="rows"></tbody></table>
</div>
</section>"""
