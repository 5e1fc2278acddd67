"""Figures: drawn from planted studies, byte for byte the same again, and honest where nothing is resolved."""

from __future__ import annotations

import ast
import importlib
import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import polars
import pytest
from matplotlib.container import ErrorbarContainer
from scipy.optimize import curve_fit

from fixtures import planted, planted_figures, planted_forecasts
from fixtures.drawing import Asked, draw, words
from scalinglaws.cli.app import main
from scalinglaws.common.errors import StudyError
from scalinglaws.figures import command
from scalinglaws.figures.registry import FIGURES, drawable, modules
from scalinglaws.figures.scaling.fig23_power_law_alternatives import fit_logarithm
from scalinglaws.figures.shared import fit_json, law_lines, learning_curves, style
from scalinglaws.figures.shared.groups import overfitting
from scalinglaws.laws.registry import LAW_KINDS
from scalinglaws.report import exponents
from scalinglaws.report.exponents import fit_rows
from scalinglaws.study.questions import WORDS

ROOT = Path(__file__).parents[3]
PACKAGE = ROOT / "workflow" / "scalinglaws"


@pytest.fixture(scope="module")
def study() -> tuple[dict[str, polars.DataFrame], dict[str, Any]]:
    return planted.study(sizes=planted.SIZES[::2])


def write_study(folder: Path, tables: dict[str, polars.DataFrame], fits: dict[str, Any]) -> None:
    folder.mkdir(exist_ok=True)
    for name, table in tables.items():
        table.write_parquet(folder / f"{name}.parquet")
    for law, fit in fits.items():
        (folder / f"{law}.json").write_text(json.dumps(fit))


@pytest.mark.parametrize("name", FIGURES)
def test_a_figure_reads_the_tables_and_fits_that_the_registry_names(name: str) -> None:
    wanted, (tables, fits) = FIGURES[name], planted_figures.study(name)
    given = Asked({table: tables[table] for table in wanted.tables}), Asked({law: fits[law] for law in wanted.laws})
    with style.style():
        importlib.import_module(wanted.module).draw(*given)
    assert given[0].names == set(wanted.tables)
    assert given[1].names == set(wanted.laws)


def test_every_module_of_a_figure_is_registered_and_has_its_texts() -> None:
    folders = ("scaling", "batch", "models", "training")
    files = {path.stem for folder in folders for path in (PACKAGE / "figures" / folder).glob("[!_]*.py")}
    assert files == set(FIGURES)
    assert len({figure.title for figure in FIGURES.values()}) == len(FIGURES)
    for name, figure in FIGURES.items():
        module = importlib.import_module(figure.module)
        assert (figure.title, figure.caption) == (module.TITLE, " ".join(module.CAPTION.split()))
        number = re.match(r"fig(\d\d)_", name)
        assert figure.caption.startswith(f"Figure {int(number[1])} of the paper. ") if number else "Figure" not in figure.caption
        assert figure.caption.endswith(".") and len(figure.caption) > 200


@pytest.mark.parametrize("name", FIGURES)
def test_a_caption_has_at_most_sixty_words_in_whole_sentences_and_no_raw_symbols(name: str) -> None:
    caption = FIGURES[name].caption
    assert len(caption.split()) <= 60
    assert not re.search(r"[A-Za-zα-ω]_[A-Za-z*]|\^", caption)
    sentences = re.split(r"(?<=[.?]) (?=[A-Z*])", caption)
    assert all(len(sentence.split()) > 4 and sentence.endswith(".") for sentence in sentences if sentence != "**a**"), sentences


def test_the_gallery_shows_every_figure_with_its_title_and_caption() -> None:
    page = (ROOT / "docs" / "gallery.md").read_text()
    for name, figure in FIGURES.items():
        assert f"## {figure.title}\n\n![{figure.title}](gallery/{name}.png)\n\n{figure.caption}\n" in page, name
        assert (ROOT / "docs" / "gallery" / f"{name}.png").is_file()


def test_every_figure_of_the_paper_has_one_module() -> None:
    numbers = [int(name[3:5]) for name in FIGURES if name.startswith("fig")]
    assert numbers == list(range(1, 25))


def test_a_registry_line_names_laws_and_questions_that_there_are() -> None:
    for figure in FIGURES.values():
        assert figure.needs and set(figure.needs) <= set(WORDS)
        assert set(figure.laws) <= set(LAW_KINDS)
        assert set(figure.tables) <= {"runs", "curves", "evals", "forecasts"}


def test_a_study_has_the_figures_of_its_runs_and_laws() -> None:
    sizes = [name for name in drawable({"size"}, {"power-n"}) if FIGURES[name].laws and not FIGURES[name].bare]
    assert sizes == ["fig01_compute_data_parameters", "fig23_power_law_alternatives"]
    assert "fig02_learning_curves" in drawable({"size", "curves"}, set()) and "fig02_learning_curves" not in drawable(
        {"size"}, set()
    )
    of_data = [name for name in drawable({"data"}, {"kaplan-nd"}) if not FIGURES[name].bare]
    assert of_data == ["fig04_loss_vs_data", "fig09_overfitting"]


def imported(path: Path, package: Path) -> set[Path]:
    """Return the files of the package that a module imports, and those that these import, and so on."""
    seen: set[Path] = set()
    left = [path]
    while left:
        seen.add(path := left.pop())
        nodes = [node for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.ImportFrom)]
        froms = [(node.module, alias.name) for node in nodes if node.module for alias in node.names]
        names = [name for module, own in froms for name in (module, f"{module}.{own}")]
        files = {package.parent / f"{name.replace('.', '/')}.py" for name in names}
        left += sorted(file for file in files - seen if file.is_file())
    return seen


# Modules of study/ that read a config and say which runs it asks for.
OF_STUDIES: tuple[str, ...] = (
    "study",
    "config",
    "explain",
    "grid",
    "ladder",
    "names",
    "plain",
    "plugins",
    "read_yaml",
    "resolve",
    "resolve_rules",
)
OF_STUDIES += ("source_rules", "text_sources", "forecasts", "init", "mixtures", "paths", "sweeps", "sweep_runs")


@pytest.mark.parametrize("name", FIGURES)
def test_a_figure_is_drawn_again_where_what_draws_it_was_edited(name: str) -> None:
    found = {pattern: set(PACKAGE.glob(pattern)) for pattern in modules(name)}
    assert all(found.values()), "a pattern that matches no file"
    inputs = set().union(*found.values())
    own = PACKAGE / "figures" / FIGURES[name].folder / f"{name}.py"
    needed = imported(own, PACKAGE)
    # Of what the files import, these give no number and no stroke of a picture.
    unused = {
        *PACKAGE.glob("common/*.py"),
        *PACKAGE.glob("models/**/*.py"),  # counts come with the tables
        *(PACKAGE / "optim" / f"{name}.py" for name in ("registry", "base", "parametrization", "batches", "swept")),
        *(PACKAGE / "study" / f"{name}.py" for name in OF_STUDIES),
    }
    assert needed - inputs <= unused
    others = {path for path in PACKAGE.glob("figures/*/*.py") if path.parent.name != "shared"} - {own}
    assert not others & (needed | inputs), "another figure: an edit of that one would draw this one again"
    assert PACKAGE / "figures" / "registry.py" not in needed, "a new figure would draw all others again"


def test_the_registry_needs_nothing_heavy() -> None:
    heavy = "{'matplotlib', 'polars', 'numpy', 'scipy', 'torch'}"
    read = "[figure.title + figure.caption for figure in registry.FIGURES.values()]"
    code = f"import sys; from scalinglaws.figures import registry; {read}; print(sorted(set(sys.modules) & {heavy}))"
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=_env(), check=True)
    assert out.stdout.strip() == "[]"


def test_bars_have_no_negative_side() -> None:
    """A mean of logarithms may lie below the least value by rounding, and an estimate outside of its bootstrap interval."""
    assert np.array_equal(style.sides([2.0, 3.0], [2.0 + 1e-15, 1.0], [2.5, 2.9]), [[0.0, 2.0], [0.5, 0.0]])
    assert np.isnan(style.sides(1.0, np.nan, 2.0)[0, 0])


@pytest.mark.parametrize("sizes", [[], [24576]], ids=["no runs", "one size"])
@pytest.mark.parametrize("name", FIGURES)
def test_little_data_draws_a_figure_that_says_so(name: str, sizes: list[int]) -> None:
    tables, fits = planted.study(sizes=sizes, datasets=[])
    figure = draw(name, tables | {"forecasts": planted_forecasts.table().clear()}, fits)
    if sizes and name == "fig02_learning_curves":  # it needs no second size
        assert "not resolved" not in words(figure)
    else:
        assert "not resolved" in words(figure)


@pytest.mark.parametrize("name", [name for name, figure in FIGURES.items() if figure.laws])
def test_a_missing_fit_is_said(name: str, study: tuple) -> None:
    said = words(draw(name, study[0]))
    assert any(f"this study has no fit of {law}" in said for law in FIGURES[name].laws)


def test_pictures_show_the_fitted_points_and_no_diverged_run(study: tuple) -> None:
    tables, fits = study
    figure = draw("fig01_compute_data_parameters", tables, fits)
    bars = [container for container in figure.axes[2].containers if isinstance(container, ErrorbarContainer)]
    assert len(bars) == len(figure.axes[2].containers)
    drawn = [x for bar in bars for x in np.asarray(bar.lines[0].get_xdata())]
    assert sorted(drawn) == sorted(point["n_params"] for point in fits["power-n"]["points"])
    assert "diverged" not in {
        run for piece in learning_curves.segments(tables["curves"], tables["runs"]) for run in piece.rows["run"]
    }
    estimate = fits["power-n"]["parameters"]["alpha_N"]["estimate"]
    assert f"{estimate:.3f}" in words(figure)


def test_the_line_of_a_power_law_needs_no_scale(study: tuple) -> None:
    fit = json.loads(json.dumps(study[1]["power-n"]))
    fit["parameters"]["N_c"]["estimate"] = None
    with style.style():
        _, (axis,) = style.panels()
        law_lines.draw_power_law(axis, fit, "power-n", "red", "L(N)")
    x, y = (np.asarray(values) for values in axis.lines[0].get_data())
    seen = fit_json.points(fit)
    assert np.allclose(np.exp(np.interp(np.log(seen["n_params"]), np.log(x), np.log(y))), seen["predicted"], rtol=1e-9)


def test_budgets_share_one_stable_phase(study: tuple) -> None:
    tables = study[0]
    pieces = learning_curves.segments(tables["curves"], tables["runs"])
    sizes = len(planted.SIZES[::2])
    assert sum(not piece.branch for piece in pieces) == sizes
    assert sum(piece.branch for piece in pieces) == sizes * len(planted.BUDGETS)
    for piece in pieces:
        assert piece.rows["step"].is_unique().all() and piece.rows["step"].is_sorted()
    cosine = tables["runs"].with_columns(schedule=polars.lit("cosine"))
    assert not any(piece.branch for piece in learning_curves.segments(tables["curves"], cosine))


def test_overfitting_is_the_planted_equation() -> None:
    points = [(n, d) for n in (2000, 50_000) for d in (40_000, 400_000, planted.WHOLE)]
    loss = [float(planted.loss_nd(n, d)) for n, d in points]
    data = polars.DataFrame(
        {
            "run": [f"{n}-{d}" for n, d in points],
            "n_params": [n for n, _ in points],
            "dataset_tokens": [d for _, d in points],
            "loss": loss,
            "loss_stderr": [0.01] * len(points),
        }
    )
    runs = data.select("run", "n_params", "loss").with_columns(
        tokens=1, stop=polars.lit("early"), status=polars.lit("ok"), dataset_limited=data["dataset_tokens"] < planted.WHOLE
    )
    found = overfitting(data, runs)
    expected = [planted.loss_nd(n, d) / planted.loss_nd(n, planted.WHOLE) - 1 for n, d in points if d < planted.WHOLE]
    assert np.allclose(found["delta"], expected, rtol=1e-12)
    ratio = np.array(expected) + 1
    assert np.allclose(found["delta_stderr"], ratio * 0.01 * np.hypot(1 / found["loss"], 1 / found["loss_whole"]))


def test_logarithm_agrees_with_scipy() -> None:
    n = np.geomspace(1e3, 1e6, 9)
    loss = (4e8 / n) ** 0.07 * np.exp(np.random.default_rng(1).normal(0, 0.01, 9))
    start = np.polyfit(np.log(n), loss, 1)
    (slope, level), _ = curve_fit(lambda x, a, b: np.log(b + a * x), np.log(n), np.log(loss), p0=start)
    assert np.allclose(fit_logarithm(n, loss)(n), level + slope * np.log(n), rtol=1e-6)


def test_not_resolved_is_told_from_the_numbers_and_the_flags(study: tuple) -> None:
    fit = json.loads(json.dumps(study[1]["power-n"]))
    assert fit_json.unresolved(fit, "power-n", ("alpha_N",)) is None
    fit["flags"] = ["Only 4 trunks: intervals are widened for it (Student's t), and are rough."]
    assert fit_json.unresolved(fit, "power-n", ("alpha_N",)) is None
    fit["flags"].append("Not identified: n_params varies by a factor of 1.5 only.")
    assert fit_json.unresolved(fit, "power-n", ("alpha_N",)) == (
        "not resolved: Not identified: n_params varies by a factor of 1.5 only"
    )
    fit["parameters"]["alpha_N"]["ci_low"] = -0.01
    assert "includes 0" in str(fit_json.unresolved(fit, "power-n", ("alpha_N",)))


def test_exponents_table_and_sentences(study: tuple, tmp_path: Path) -> None:
    fits = study[1]
    table = exponents.exponents(fits)
    joint = table.filter((polars.col("law") == "kaplan-nd") & (polars.col("parameter") == "alpha_D")).row(0, named=True)
    assert joint["estimate"] == planted.ALPHA_D and joint["verdict"] == "Agrees: the published 0.103 lies inside the interval."
    joint = table.filter((polars.col("law") == "kaplan-nd") & (polars.col("parameter") == "alpha_N")).row(0, named=True)
    assert joint["verdict"].startswith("Disagrees: the published 0.076 lies above the interval; ours is 0.82 times")
    assert not table["parameter"].str.ends_with("_c").any()
    exponents.write(table, ["power-c: words."], tmp_path / "a.parquet", tmp_path / "a.md")
    exponents.write(exponents.exponents(fits), ["power-c: words."], tmp_path / "b.parquet", tmp_path / "b.md")
    assert (tmp_path / "a.parquet").read_bytes() == (tmp_path / "b.parquet").read_bytes()
    assert polars.read_parquet(tmp_path / "a.parquet").equals(table)
    assert exponents.NOTE in (tmp_path / "a.md").read_text()
    bare = exponents.exponents({"power-n": {"flags": ["Not fitted: 1 point"], "parameters": {}, "published": {"alpha_N": 0.076}}})
    assert bare.row(0, named=True)["verdict"] == "Not resolved: Not fitted: 1 point."


def test_a_derived_exponent_is_not_taken_for_the_parameter_of_its_letter() -> None:
    value = {"stderr": 0.1, "ci_low": 0.2, "ci_high": 0.6, "unit": ""}
    fit = {"parameters": {"A": value | {"estimate": 400.0}}, "exponents": {"a": value | {"estimate": 0.4}}, "flags": []}
    fit["published"] = {"A": 406.4, "a": 0.46}
    row = exponents.exponents({"chinchilla": fit}).filter(polars.col("parameter") == "a").row(0, named=True)
    assert (row["estimate"], row["published"]) == (0.4, 0.46)
    assert row["verdict"] == "Agrees: the published 0.46 lies inside the interval."


def test_mistakes_are_named(tmp_path: Path) -> None:
    def figure(name: str) -> None:
        command.draw_figure(name, tmp_path, tmp_path, tmp_path / "a.svg", tmp_path / "a.png")

    with pytest.raises(StudyError, match="no figure 'fig99'"):
        figure("fig99")
    with pytest.raises(StudyError, match=r"runs\.parquet does not exist"):
        figure("fig02_learning_curves")
    (tmp_path / "runs.parquet").write_text("no table")
    with pytest.raises(StudyError, match=r"runs\.parquet is not a readable Parquet table"):
        figure("fig02_learning_curves")
    (tmp_path / "power-n.json").write_text("{")
    with pytest.raises(StudyError, match=r"power-n\.json is damaged"):
        command.read_fit(tmp_path / "power-n.json")
    for name, value in (("flags", [None]), ("parameters", {"E": 1.0}), ("points", True), ("held_out", []), ("n_points", "4")):
        (tmp_path / "power-n.json").write_text(json.dumps({name: value}))
        with pytest.raises(StudyError, match=rf"power-n\.json is no fit, its {name} is of another kind"):
            command.read_fit(tmp_path / "power-n.json")
    with pytest.raises(StudyError, match=r"the fit of law power-n has no n_points"):
        fit_rows({"power-n": {}})


def _env(**more: str) -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": str(ROOT / "workflow"), "OMP_NUM_THREADS": "1", **more}


@pytest.mark.parametrize("name", ["fig04_loss_vs_data"])
def test_drawn_again_by_another_process_every_byte_is_the_same(name: str, tmp_path: Path, study: tuple) -> None:
    """The other process has another hash seed and a user's matplotlibrc."""
    write_study(tmp_path / "study", *study)
    (tmp_path / "matplotlibrc").write_text("font.size: 20\nsavefig.dpi: 30\nlines.linewidth: 9\n")
    inputs = ["--name", name, "--tables", str(tmp_path / "study"), "--fits", str(tmp_path / "study")]
    files = {out: [f"--out-{suffix}={tmp_path}/{out}.{suffix}" for suffix in ("svg", "png")] for out in "ab"}
    assert main(["figure", *inputs, *files["a"]]) == 0
    environment = _env(PYTHONHASHSEED="7", MATPLOTLIBRC=str(tmp_path))
    subprocess.run([sys.executable, "-m", "scalinglaws", "figure", *inputs, *files["b"]], env=environment, check=True)
    for suffix in ("svg", "png"):
        first, second = ((tmp_path / f"{out}.{suffix}").read_bytes() for out in "ab")
        assert first and first == second, suffix
