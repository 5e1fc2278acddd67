"""Windows on the device: the same tokens by every way, the rows of the own process alone, and what a cold step reads."""

from __future__ import annotations

import ctypes
import mmap
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from fixtures.small_runs import small_spec, write_tokens
from scalinglaws.data.batches import Batches
from scalinglaws.train import feed as module
from scalinglaws.train.distributed import Processes
from scalinglaws.train.feed import Feed, as_signed, read_at_random, token_ids
from scalinglaws.train.trainer import Trainer


@pytest.mark.parametrize("dtype", ["<u2", "<u4"])
def test_large_ids_survive_as_signed_numbers(dtype: str) -> None:
    tokens = np.array([0, 1, 2**15 - 1, 2**15, 2**16 - 1, *([2**31, 2**32 - 1] if dtype == "<u4" else [])], dtype)
    assert token_ids(torch.from_numpy(as_signed(tokens))).tolist() == tokens.tolist()


@pytest.mark.parametrize("dtype", ["<u2", "<u4"])
def test_tokens_that_the_device_holds_give_the_same_windows(dtype: str) -> None:
    spec, rng = small_spec(dataset_tokens=1000), np.random.default_rng(0)
    stream = rng.integers(0, 2 ** (16 if dtype == "<u2" else 32), 1500).astype(dtype)
    batches = Batches(stream, spec)
    read, held = Feed(batches, "cpu"), Feed(batches, "cpu", resident=True)
    for step in (0, 1, 40):
        for part in (slice(0, 4), slice(1, 3), slice(3, 3)):
            wanted = batches.batch(step)[part]
            for feed in (read, held):
                found = feed.rows(step, part)
                assert found.dtype == torch.int64 and found.numpy().tolist() == wanted.tolist()


def test_a_process_reads_its_own_rows_alone(tmp_path: Path) -> None:
    """The parts of two processes make the batch, and neither touches the rows of the other."""
    trainers = [Trainer(small_spec(), write_tokens(tmp_path / "tokens"), "cpu", Processes(rank, 2)) for rank in range(2)]
    touched: list[np.ndarray] = []

    class Watched:
        def __init__(self, sequences: np.ndarray):
            self.sequences = sequences

        def __len__(self) -> int:
            return len(self.sequences)

        def __getitem__(self, index: np.ndarray) -> np.ndarray:
            touched.append(index)
            return self.sequences[index]

    parts = []
    for trainer in trainers:
        trainer.batches.sequences = Watched(trainer.batches.sequences)  # type: ignore[assignment]
        parts.append(trainer.feed.rows(3, trainer.share))
    assert torch.cat(parts).tolist() == torch.from_numpy(trainers[0].batches.batch(3)).tolist()
    assert [len(index) for index in touched[:2]] == [2, 2] and not set(touched[0]) & set(touched[1])


def cold_bytes(path: Path, at_random: bool) -> int:
    """Return the bytes of a file that are in memory after a step from nothing read 64 windows of 2 KiB all over it."""
    with path.open("rb") as file:
        os.fsync(file.fileno())
        os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
    stream = np.memmap(path, "<u2", "r")
    if resident_bytes(stream) > stream.nbytes / 10:
        pytest.skip("this filesystem keeps its files in memory")
    if at_random:
        read_at_random(stream)
    batches = Batches(stream, small_spec(n_ctx=1024, batch_tokens=2**16))
    assert Feed(batches, "cpu").rows(0, slice(0, 64)).shape == (64, 1025)
    return resident_bytes(stream)


def resident_bytes(stream: Any) -> int:
    """Return the bytes of a mapped file that are in memory."""
    pages = -(-stream.nbytes // mmap.PAGESIZE)
    states = (ctypes.c_ubyte * pages)()
    call = ctypes.CDLL(None, use_errno=True).mincore
    assert call(ctypes.c_void_p(stream.ctypes.data), ctypes.c_size_t(stream.nbytes), states) == 0
    return sum(state & 1 for state in states) * mmap.PAGESIZE


def test_a_cold_step_reads_little_more_than_its_windows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "train.bin"
    rng = np.random.default_rng(0)
    path.write_bytes(rng.integers(0, 2**16, module.LARGE // 2, dtype=np.uint16).tobytes())
    monkeypatch.setattr(module, "LARGE", 2**62)
    read_ahead = cold_bytes(path, False)
    monkeypatch.setattr(module, "LARGE", 2**20)
    alone = cold_bytes(path, True)
    assert 64 * 2050 <= alone <= 64 * 3 * mmap.PAGESIZE < read_ahead / 4
