"""A study that names an unknown law or figure is refused before anything runs."""

from pathlib import Path

import pytest

from fixtures.small_study import changed
from scalinglaws.common.errors import StudyError
from scalinglaws.decide.load import of_config
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


def test_a_study_that_names_what_there_is_is_read(tmp_path: Path):
    made = of_config(config.parse(changed(figures=["fig02_learning_curves"], fits={"laws": ["power-n"]})), tmp_path)
    assert made.figures == ("fig02_learning_curves",) and made.fits.laws == ["power-n"]
