"""The hub of Hugging Face, as a server on this machine: its cache, and every answer that is none."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

import scalinglaws
from fixtures.hub import COMMIT, LISTINGS, REDIRECTS, TRAIN, Hub, serving
from scalinglaws.common.errors import StudyError
from scalinglaws.data import sources
from scalinglaws.study.spec import Source

WANTED = [("data/train.jsonl:1", "from the hub"), ("data/train.jsonl:2", "again")]


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[type[Hub]]:
    with serving(tmp_path / "hub", monkeypatch) as handler:
        yield handler


def read(tmp_path: Path, **fields: Any) -> list[tuple[str, str]]:
    source = Source("huggingface", ("data/*",), repository="org/texts", **{"revision": COMMIT, **fields})
    return list(sources.documents(source, tmp_path / "downloads"))


LIST_FAULTS = ["hang", "busy", "limited", *REDIRECTS, *LISTINGS]
FILE_FAULTS = ["hang", "busy", "limited", *REDIRECTS, "climbing tag", "cut", "html"]


@pytest.mark.parametrize("fault", LIST_FAULTS + [f"file: {fault}" for fault in FILE_FAULTS])
def test_an_answer_that_is_none_is_one_sentence(hub: type[Hub], tmp_path: Path, fault: str) -> None:
    hub.fault = fault
    with pytest.raises(StudyError, match=r"data set org/texts, revision a+, cannot be had from the hub: \S") as refused:
        read(tmp_path)
    assert len(str(refused.value).splitlines()) == 2
    assert not list(tmp_path.rglob("evil*")) and len(hub.requests) < 30 and sum(hub.slept) < 30
    if fault.endswith("hang"):
        assert "127.0.0.1 did not answer within 0.2 seconds, 3 times" in str(refused.value)


def test_a_connection_that_is_cut_once_is_no_fault(hub: type[Hub], tmp_path: Path) -> None:
    hub.fault, hub.times = "file: cut", 1
    assert read(tmp_path) == WANTED


@pytest.mark.parametrize("pinned", [{}, {"sha256": hashlib.sha256(TRAIN).hexdigest(), "revision": COMMIT}])
def test_a_damaged_file_of_the_cache_is_fetched_once_more(
    hub: type[Hub], tmp_path: Path, pinned: dict[str, str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert read(tmp_path, **pinned) == WANTED
    asked = len(hub.requests)
    assert read(tmp_path, **pinned) == WANTED and len(hub.requests) == asked
    (cached,) = tmp_path.rglob("train.jsonl")
    cached.resolve().write_bytes(TRAIN.upper())
    assert read(tmp_path, **pinned) == WANTED and len(hub.requests) > asked
    assert "data/train.jsonl is damaged in the cache and is fetched again" in capsys.readouterr().err
    cached.resolve().write_bytes(TRAIN.upper())
    hub.fault = "file: other content"
    with pytest.raises(StudyError, match=r"data set org/texts.*(has sha256|in the hub's cache has not the hash)"):
        read(tmp_path, **pinned)


def test_a_branch_is_read_by_the_hash_of_its_files(hub: type[Hub], tmp_path: Path) -> None:
    pinned = {"revision": "main", "sha256": hashlib.sha256(TRAIN).hexdigest()}
    for commit in ("../../../evil", "b" * 39, ""):
        hub.commit = commit
        with pytest.raises(
            StudyError, match="org/texts, revision main, cannot be had from the hub: its answer is not that of a hub"
        ):
            read(tmp_path, **pinned)
    assert not list(tmp_path.rglob("evil*"))
    hub.commit = COMMIT
    assert read(tmp_path, **pinned) == WANTED
    hub.fault, hub.commit = "html", "b" * 40  # the branch has moved, and what it holds cannot be had
    with pytest.raises(StudyError, match="cannot be had from the hub"):
        read(tmp_path, **pinned)


def test_a_wrong_hash_in_the_config_fetches_nothing_again(hub: type[Hub], tmp_path: Path) -> None:
    read(tmp_path)
    asked = len(hub.requests)
    with pytest.raises(StudyError, match=rf"org/texts has sha256 {hashlib.sha256(TRAIN).hexdigest()}, but its source says"):
        read(tmp_path, sha256="0" * 64)
    assert len(hub.requests) == asked


READ_HUB = """
import sys
from pathlib import Path
from scalinglaws.common.errors import StudyError
from scalinglaws.data.sources import documents
from scalinglaws.study.spec import Source
for repository in sys.argv[1:]:
    source = Source("huggingface", ("data/*",), repository=repository, revision="a" * 40)
    try:
        for item in documents(source, Path("downloads")):
            print(*item, sep="|")
    except StudyError as error:
        print("StudyError", error)
"""


def test_hub_online_then_offline(tmp_path: Path) -> None:
    server = ThreadingHTTPServer(("127.0.0.1", 0), Hub)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    environment = {
        **os.environ,
        "PYTHONPATH": str(Path(scalinglaws.__file__).parents[1]),
        "HF_ENDPOINT": f"http://127.0.0.1:{server.server_port}",
        "HF_HOME": str(tmp_path / "hub"),
        "HF_HUB_DISABLE_TELEMETRY": "1",
        "NO_PROXY": "127.0.0.1",
    }
    environment.pop("HF_HUB_CACHE", None)

    def run(**more: str) -> str:
        command = [sys.executable, "-c", READ_HUB, "org/texts", "org/nothing"]
        done = subprocess.run(command, capture_output=True, text=True, env={**environment, **more}, timeout=120)
        assert not done.returncode, done.stderr
        return done.stdout

    wanted = "data/train.jsonl:1|from the hub\ndata/train.jsonl:2|again\n"
    try:
        assert run().startswith(f"{wanted}StudyError data set org/nothing, revision {COMMIT}, cannot be had")
    finally:
        server.shutdown()
        server.server_close()
    assert run(HF_HUB_OFFLINE="1").startswith(f"{wanted}StudyError data set org/nothing")
    assert not list((tmp_path / "hub").rglob("README.md"))
