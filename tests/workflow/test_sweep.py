"""A swept learning rate in the real workflow: the sweep, its rule, the run that uses it, and a rule that goes missing."""

import json

import pytest
import yaml

from fixtures import real_study
from scalinglaws.data.pinned import sha256
from workflow.conftest import Workflow, copy_workflow

CONFIG = "sweep.yaml"
RATES = ["1e-3", "4e-3", "1.6e-2", "6.4e-2", "2.56e-1"]


@pytest.fixture
def swept(tmp_path) -> Workflow:
    """Write a study of one run whose rate comes of a sweep at a smaller size, of five runs."""
    made = copy_workflow(tmp_path / "w")
    real_study.write_text(made.folder)
    text = {"kind": "files", "files": [str(made.folder / "manual.txt")], "sha256": sha256([made.folder / "manual.txt"])}
    defaults = {"corpus": "manual", "n_ctx": 32, "batch_tokens": 512, "warmup_tokens": "4k", "schedule": "cosine"}
    defaults |= {"eval_tokens": "2k", "curve_tokens": 512}
    defaults |= {"learning_rate": {"sweep": {"sizes": ["1x8"], "tokens": "64k", "rates": RATES}}}
    data = {"study": "small", "defaults": defaults, "experiments": {"size": {"points": [{"model": "2x8", "tokens": "32k"}]}}}
    data |= {"corpora": {"manual": {"sources": [text], "passage_chars": 400, "validation": 0.1, "test": 0.1}}}
    (made.folder / CONFIG).write_text(yaml.safe_dump(data))
    return made


def test_a_sweep_gives_its_rate_to_a_run_that_keeps_it(swept):
    text = {"corpus": 1, "tokenizer": 1, "tokenize": 1}
    assert swept.jobs("--", "runs", study=CONFIG) == {**text, "train": 6, "rates": 1, "runs": 1}
    swept.run("--cores", "2", "--", "runs", study=CONFIG)
    (path,) = (swept.folder / "results/rates").glob("*.json")
    rule, data = json.loads(path.read_text()), path.read_bytes()
    metrics = {file.parent.name: file for file in (swept.folder / "results/runs").glob("*/metrics.json")}
    (user,) = metrics.keys() - set(rule["runs"])
    assert json.loads(metrics[user].read_text())["learning_rate"] == rule["coefficient"] and rule["exponent"] == 0
    times = [metrics[run].stat().st_mtime_ns for run in rule["runs"]]
    assert max(times) <= path.stat().st_mtime_ns <= metrics[user].stat().st_mtime_ns
    assert swept.jobs("--", "runs", study=CONFIG) == {}

    path.unlink()  # what is trained keeps its rate
    assert swept.jobs("--", "runs", study=CONFIG) == {}
    swept.edit(lambda data: data["experiments"]["size"]["points"].append({"model": "2x8", "tokens": "64k"}), study=CONFIG)
    assert swept.jobs("--", "runs", study=CONFIG) == {"train": 1, "rates": 1, "runs": 1}
    swept.run("--cores", "1", "--", str(path.relative_to(swept.folder)), study=CONFIG)
    assert path.read_bytes() == data
