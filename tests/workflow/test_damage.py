"""The corruption matrix: each kind of file in results/, damaged in each way, is noticed by ``verify``, and after ``--repair`` one
run makes everything again with the same bytes."""

import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from scalinglaws.decide import verify

OWN = "studies/smoke"
# Every kind of file that is checked, as a pattern of which the first file is taken. A list of sums is a file like any other.
KINDS = (
    *("corpora/*/spec.json", "corpora/*/report.json", "corpora/*/train.jsonl.zst", "corpora/*/SHA256SUMS"),
    *("tokenizers/*/spec.json", "tokenizers/*/tokenizer.json", "tokenizers/*/tokenizer.sha256"),
    *(
        "tokens/*/*/meta.json",
        "tokens/*/*/train.bin",
        "tokens/*/*/test.bin",
        "tokens/*/*/test.starts.npy",
        "tokens/*/*/SHA256SUMS",
    ),
    *("trunks/*/spec.json", "trunks/*/step*.safetensors", "runs/*/spec.json", "runs/*/metrics.json", "runs/*/curve.jsonl"),
    *("runs/*/model.safetensors", "runs/*/timing.json", "runs/*/SHA256SUMS", "runs/*/timing.sha256"),
    *("evals/sets/*.txt", "evals/gpt*/[0-9]*.json", "evals/gpt*/[0-9]*.sha256", "evals/gpt*/cache-*.json"),
    *(f"{OWN}/tables/{name}.parquet" for name in ("runs", "curves", "evals", "timings", "fits", "exponents")),
    *(f"{OWN}/tables/{name}" for name in ("warnings.json", "aggregate.sha256", "manifest-*.jsonl", "exponents.md")),
    *(f"{OWN}/fits/power-n.json", f"{OWN}/fits/power-n.sha256"),
    *(f"{OWN}/figures/fig01*.svg", f"{OWN}/figures/fig01*.png", f"{OWN}/figures/fig01*.sha256"),
    *(f"{OWN}/report.md", f"{OWN}/report.sha256", "logs/study/*.json"),
)


def flip(data: bytes) -> bytes:
    return data[: len(data) // 2] + bytes([data[len(data) // 2] ^ 4]) + data[len(data) // 2 + 1 :]


def change_digit(data: bytes) -> bytes:
    """Change the last digit of a text; of a file without digits, the last byte."""
    found = list(re.finditer(rb"\d", data))
    place = found[-1].start() if found else len(data) - 1
    return data[:place] + (b"3" if data[place : place + 1] == b"2" else b"2") + data[place + 1 :]


DAMAGES: dict[str, Callable[[bytes], bytes]] = {
    "bit": flip,
    "cut": lambda data: data[: len(data) // 2],
    "emptied": lambda data: b"",
    "digit": change_digit,
}


def first(results: Path, pattern: str) -> Path:
    return sorted(results.glob(pattern))[0]


@pytest.fixture(scope="module")
def damaged_at_will(finished, tmp_path_factory) -> Path:
    """Return a copy of the results of the finished study, in which each test mends what it damages."""
    folder = tmp_path_factory.mktemp("matrix")
    subprocess.run(["cp", "-a", str(finished.folder / "results"), str(folder)], check=True)
    return folder / "results"


@pytest.mark.parametrize("damage", DAMAGES)
def test_each_damage_of_each_kind_of_file_is_noticed(damaged_at_will, damage):
    found = verify.verify(damaged_at_will)
    assert not found.damaged and not found.missing and not found.without_sums
    for pattern in KINDS:
        path = first(damaged_at_will, pattern)
        whole = path.read_bytes()
        path.write_bytes(DAMAGES[damage](whole))
        found = verify.verify(damaged_at_will)
        assert {fault.path for fault in [*found.damaged, *found.missing]} == {path}, (pattern, damage)
        path.write_bytes(whole)


def test_what_was_damaged_is_made_again_with_the_same_bytes(study, finished):
    """All kinds of files but lists are damaged at once, each in one of the ways; one run is trained again, and no other."""
    results = study.folder / "results"
    run = "gpt-n1.5k-t64.0k-s0-*"  # a run with an evaluation
    patterns = [pattern.replace("runs/*", f"runs/{run}").replace("evals/gpt*", f"evals/{run}") for pattern in KINDS]
    patterns = [pattern for pattern in patterns if not pattern.endswith(("SHA256SUMS", ".sha256"))]
    damaged = dict.fromkeys(first(results, pattern) for pattern in patterns)
    for path, damage in zip(damaged, list(DAMAGES.values()) * len(KINDS), strict=False):
        path.write_bytes(damage(path.read_bytes()))
    trained = {path: path.stat().st_mtime_ns for path in results.glob("runs/*/metrics.json") if path not in damaged}

    told = study.call(sys.executable, "-m", "scalinglaws", "verify", check=False)
    assert told.returncode == 1 and "Traceback" not in told.stderr
    assert all(f"{path.relative_to(study.folder)} " in told.stdout for path in damaged)
    repaired = study.call(sys.executable, "-m", "scalinglaws", "verify", "--repair")
    assert "files removed" in repaired.stdout
    study.run("--cores", "2")
    assert study.jobs() == {}
    again = verify.verify(results)
    assert not again.damaged and not again.missing
    assert {path: path.stat().st_mtime_ns for path in trained} == trained, "no other run is trained again"
    same = ["runs/*/*", "trunks/*/*", "evals/*/*"]
    same += [f"{OWN}/{name}" for name in ("tables/*", "fits/*", "figures/*", "report.*")]
    volatile = re.compile(r"timings?\.")
    before, after = ({n: d for n, d in w.bytes_of(*same).items() if not volatile.search(n)} for w in (finished, study))
    assert {name for name in before if before[name] != after.get(name)} == set()
