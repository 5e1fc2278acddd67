"""Aggregation: the rows of runs, curves, evaluations and timings; files that are missing, damaged or edited are named."""

import dataclasses
import hashlib
import json
import math

import pytest

from fixtures.small_runs import small_spec
from scalinglaws.common import sums
from scalinglaws.common.errors import StudyError
from scalinglaws.tables import schema as tables
from scalinglaws.tables.aggregate import aggregate, run_row, with_experts, write_tables
from scalinglaws.tables.read import read_any, read_own, read_warnings
from scalinglaws.tables.write import write
from scalinglaws.train.metrics import RunMetrics

METRICS = {"status": "ok", "loss": 2.5, "loss_stderr": 0.01, "loss_train": 2.4, "bits_per_byte": 3.6, "n_vocab": 256}
METRICS |= {"n_params_total": 5000, "dataset_tokens": 100_000, "flops_6nd": 1, "flops_last_layer": 2, "flops_attention": 3}
TIMING = {"seconds": 1.0, "tokens_per_second": 5.0, "device": "cpu", "torch": "2", "python": "3", "threads": 1, "attempts": 1}


def row(step, phase, loss=3.0):
    numbers = {"learning_rate": 0.01, "loss_train": loss, "loss_test": loss, "loss_validation": None, "grad_norm": 1.0}
    return {"step": step, "tokens": step * 64, "phase": phase, **numbers}


def write_run(results, spec, curve):
    folder = results / "runs" / spec.id
    folder.mkdir(parents=True)
    (folder / "spec.json").write_text(spec.canonical)
    metrics = {**METRICS, "id": spec.id, "steps": spec.steps, "tokens": spec.tokens, "best_step": spec.steps}
    (folder / "metrics.json").write_text(json.dumps({**metrics, "n_params": spec.n_params}))
    (folder / "curve.jsonl").write_text("".join(json.dumps(item) + "\n" for item in curve))
    (folder / "timing.json").write_text(json.dumps(TIMING | {"id": spec.id}))
    return {"run": spec.id, "experiments": ["size"], "fit": True, "forecast": False, "evaluations": None}


@pytest.fixture
def two_budgets(tmp_path):
    base = small_spec(schedule="wsd", stop="budget", decay=0.2)
    specs = [dataclasses.replace(base, tokens=k * 10 * base.batch_tokens) for k in (1, 2)]
    entries = [write_run(tmp_path, spec, [row(4, "stable"), row(spec.steps, "decay")]) for spec in specs]
    manifest = tmp_path / "manifest-x.jsonl"
    manifest.write_text("".join(json.dumps(entry) + "\n" for entry in entries))
    return tmp_path, manifest, specs


def test_rows_fit_the_schemas_and_a_trunk_is_told_once(two_budgets, tmp_path):
    results, manifest, specs = two_budgets
    rows = aggregate(manifest, results, [], {}).tables
    for name, table in rows.items():
        write(table, tables.SCHEMAS[name], tmp_path / f"{name}.parquet")
        assert len(read_own(tmp_path / f"{name}.parquet")) == len(table)
    assert {item["trunk"] for item in rows["runs"]} == {specs[0].trunk.id}
    stable = [item for item in rows["curves"] if item["phase"] == "stable"]
    assert [(item["run"], item["step"]) for item in stable] == [(None, 4)]
    assert {item["run"] for item in rows["curves"] if item["phase"] == "decay"} == {spec.id for spec in specs}
    assert stable[0]["flops_6nd"] == 6 * specs[0].n_params * stable[0]["tokens"]


def test_the_basis_of_forecasts_asks_for_no_run_that_its_laws_are_not_fitted_to(two_budgets):
    """Early-stopped runs and those at a constant rate need not be there: only their specs are read."""
    results, manifest, specs = two_budgets
    others = [dataclasses.replace(specs[0], stop="early", schedule="constant", patience=3)]
    others += [dataclasses.replace(specs[0], schedule="constant"), dataclasses.replace(specs[0], dataset_tokens=640)]
    entries = [json.loads(line) for line in manifest.read_text().splitlines()]
    for spec in others:
        entries.append(write_run(results, spec, [row(spec.steps, "stable")]))
        (results / "runs" / spec.id / "metrics.json").unlink()
    manifest.write_text("".join(json.dumps(entry) + "\n" for entry in entries))
    rows = aggregate(manifest, results, [], {}, basis_alone=True).tables["runs"]
    assert {item["run"] for item in rows} == {spec.id for spec in specs}
    with pytest.raises(StudyError, match=r"metrics\.json"):
        aggregate(manifest, results, [], {})


def test_the_table_tells_patience_from_max_tokens():
    early = small_spec(stop="early", patience=3, schedule="constant", decay=0.0)
    known = METRICS | {"id": early.id, "tokens": 0, "n_params": early.n_params}
    cases = (
        (early, early.steps - 1, "ok", "patience"),
        (early, early.steps, "ok", "max_tokens"),
        (early, early.steps - 1, "diverged", None),
        (small_spec(), early.steps, "ok", None),
    )
    for spec, steps, status, stopped in cases:
        metrics = RunMetrics.from_plain(known | {"steps": steps, "best_step": steps - 1, "status": status}, "metrics.json")
        assert run_row(spec, metrics, ["data"], True)["stopped"] == stopped


def test_active_parameters_are_all_where_a_run_does_not_say():
    spec = small_spec()
    values = METRICS | {"id": spec.id, "steps": 40, "best_step": 40, "tokens": 2560, "n_params": 1536}
    for said, active in (({}, 1536), ({"n_params_active": 700}, 700)):
        row = run_row(spec, RunMetrics.from_plain(values | said, "metrics.json"), [], True)
        assert row["n_params_active"] == active
        told = with_experts([row, row])
        assert not told if active == 1536 else told[0].startswith(f"In 2 runs ({spec.id} is the first) n_params counts every")


def test_a_budget_trained_before_a_column_was_measured_agrees(two_budgets):
    results, manifest, specs = two_budgets
    measured = {"loss_by_position": [4.0, 3.0], "noise_square": 0.5, "noise_trace": 7.0}
    paths = [results / "runs" / spec.id / "curve.jsonl" for spec in specs]
    before = [json.loads(line) for line in paths[0].read_text().splitlines()]
    for path in paths:
        for other in paths:
            other.write_text("".join(json.dumps(item | (measured if other == path else {})) + "\n" for item in before))
        (stable,) = [item for item in aggregate(manifest, results, [], {}).tables["curves"] if item["run"] is None]
        assert {name: stable[name] for name in measured} == measured


def test_a_run_has_the_losses_of_its_own_corpus_once(two_budgets, tmp_path):
    results, manifest, specs = two_budgets
    own = {"loss_tokens": 320, "positions": {"loss": [3.0, 2.0], "stderr": [0.2, None]}}
    path = results / "runs" / specs[0].id / "metrics.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | own))
    rows = aggregate(manifest, results, [], {specs[0].corpus.id: "books"}).tables["evals"]
    fixed = {"run": specs[0].id, "step": specs[0].steps, "corpus": specs[0].corpus.id, "corpus_name": "books"}
    mean = {"position": None, "loss": 2.5, "stderr": 0.01, "nats_per_byte": pytest.approx(3.6 * math.log(2)), "n_tokens": 320}
    first = {"position": 0, "loss": 3.0, "stderr": 0.2, "nats_per_byte": None, "n_tokens": 160}
    assert rows == [fixed | mean, fixed | first, fixed | first | {"position": 1, "loss": 2.0, "stderr": None}]
    write(rows, tables.EVALS, tmp_path / "evals.parquet")

    entries = [json.loads(line) for line in manifest.read_text().splitlines()]
    manifest.write_text("".join(json.dumps(entry | {"evaluations": "set"}) + "\n" for entry in entries))
    # These are rows from before evaluations had nats_per_byte.
    measured = {"position": None, "loss": 2.5, "stderr": 0.01, "n_tokens": 320}
    for spec, corpora in zip(specs, (["other"], [specs[1].corpus.id, "other"]), strict=True):
        folder = results / "evals" / spec.id
        folder.mkdir(parents=True)
        evaluation = {"id": spec.id, "step": spec.steps, "rows": [{"corpus": corpus, **measured} for corpus in corpora]}
        (folder / "set.json").write_text(json.dumps(evaluation))
    path = results / "runs" / specs[1].id / "metrics.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | own))
    found = [(item["run"], item["corpus"]) for item in aggregate(manifest, results, [], {}).tables["evals"]]
    assert sorted(found) == sorted(
        [
            (specs[0].id, "other"),
            *[(specs[0].id, specs[0].corpus.id)] * 3,
            (specs[1].id, "other"),
            (specs[1].id, specs[1].corpus.id),
        ]
    )


def test_runs_with_a_lossy_tokenizer_have_a_warning_and_nulls(two_budgets, tmp_path):
    results, manifest, specs = two_budgets
    assert aggregate(manifest, results, [], {}).warnings == []
    own = {"loss_tokens": 320, "positions": {"loss": [3.0], "stderr": [0.2]}, "bits_per_byte": None}
    path = results / "runs" / specs[0].id / "metrics.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | own))
    made = aggregate(manifest, results, [], {})
    (sentence,) = made.warnings
    assert f"Tokenizer {specs[0].tokenizer.id} does not give the text back, so 1 of the runs with it have no" in sentence
    assert [(item["loss"], item["nats_per_byte"]) for item in made.tables["evals"]] == [(2.5, None), (3.0, None)]
    write(made.tables["runs"], tables.RUNS, tmp_path / "runs.parquet")
    assert read_own(tmp_path / "runs.parquet")["bits_per_byte"].to_list() == [None, 3.6]


def test_missing_and_damaged_files_are_named(two_budgets):
    results, manifest, specs = two_budgets
    path = results / "runs" / specs[0].id / "metrics.json"
    path.write_text("{")
    with pytest.raises(StudyError, match=r"metrics\.json is damaged"):
        aggregate(manifest, results, [], {})
    path.unlink()
    with pytest.raises(StudyError, match=r"metrics\.json does not exist"):
        aggregate(manifest, results, [], {})


@pytest.mark.parametrize(
    ("name", "values"),
    [
        ("metrics.json", {"positions": {"loss": [2.0, 3.0], "stderr": [0.1]}}),
        ("metrics.json", {"positions": {"loss": [2.0, 3.0]}}),
        ("metrics.json", {"loss_tokens": 10**30, "positions": {"loss": [2.0], "stderr": [0.1]}}),
        ("timing.json", {"threads": 10**30}),
        *(("set.json", {"rows": [row]}) for row in ({}, {"corpus": ["c"]}, {"corpus": "c", "n_tokens": 10**30, "loss": 1.0})),
    ],
)
def test_values_of_results_without_sums_that_cannot_be_are_told(two_budgets, name, values):
    results, manifest, specs = two_budgets
    folder = results / ("evals" if name == "set.json" else "runs") / specs[0].id
    folder.mkdir(parents=True, exist_ok=True)
    before = {"step": 1} if name == "set.json" else json.loads((folder / name).read_text())
    (folder / name).write_text(json.dumps(before | values))
    if name == "set.json":
        text = "".join(
            json.dumps(json.loads(line) | {"evaluations": "set"}) + "\n" for line in manifest.read_text().splitlines()[:1]
        )
        manifest = manifest.with_name(f"manifest-{hashlib.sha256(text.encode()).hexdigest()[:10]}.jsonl")
        manifest.write_text(text)
    (results / "tables").mkdir(exist_ok=True)
    with pytest.raises(StudyError):
        write_tables(manifest, results, results / "tables", [], {})


def test_a_run_without_its_speed_is_a_run(two_budgets):
    results, manifest, specs = two_budgets
    (results / "runs" / specs[0].id / "timing.json").unlink()
    made = aggregate(manifest, results, [], {})
    assert len(made.tables["runs"]) == len(made.tables["timings"]) + 1
    assert any("No timing.json is there for 1 run (" in sentence for sentence in made.warnings)


def test_a_curve_that_is_missing_beside_the_metrics_is_not_one_that_snakemake_makes(two_budgets):
    results, manifest, specs = two_budgets
    (results / "runs" / specs[0].id / "curve.jsonl").unlink()
    with pytest.raises(StudyError, match=r"curve\.jsonl is missing beside metrics\.json: run `scalinglaws verify --repair`"):
        aggregate(manifest, results, [], {})


@pytest.mark.parametrize(
    ("name", "change"),
    [
        ("metrics.json", lambda text: text.replace("2.5", "2.6", 1)),
        ("curve.jsonl", lambda text: "".join(text.splitlines(keepends=True)[:-1])),
        ("timing.json", lambda text: text.replace("5.0", "6.0", 1)),
        ("set.json", lambda text: text.replace("2.5", "2.6", 1)),
        ("manifest-{}.jsonl", lambda text: text.replace("true", "null", 1)),
    ],
)
def test_what_was_changed_since_it_was_written_is_refused(two_budgets, name, change):
    """Each file can be read after its change, so that its list or its name alone tells."""
    results, manifest, specs = two_budgets
    folder, evals = results / "runs" / specs[0].id, results / "evals" / specs[0].id
    evals.mkdir(parents=True)
    (evals / "set.json").write_text('{"step": 1, "rows": [{"corpus": "c", "position": null, "loss": 2.5}]}')
    sums.record(evals / "set.sha256", [evals / "set.json"])
    sums.record(folder / sums.LIST, [folder / "metrics.json", folder / "curve.jsonl"])
    sums.record(folder / "timing.sha256", [folder / "timing.json"])
    text = "".join(json.dumps(json.loads(line) | {"evaluations": "set"}) + "\n" for line in manifest.read_text().splitlines()[:1])
    manifest = manifest.with_name(f"manifest-{hashlib.sha256(text.encode()).hexdigest()[:10]}.jsonl")
    manifest.write_text(text)
    aggregate(manifest, results, [], {})
    (path,) = [path for path in (folder / name, evals / name, manifest) if path.exists()][:1]
    assert change(path.read_text()) != path.read_text()
    path.write_text(change(path.read_text()))
    with pytest.raises(StudyError, match=rf"{path.name} is damaged, its"):
        aggregate(manifest, results, [], {})


def test_tables_that_were_changed_are_not_read(two_budgets):
    results, manifest, _ = two_budgets
    (results / "tables").mkdir()
    write_tables(manifest, results, results / "tables", [], {})
    for name in ("runs.parquet", "timings.parquet"):
        path = results / "tables" / name
        data = path.read_bytes()
        path.write_bytes(data[:99] + bytes([data[99] ^ 1]) + data[100:])
        for read in (read_own, read_any):
            with pytest.raises(StudyError, match=rf"{name} is damaged, its sha256"):
                read(path)
    (results / "tables" / "warnings.json").write_text("[]")
    with pytest.raises(StudyError, match=r"warnings\.json is damaged, its sha256"):
        read_warnings(results / "tables")


def test_a_spec_that_was_edited_is_refused(two_budgets):
    results, manifest, specs = two_budgets
    (results / "runs" / specs[1].id / "spec.json").write_text(specs[0].canonical)
    with pytest.raises(StudyError, match=f"hashes to {specs[0].id}, not to its folder"):
        aggregate(manifest, results, [], {})


def test_metrics_of_another_run_are_refused(two_budgets):
    results, manifest, specs = two_budgets
    path = results / "runs" / specs[1].id / "metrics.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"id": "gpt-other"}))
    with pytest.raises(StudyError, match=r"metrics\.json is that of run gpt-other"):
        aggregate(manifest, results, [], {})


def test_losses_without_a_standard_error_and_rows_left_out_are_warnings(two_budgets, tmp_path):
    results, manifest, specs = two_budgets
    path = results / "runs" / specs[1].id / "metrics.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"loss_stderr": None}))
    (tmp_path / "theirs.csv").write_text("n_params,tokens,loss\n1000,1e6,3\n2000,1e6,nan\n3000,1e6,2.5\n")
    made = aggregate(manifest, results, [{"path": str(tmp_path / "theirs.csv"), "columns": {}}], {})
    first, second = made.warnings
    assert f"losses of 1 run on corpus {specs[1].corpus.id} have no standard error ({specs[1].id} is the first)" in first
    assert second.endswith("theirs.csv: 1 row left out: loss is missing (row 2).") and len(made.tables["runs"]) == 4


def test_a_count_of_flop_beyond_the_digits_of_a_float_is_rounded(two_budgets, tmp_path):
    results, manifest, specs = two_budgets
    path = results / "runs" / specs[0].id / "metrics.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"flops_6nd": 10**24 + 1}))
    write(aggregate(manifest, results, [], {}).tables["runs"], tables.RUNS, tmp_path / "runs.parquet")
    assert read_own(tmp_path / "runs.parquet")["flops_6nd"][0] == 1e24


def test_tables_warnings_and_one_manifest_are_left(two_budgets):
    results, manifest, specs = two_budgets
    folder = results / "tables"
    folder.mkdir()
    (folder / "manifest-x.jsonl").write_text(manifest.read_text())
    (folder / "manifest-old.jsonl").write_text("")
    names = {"manifest-x.jsonl", "warnings.json", *(f"{name}.parquet" for name in ("runs", "curves", "evals", "timings"))}
    names |= {"aggregate.sha256", "timings.sha256"}
    lines = write_tables(folder / "manifest-x.jsonl", results, folder, [], {})
    assert {path.name for path in folder.iterdir()} == names and lines[0] == "runs: 2 rows" and len(lines) == 4
    assert json.loads((folder / "warnings.json").read_text()) == []
    before = (folder / "runs.parquet").read_bytes()
    path = results / "runs" / specs[0].id / "curve.jsonl"
    path.write_text(path.read_text().replace('"loss_test": 3.0', '"loss_test": 3.5'))
    *_, line = write_tables(folder / "manifest-x.jsonl", results, folder, [], {})
    (warning,) = json.loads((folder / "warnings.json").read_text())
    assert line == f"warning: {warning}" and specs[0].trunk.id in warning
    assert (folder / "runs.parquet").read_bytes() == before
