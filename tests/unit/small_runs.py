"""Token folders and specs for tests of training: real token files, a few thousand tokens, models of a few hundred."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import pytest

from scalinglaws.spec import CorpusSpec, RunSpec, Source, TokenizerSpec
from scalinglaws.trainer import Trainer

N_VOCAB = 32
SOURCE = Source("files", ("*.txt",), sha256="0" * 64)
CORPUS = CorpusSpec((SOURCE,), passage_chars=200, validation=0.1, test=0.1, seed=0)


def small_spec(**changes: Any) -> RunSpec:
    """A one-layer Transformer, 40 steps of 64 tokens, wsd with a decay of one quarter."""
    values: dict[str, Any] = {"n_layer": 1, "d_model": 8, "n_heads": 2, "d_ff": 32, "d_attn": 8}
    values |= {"corpus": CORPUS, "tokenizer": TokenizerSpec("bytes"), "n_ctx": 16, "batch_tokens": 64}
    values |= {"learning_rate": 0.01, "warmup_tokens": 256, "schedule": "wsd", "precision": "float32", "threads": 1}
    values |= {"seed": 1, "eval_tokens": 320, "curve_tokens": 160, "tokens": 2560, "decay": 0.25, "grad_clip": 1.0}
    return RunSpec(**(values | changes))


@contextmanager
def killed_at(step: int) -> Iterator[None]:
    """Training in this block breaks off before its update at ``step``."""
    whole = Trainer.update

    def update(trainer: Trainer) -> None:
        if trainer.step == step:
            raise KeyboardInterrupt
        whole(trainer)

    with mock.patch.object(Trainer, "update", update), pytest.raises(KeyboardInterrupt):
        yield


def same_run(one: Path, other: Path) -> None:
    """Asserts that two folders of one run hold the same bytes."""
    for name in ("metrics.json", "curve.jsonl", "model.safetensors"):
        assert (one / name).read_bytes() == (other / name).read_bytes(), name


def text_tokens(count: int, seed: int) -> np.ndarray:
    """Tokens of a noisy cycle: the next one is mostly the last plus one, so that there is something to learn."""
    rng = np.random.default_rng(seed)
    return (np.cumsum(rng.choice([1, 1, 1, 5], size=count)) % (N_VOCAB - 1) + 1).astype("<u2")


def write_tokens(folder: Path, train: int = 3000, held_out: int = 700, n_vocab: int = N_VOCAB) -> Path:
    """A folder of token files in the project's format: passages of 49 tokens and an end of text (token 0).

    A larger n_vocab has tokens that do not occur.
    """
    folder.mkdir(parents=True, exist_ok=True)
    splits = {}
    for seed, (split, count) in enumerate({"train": train, "validation": held_out, "test": held_out}.items()):
        tokens = text_tokens(count, seed)
        tokens[49::50] = 0
        (folder / f"{split}.bin").write_bytes(tokens.tobytes())
        starts = np.append(np.arange(0, count, 50), count).astype(np.uint64)
        if split != "train":
            np.save(folder / f"{split}.starts.npy", starts)
        sha256 = hashlib.sha256(tokens.tobytes()).hexdigest()
        counts = {"tokens": count, "bytes": count - len(starts) + 1, "passages": len(starts) - 1, "sha256": sha256}
        splits[split] = counts
    meta = {"n_vocab": n_vocab, "dtype": "uint16", "eot": 0, "splits": splits}
    (folder / "meta.json").write_text(json.dumps(meta))
    return folder
