"""A study that names an unknown law or figure is refused before anything runs."""

from pathlib import Path

import pytest
import yaml

from fixtures.small_study import changed
from scalinglaws.common.errors import StudyError
from scalinglaws.dag import context
from scalinglaws.decide.load import load, of_config
from scalinglaws.study import config


@pytest.mark.parametrize(
    ("key", "value", "words"),
    [
        ("figures", ["fig99"], ["figures", "fig99", "fig01_compute_data_parameters"]),
        ("figures", ["fig05_shap"], ["figures: 'fig05_shap' is unknown: did you mean fig05_shape?"]),
        ("fits", {"laws": ["chincilla"]}, ["fits.laws: 'chincilla' is unknown: did you mean chinchilla?"]),
        ("fits", {"laws": ["power-n", "power-x"]}, ["fits.laws", "power-x", "power-n"]),
    ],
)
def test_unknown_names_are_refused_with_those_that_there_are(key, value, words, tmp_path: Path):
    with pytest.raises(StudyError) as refused:
        of_config(config.parse(changed(**{key: value})), tmp_path)
    assert all(word in str(refused.value) for word in words)


def test_tables_of_runs_made_elsewhere_are_looked_at_but_in_a_job(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """A job on a cluster node reads the study alone: it may not see the tables."""
    monkeypatch.chdir(tmp_path)
    config_of = changed() | {"external_runs": [{"path": "theirs.csv", "columns": {"loss": "final"}}]}
    Path("study.yaml").write_text(yaml.safe_dump(config_of))
    for said in ("external_runs: theirs.csv does not exist", "external_runs: theirs.csv has no column 'final' .for loss."):
        with pytest.raises(StudyError, match=said):
            load(Path("study.yaml"), tmp_path)
        with pytest.raises(StudyError, match=said):
            context.of_snakemake({}, ["study.yaml"], {}, in_job=False)
        Path("theirs.csv").write_text("n_params,tokens,loss\n1e6,1e9,3\n")
    assert of_config(config.parse(config_of), tmp_path).external[0].path == "theirs.csv"
    Path("theirs.csv").write_text("n_params,tokens,final\n1e6,1e9,3\n")
    with pytest.raises(StudyError, match="files"):  # the texts of this study are not there
        load(Path("study.yaml"), tmp_path)


def test_a_study_that_names_what_there_is_is_read(tmp_path: Path):
    made = of_config(config.parse(changed(figures=["fig02_learning_curves"], fits={"laws": ["power-n"]})), tmp_path)
    assert made.figures == ("fig02_learning_curves",) and made.fits.laws == ["power-n"]
