"""The token files that training and evaluation read. Nothing heavy is imported here: each training job starts with it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np

from scalinglaws.common.errors import StudyError

META_FIELDS = {"n_vocab", "dtype", "eot", "splits"}
SPLIT_FIELDS = {"tokens", "bytes", "passages", "sha256"}


def load_tokens(folder: Path, split: str) -> tuple[np.ndarray, dict[str, Any]]:
    """Return the tokens of a split, (tokens,) uint16 or uint32, memory-mapped read-only, and the folder's meta.

    Raises StudyError where a file is missing, the meta is not one of this version, or a file has another size.
    """
    again = f"delete {folder} and run snakemake again"
    try:
        meta = json.loads((folder / "meta.json").read_text())
        missing = META_FIELDS - set(meta) or SPLIT_FIELDS - set(meta["splits"][split])
        dtype = np.dtype({"uint16": "<u2", "uint32": "<u4"}[meta["dtype"]])
        size = (folder / f"{split}.bin").stat().st_size
    except FileNotFoundError as error:
        raise StudyError(f"{error.filename} does not exist: run the tokenize stage, or snakemake, which does") from None
    except (ValueError, TypeError, KeyError) as error:
        raise StudyError(f"{folder}/meta.json is not one of token files ({error!r}): {again}") from None
    if missing:
        raise StudyError(f"{folder}/meta.json lacks {', '.join(sorted(missing))}: {again}")
    tokens = meta["splits"][split]["tokens"]
    if size != tokens * dtype.itemsize:
        raise StudyError(f"{folder}/{split}.bin has {size} bytes, not {tokens * dtype.itemsize}: {again}")
    if not tokens:
        return np.empty(0, dtype), meta
    return np.memmap(folder / f"{split}.bin", dtype, "r"), meta


def load_starts(folder: Path, split: str) -> np.ndarray:
    """Return the offset of each passage's first token, then the number of tokens, (passages + 1,), of validation or test.

    Raises StudyError where the file is missing or does not fit the meta.
    """
    path = folder / f"{split}.starts.npy"
    _, meta = load_tokens(folder, split)
    try:
        starts = np.load(path)
    except (OSError, ValueError) as error:
        raise StudyError(f"{path} cannot be read ({error}): delete {folder} and run snakemake again") from None
    counts = meta["splits"][split]
    if starts.shape != (counts["passages"] + 1,) or int(starts[-1]) != counts["tokens"]:
        raise StudyError(f"{path} does not fit meta.json: delete {folder} and run snakemake again")
    return starts
