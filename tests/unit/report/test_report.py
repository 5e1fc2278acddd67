"""The report: planted fits appear in its tables, its sentences follow from them, and what is missing is said."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import polars
import pytest

from fixtures import planted
from fixtures.small_runs import model_fields
from scalinglaws.common import numbers
from scalinglaws.figures.registry import FIGURES
from scalinglaws.figures.shared import compute_efficient
from scalinglaws.laws import allocation
from scalinglaws.laws.catalogue import LAWS, METHODS, PF_DAY
from scalinglaws.laws.registry import LAW_KINDS
from scalinglaws.models.config import ModelConfig
from scalinglaws.models.count import flops_6nd, flops_attention, flops_last_layer, n_params
from scalinglaws.report import command, markdown, tables_of_paper
from scalinglaws.report.operations import FIELDS, operations
from scalinglaws.report.report import report, what_was_run
from scalinglaws.study.questions import WORDS

NS = {"alpha_N": 0.08, "alpha_S": 0.7, "N_c": 4e9, "S_c": 300.0}
CRITICAL = {"alpha_B": 0.25, "B_star": 3e6}
CMIN, DATA = {"alpha_C": 0.055, "C_c": 2e20}, {"alpha_D": 0.1, "D_c": 8e9}
FOUR = {"kaplan-ns": NS, "critical-batch": CRITICAL, "power-cmin": CMIN, "power-d": DATA}


def fit(law: str, values: dict[str, float], spread: float = 0.02, drawn: int = 0, seed: int = 0) -> dict[str, Any]:
    """Return a fit whose exponents have the relative standard error ``spread``, with ``drawn`` resamples of its parameters."""
    reach = np.exp(1.96 * spread)
    found = {n: {"estimate": v, "stderr": v * spread, "ci_low": v / reach, "ci_high": v * reach} for n, v in values.items()}
    rng = np.random.default_rng([seed, *law.encode()])
    kept = {name: (value * np.exp(spread * rng.standard_normal(drawn))).tolist() for name, value in values.items()}
    published = LAWS[law].published if law in LAWS else METHODS[law].published
    out = {"law": law, "parameters": found, "flags": [], "n_points": 90, "n_trunks": 40, "r2": 0.99, "published": published}
    return out | {"held_out": {"error": 0.012}} | ({"resamples": kept} if drawn else {})


def four(**options: Any) -> dict[str, dict[str, Any]]:
    return {law: fit(law, values, **options) for law, values in FOUR.items()}


def study() -> tuple[polars.DataFrame, dict[str, Any]]:
    tables, fits = planted.study(sizes=planted.SIZES[::2])
    shape = {"d_model": 48, "d_ff": 192, "d_attn": 48, "n_ctx": 128, "n_vocab": 256}
    columns = [polars.lit(value).alias(name) for name, value in shape.items()]
    text = {"corpus": "books-1", "architecture": "transformer"}
    columns += [polars.lit(value).alias(name) for name, value in text.items()]
    return tables["runs"].with_columns(*columns, seed=polars.lit(3)), fits


def page(fits: dict[str, Any], kinds: tuple[str, ...] = ("size", "data"), drawn: tuple[str, ...] = ()) -> dict[str, str]:
    """Return the report's sections by the first word or two of their titles."""
    text = report(study()[0], fits, kinds, drawn, "figures")
    return {part.split("\n")[0].split(":")[0]: part for part in text.split("\n## ")[1:]}


def line(section: str, start: str) -> list[str]:
    """Return the cells of the row of a table whose first cell is ``start``."""
    rows = [[cell.strip() for cell in row.strip("|").split(" | ")] for row in section.split("\n") if row.startswith("|")]
    (found,) = [row for row in rows if row[0] == start]
    return found


def interval(value: dict[str, float | None]) -> tuple[float, float, float]:
    """Return (lower end, estimate, upper end) of a quantity, and fail where one of them is missing."""
    low, estimate, high = value["ci_low"], value["estimate"], value["ci_high"]
    assert low is not None and estimate is not None and high is not None
    return low, estimate, high


def test_what_was_run_counts_runs_sizes_and_those_that_diverged() -> None:
    section = page({})["What was run"]
    sizes = planted.SIZES[::2]
    expected = ["size", str(len(sizes) * len(planted.BUDGETS) + 1), "1.5k, 6.1k, 24.6k, 98.3k", "500.0k to 8.0M (5)", "all", "3"]
    assert line(section, "size") == [*expected, "1", "books-1"]
    assert line(section, "data")[4:6] == ["30.0k to 3.0M (5)", "3"]
    assert "1 diverged and are in no fit: diverged." in section and "max_tokens" not in section
    runs = study()[0].sort("run")
    early = runs["stop"] == "early"
    limited = str(int((early & runs["dataset_limited"]).sum()))
    falling = f" {limited} of these had their validation loss still falling and are in no fit."
    for ended, best, words, more in (
        ("patience", 0.5, "none", ""), ("max_tokens", 0.5, limited, ""), ("max_tokens", 1.0, limited, falling)
    ):  # fmt: skip
        told = runs.with_columns(stopped=polars.when(early).then(polars.lit(ended)), best_step=best * polars.col("steps"))
        (first, *_) = what_was_run(told)
        assert first.endswith(f"on limited data, {words} reached max_tokens before patience ran out.{more}")


def test_table_1_of_the_largest_transformer_by_hand() -> None:
    section = page({})["Table 1"]
    n = 12 * 2 * 48**2  # 2 layers of width 48, d_ff = 4 d_model
    assert line(section, "Attention: QKV")[2::2] == [f"{2 * 3 * 48 * 48:,}", f"{2 * 2 * 3 * 48 * 48:,}"]
    assert line(section, "All without embeddings")[2::2] == [f"{n:,}", f"{2 * n + 2 * 2 * 128 * 48:,}"]
    assert f"2N is {2 * n:,} FLOP" in section and f"would add {100 * 2 * 48 * 256 / (2 * n + 2 * 2 * 128 * 48):.1f} %" in section


@pytest.mark.parametrize("architecture", ["llama", "moe", "lstm", "recurrent"])
def test_table_1_of_other_architectures_follows_the_transformers(architecture: str) -> None:
    model = {"n_repeats": 3} if architecture == "recurrent" else {}
    fields = model_fields(architecture, 2, 32, **model)
    options = json.dumps(dict(fields.pop("options"))) if architecture in ("llama", "moe") else None
    run = {**fields, "options": options or None, "n_ctx": 128, "n_vocab": 256, "run": "one", "n_params": 1}
    alone = "\n".join(operations(polars.DataFrame([run])))
    shape = ModelConfig(**{name: run[name] for name in FIELDS}, options=json.loads(options or "{}"))
    assert line(alone, "All without embeddings")[2::2] == [
        f"{n_params(shape):,}",
        f"{(flops_attention(shape, 1) - flops_last_layer(shape, 1) + flops_6nd(shape, 1)) // 3:,}",
    ]
    for row in alone.split("\n"):
        assert not re.search(r"\|\s*\|", row), row
    both = "\n".join(operations(polars.concat([study()[0], polars.DataFrame([run])], how="diagonal_relaxed")))
    assert both.endswith(alone) and both.startswith("The largest Transformer")


def test_a_run_whose_options_are_not_told_has_no_table() -> None:
    fields = model_fields("llama", 2, 32) | {"options": None, "n_ctx": 128, "n_vocab": 256, "run": "one", "n_params": 1}
    assert operations(polars.DataFrame([fields])) == ["The shape of no run of this study is known."]


def test_planted_fits_appear_with_sentences_that_follow_from_them() -> None:
    sections = page(study()[1])
    assert line(sections["Table 2"], "alpha_D")[1:] == [
        "0.105", "0.0950 to 0.116", "0.103", "Agrees: the published 0.103 lies inside the interval.",
    ]  # fmt: skip
    apart = "Disagrees: the published 0.076 lies above the interval; ours is 0.82 times as steep."
    assert line(sections["Table 2"], "alpha_N")[1:] == ["0.0620", "0.0580 to 0.0670", "0.076", apart]
    assert line(sections["Table 2"], "N_c (parameters)")[1:] == [
        "3.60e8",
        "1.00e8 to 1.00e9",
        "6.4e13",
        "Not compared: other units.",
    ]
    assert "L = [(3.60e8/N)^(0.0620/0.105) + 2.50e7/D]^0.105" in sections["Table 4"]
    slope = study()[1]["power-n"]["parameters"]["alpha_N"]["estimate"]
    assert line(sections["Table 5"], "alpha_N")[1] == f"{slope:#.3g}"


def test_laws_that_are_missing_are_said_and_no_cell_is_empty() -> None:
    for fits in ({}, study()[1], four(), {"power-n": fit("power-n", {}) | {"flags": ["Not fitted: 1 point"]}}):
        sections = page(fits)
        told = " ".join(re.findall(r"This study has no fit of ([^()]*)", sections["Table 4"]))
        assert {law for law in re.split(r",? or |, | ", told) if law} == set(LAW_KINDS) - set(fits)
        for row in "\n".join(sections.values()).split("\n"):
            assert not re.search(r"\|\s*\|", row), row
    assert page({})["Table 3"].strip().endswith("This study has no fit of kaplan-ns (taken: three batch sizes of one model).")
    assert "This study fits no law." in page({})["Flags raised by the fits"]
    assert (
        "Not fitted: 1 point." in sections["Table 4"]
        and "power-n**: Not fitted: 1 point." in sections["Flags raised by the fits"]
    )


def test_every_kind_has_words() -> None:
    assert set(LAW_KINDS.values()) | {kind for figure in FIGURES.values() for kind in figure.needs} <= set(WORDS)


def test_table_6_by_hand() -> None:
    """At alpha_N = 0.1, alpha_S = 0.5, alpha_B = 0.25 the sum of reciprocals is 16."""
    found = compute_efficient.trend_exponents(0.1, 0.5, 0.25)
    assert found == pytest.approx({"alpha_C_min": 1 / 16, "N_opt": 10 / 16, "B": 4 / 16, "S_min": 2 / 16, "D_opt": 6 / 16})
    fits = four()
    trends = compute_efficient.trends(fits)
    law, critical = allocation.LossNS(0.08, 0.7, 4e9, 300.0), allocation.CriticalBatch(3e6, 0.25)
    one, more = (allocation.frontier(law, critical, flops) for flops in (PF_DAY, 10 * PF_DAY))
    for name, field in {"N_opt": "n_opt", "B": "batch_tokens", "S_min": "steps_min", "D_opt": "tokens"}.items():
        slope = np.log10(float(getattr(more, field)) / float(getattr(one, field)))
        assert trends.values[name]["estimate"] == pytest.approx(slope)
        assert trends.coefficients[name] == pytest.approx(float(getattr(one, field)))
        assert line(page(fits)["Table 6"], f"{name}: exponent")[1] == numbers.number(slope)


def test_published_exponents_give_the_published_trends_roughly() -> None:
    """Table 6 was measured: the theory gives 0.71 for N where it has 0.73 (6.5), and less with exponents rounded as printed."""
    found = compute_efficient.trend_exponents(0.077, 0.76, 0.21)
    for name, (_, exponent) in tables_of_paper.PUBLISHED_TRENDS.items():
        assert found[name] == pytest.approx(exponent, abs=0.055)
    assert found["alpha_C_min"] == pytest.approx(0.054, abs=0.002)
    published = {
        law: dict(METHODS[law].published if law in METHODS else LAWS[law].published) for law in ("kaplan-ns", "critical-batch")
    }
    section = page({law: fit(law, values, spread=0.06) for law, values in published.items()})["Table 6"]
    assert line(section, "B: exponent")[-1].startswith("Agrees")
    assert "give 0.68 (N_opt), 0.25 (B), 0.07 (S_min) and 0.32 (D_opt)" in section


@pytest.mark.parametrize("drawn", [0, 200])
def test_intervals_of_trends_are_those_of_independent_exponents(drawn: int) -> None:
    """They are compared with 200,000 draws of the exponents; those from resamples are also widened by 1.05, for 40 trunks."""
    found = compute_efficient.trends(four(drawn=drawn))
    assert found.doubt is None and ("resamples" in found.how)
    rng = np.random.default_rng(1)
    n, s, b = (value * np.exp(0.02 * rng.standard_normal(200_000)) for value in (0.08, 0.7, 0.25))
    total = 1 / (1 / n + 1 / s + 1 / b)
    expected = {"alpha_C_min": total, "N_opt": total / n, "B": total / b, "S_min": total / s, "D_opt": 1 - total / n}
    for name, values in expected.items():
        low, high = np.quantile(values, [0.025, 0.975])
        least, estimate, most = interval(found.values[name])
        assert least < estimate < most
        width = np.log(most / least) / np.log(high / low)
        assert width == pytest.approx(1.0, abs=0.01) if not drawn else 0.85 < width < 1.3, name
    assert all((f"{name}: scale" in found.values) == (drawn > 0) for name in found.coefficients)


def test_trends_that_are_not_resolved_say_why_once() -> None:
    fits = four()
    fits["critical-batch"]["flags"] = ["alpha_B is not resolved: its standard error is more than half of it."]
    section = page(fits)["Table 6"]
    assert line(section, "N_opt: exponent")[-1] == "Not resolved: see below."
    assert section.count("α_B is not resolved: its standard error is more than half of it.") == 1


def test_crossing_is_where_the_laws_meet() -> None:
    found = compute_efficient.crossing(four(spread=0.002, drawn=200))
    flops, tokens, loss = (interval(found.values[name])[1] for name in ("C*", "D*", "L*"))
    assert loss == pytest.approx((CMIN["C_c"] / flops) ** CMIN["alpha_C"])
    assert loss == pytest.approx((DATA["D_c"] / tokens) ** DATA["alpha_D"])
    law, critical = allocation.LossNS(0.08, 0.7, 4e9, 300.0), allocation.CriticalBatch(3e6, 0.25)
    assert found.values["N*"]["estimate"] == pytest.approx(float(allocation.frontier(law, critical, flops).n_opt))
    assert found.doubt is None
    for value in found.values.values():
        low, estimate, high = interval(value)
        assert low < estimate < high
    section = page(four(spread=0.002, drawn=200))["Where the laws contradict each other (section 6.3)"]
    assert line(section, "C* (PF-days)")[1] == numbers.number(flops / PF_DAY)
    assert "contradict each other beyond C*" in section


def test_a_crossing_that_the_exponents_do_not_resolve_is_said() -> None:
    assert "keep no resamples" in str(compute_efficient.crossing(four()).doubt)
    wide = four(spread=0.02, drawn=200)
    wide["power-cmin"] = fit(
        "power-cmin", CMIN | {"alpha_C": 0.031}, spread=0.05, drawn=200
    )  # near alpha_D (1 − alpha_C_min/alpha_N)
    found = compute_efficient.crossing(wide)
    assert "the two laws cross on the other side" in str(found.doubt)
    section = page(wide)["Where the laws contradict each other (section 6.3)"]
    assert (
        line(section, "C* (PF-days)")[-1] == "Not resolved: see below."
        and "contradict each other b" not in section.split("\n", 1)[1]
    )


def test_fits_of_other_studies_stand_below_ours() -> None:
    found = fit("chinchilla", {"E": 1.234, "A": 99.0, "B": 88.0, "alpha": 0.321, "beta": 0.3})
    text = "\n".join(tables_of_paper.later({"chinchilla": found}))
    ours = text.index("E = 1.23, A = 99.0, B = 88.0, alpha = 0.321, beta = 0.300")
    assert ours < text.index("Besiroglu et al. 2024") and "E = 1.817, A = 482, B = 2.085e3, alpha = 0.3478, beta = 0.3658" in text
    assert "Porian" not in text and "Published fits of the same laws." in text
    assert "Published fits" not in "\n".join(tables_of_paper.later({}))


def test_figures_are_linked_and_others_say_what_they_take() -> None:
    section = page({"power-n": fit("power-n", {"alpha_N": 0.07, "N_c": 1e9})}, ("size",), ("fig02_learning_curves",))["Figures"]
    assert "- [Figure 2: Learning curves](figures/fig02_learning_curves.svg)" in section
    assert re.search(r"Figure 4: .*: it takes early-stopped runs and a fit of .*kaplan-nd", section)
    assert re.search(r"Figure 23: .*: left out by the study's list of figures\.", section)


def test_numbers_are_short() -> None:
    assert [numbers.number(v) for v in (None, 0.0, 0.062, 15.4, 999.0, 3.6e8, -4.1e-5)] == [
        "none", "0.00", "0.0620", "15.4", "999", "3.60e8", "-4.10e-5",
    ]  # fmt: skip
    assert [numbers.as_printed(v) for v in (None, 0.05, 2e8, 2.1e3, 15.387756)] == ["none", "0.05", "2e8", "2.1e3", "15.39"]
    assert markdown.table(("a", "b"), [["x|y", "z"]])[2] == r"| x\|y | z |"


def test_the_stage_writes_the_same_bytes_again(tmp_path: Path) -> None:
    runs, fits = study()
    for name, rows in {"runs": runs, "curves": planted.study()[0]["curves"], "evals": planted.study()[0]["evals"]}.items():
        rows.write_parquet(tmp_path / f"{name}.parquet")
    for law, found in fits.items():
        (tmp_path / f"{law}.json").write_text(json.dumps(found))
    (tmp_path / "figures").mkdir()
    (tmp_path / "figures/fig02_learning_curves.svg").touch()
    for name in ("a.md", "b.md"):
        command.write_report(tmp_path, tmp_path, tmp_path / "figures", tmp_path / name)
    assert (tmp_path / "a.md").read_bytes() == (tmp_path / "b.md").read_bytes()
    text = (tmp_path / "a.md").read_text()
    assert "(figures/fig02_learning_curves.svg)" in text and str(tmp_path) not in text
    assert "## Claims of the paper\n" in text and "- Claim 16: not resolved: it takes a fit of" in text
    assert "Warnings" not in text
    (tmp_path / "warnings.json").write_text("[]")
    command.write_report(tmp_path, tmp_path, tmp_path / "figures", tmp_path / "b.md")
    assert (tmp_path / "b.md").read_text() == text
    (tmp_path / "warnings.json").write_text('["Trunk gpt-1 differs."]')
    command.write_report(tmp_path, tmp_path, tmp_path / "figures", tmp_path / "b.md")
    added = "\nWarnings about the runs:\n\n- Trunk gpt-1 differs.\n"
    assert (tmp_path / "b.md").read_text().count(added) == 1 and (tmp_path / "b.md").read_text().replace(added, "") == text
