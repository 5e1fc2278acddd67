"""``draw``: figures of a study that is not finished, and those of one that is."""

import sys

import polars as pl

from scalinglaws.cli.app import main
from scalinglaws.decide import verify
from workflow.conftest import SMOKE

FIGURES = ["fig01_compute_data_parameters", "fig02_learning_curves"]
PARTIAL = "results/studies/smoke/partial"


def test_what_is_there_of_an_unfinished_study_is_drawn(study, monkeypatch, capsys):
    """A run is missing and another has still to be evaluated; pictures say so, and the study's own results stay as they are."""
    study.edit(lambda data: data.update(figures=FIGURES, fits={"bootstrap": 20, "laws": ["power-c", "power-n"]}))
    monkeypatch.chdir(study.folder)
    results = study.folder / "results"
    whole = {path: path.read_bytes() for path in sorted(results.glob("runs/gpt-n1.5k-*/metrics.json"))[:1]}
    whole |= {path: path.read_bytes() for path in sorted(results.glob("evals/gpt-n6.1k-*/[0-9]*.json"))[:1]}
    for path in whole:
        path.unlink()
    before = study.bytes_of("studies/smoke/**/*")
    assert main(["draw", "--configfile", SMOKE]) == 1
    assert "has 2 runs of 10 still to train or to evaluate" in capsys.readouterr().err

    drawn = []
    for _ in range(2):  # the second call replaces what the first one drew
        assert main(["draw", "--partial", "--configfile", SMOKE]) == 0
        assert f"2 figures of 9 of 10 runs are in {PARTIAL}/figures" in capsys.readouterr().out
        made = study.bytes_of("studies/smoke/partial/**/*")
        assert b"<!-- partial: 9 of 10 runs -->" in made[f"studies/smoke/partial/figures/{FIGURES[0]}.svg"]
        drawn.append(made)
    assert drawn[0] == drawn[1]
    assert len(pl.read_parquet(f"{PARTIAL}/tables/runs.parquet")) == 9
    assert {name: data for name, data in study.bytes_of("studies/smoke/**/*").items() if name not in made} == before
    found = verify.verify(results)
    assert not found.damaged and not found.without_sums

    for path, data in whole.items():
        path.write_bytes(data)
    (study.folder / f"results/studies/smoke/figures/{FIGURES[1]}.svg").unlink()
    study.call(sys.executable, "-m", "scalinglaws", "draw", "--configfile", SMOKE, "--cores", "2")
    own = study.bytes_of("studies/smoke/figures/*.svg")
    assert sorted(name.rpartition("/")[2] for name in own) == [f"{name}.svg" for name in FIGURES]
    assert "partial:" not in "".join(data.decode() for data in own.values())

    for path in results.glob("runs/*/metrics.json"):
        path.unlink()
    assert main(["draw", "--partial", "--configfile", SMOKE]) == 1
    assert "none of the 10 runs of study smoke is trained yet" in capsys.readouterr().err
