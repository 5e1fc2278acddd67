"""Token files are compared with their sums: each kind of damage is refused by name, and a content is hashed once."""

from __future__ import annotations

import json
import os
from pathlib import Path
from unittest import mock

import numpy as np
import pytest

from fixtures.small_runs import write_tokens
from scalinglaws.common import sums
from scalinglaws.common.errors import StudyError
from scalinglaws.data import checked
from scalinglaws.data.token_files import load_starts, load_tokens

FILES = ["train.bin", "test.bin", "validation.bin", "test.starts.npy", "validation.starts.npy", "meta.json"]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return write_tokens(tmp_path / "tokens")


def read(folder: Path) -> None:
    for split in ("train", "validation", "test"):
        load_tokens(folder, split)
        if split != "train":
            load_starts(folder, split)


def flip(path: Path, place: int = -1) -> None:
    data = bytearray(path.read_bytes())
    data[place] ^= 1
    path.write_bytes(data)


@pytest.mark.parametrize("name", FILES)
def test_a_flipped_bit_is_refused_by_name(folder: Path, name: str) -> None:
    sums.record(folder / sums.LIST, [folder / each for each in FILES])
    read(folder)
    flip(folder / name, 7)
    with pytest.raises(StudyError, match=rf"{name} is damaged.*SHA256SUMS: run `scalinglaws verify --repair`"):
        read(folder)


def test_files_of_earlier_versions_are_compared_with_their_meta(folder: Path) -> None:
    read(folder)
    meta = json.loads((folder / "meta.json").read_text())
    (folder / "meta.json").write_text(json.dumps(meta | {"n_vocab": 20}))
    with pytest.raises(StudyError, match=r"train\.bin has the token 31, but the vocabulary has 20"):
        read(folder)
    (folder / "meta.json").write_text(json.dumps(meta))
    flip(folder / "test.bin")
    with pytest.raises(StudyError, match=r"test\.bin is damaged.*meta\.json"):
        read(folder)
    write_tokens(folder)
    np.save(folder / "test.starts.npy", np.load(folder / "test.starts.npy")[[0, 2, 1, *range(3, 15)]])
    with pytest.raises(StudyError, match=r"test\.starts\.npy does not fit"):
        read(folder)


def test_a_content_is_hashed_once_and_any_other_again(folder: Path) -> None:
    path = folder / "train.bin"
    expected = sums.sha256_of(path)
    with mock.patch.object(sums, "sha256_of", side_effect=sums.sha256_of) as hashed:
        checked.once(path, expected, "list")
        assert not (folder / checked.NOTES).exists(), "a file that has just changed may change again at the same time"
        with mock.patch.object(checked, "SETTLED", -1.0):
            checked.once(path, expected, "list")
            assert hashed.call_count == 2
            checked.once(path, expected, "list")
            assert hashed.call_count == 2
            status = path.stat()
            flip(path)
            os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))
            with pytest.raises(StudyError, match=r"train\.bin is damaged"):
                checked.once(path, expected, "list")
            flip(path)
            checked.once(path, expected, "list")
            (folder / checked.NOTES).write_bytes(b"{\xff")
            before = hashed.call_count
            checked.once(path, expected, "list")
            assert hashed.call_count == before + 1
            checked.once(path, expected, "list")
            assert hashed.call_count == before + 1
