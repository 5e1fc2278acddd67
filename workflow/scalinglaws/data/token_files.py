"""The token files that training and evaluation read. Nothing heavy is imported here: each training job starts with it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from scalinglaws.common import sums
from scalinglaws.common.errors import StudyError
from scalinglaws.common.read import read_object
from scalinglaws.data import checked

META = "meta.json"
META_FIELDS = {"n_vocab", "dtype", "eot", "splits"}
SPLIT_FIELDS = {"tokens", "bytes", "passages", "sha256"}


def load_tokens(folder: Path, split: str) -> tuple[np.ndarray, dict[str, Any]]:
    """Return the tokens of a split, (tokens,) uint16 or uint32, memory-mapped read-only, and the folder's meta.

    Raises StudyError where a file is missing or damaged, the meta is not one of this version, or a token is none of the
    vocabulary.
    """
    listed = sums.read(folder / sums.LIST) or {}
    path, meta_path = folder / f"{split}.bin", folder / META
    sums.require(folder / sums.LIST, [META])
    meta = read_object(meta_path)
    try:
        missing = META_FIELDS - set(meta) or SPLIT_FIELDS - set(meta["splits"][split])
        dtype = np.dtype({"uint16": "<u2", "uint32": "<u4"}[meta["dtype"]])
        size = path.stat().st_size
    except FileNotFoundError as error:
        raise StudyError(f"{error.filename} does not exist: run the tokenize stage, or snakemake, which does") from None
    except (ValueError, TypeError, KeyError) as error:
        raise StudyError(f"{meta_path} is not one of token files ({error!r}): {sums.REPAIR}") from None
    if missing:
        raise StudyError(f"{meta_path} lacks {', '.join(sorted(missing))}: {sums.REPAIR}")
    counts, n_vocab = meta["splits"][split], meta["n_vocab"]
    numbers = [n_vocab, *(counts[name] for name in SPLIT_FIELDS - {"sha256"})]
    if not all(type(number) is int and 0 <= number < 2**63 for number in numbers) or (counts["tokens"] and not counts["bytes"]):
        raise StudyError(f"{meta_path} has a count of {split} that cannot be: {sums.REPAIR}")
    tokens = counts["tokens"]
    if size != tokens * dtype.itemsize:
        raise StudyError(f"{path} has {size} bytes, not {tokens * dtype.itemsize}: {sums.REPAIR}")
    stream = np.memmap(path, dtype, "r") if tokens else np.empty(0, dtype)

    def known_tokens() -> None:
        if tokens and (largest := int(stream.max())) >= n_vocab:
            raise StudyError(f"{path} has the token {largest}, but the vocabulary has {n_vocab}: {sums.REPAIR}")

    # Files of earlier versions have no list, but their meta has the sums of the tokens.
    expected, where = listed.get(path.name, meta["splits"][split]["sha256"]), sums.LIST if path.name in listed else META
    checked.once(path, expected, where, known_tokens, n_vocab)
    return stream, meta


def load_starts(folder: Path, split: str) -> np.ndarray:
    """Return the offset of each passage's first token, then the number of tokens, (passages + 1,), of validation or test.

    Raises StudyError where the file is missing or damaged, or does not fit the meta.
    """
    path = folder / f"{split}.starts.npy"
    _, meta = load_tokens(folder, split)
    try:
        if expected := (sums.read(folder / sums.LIST) or {}).get(path.name):
            checked.once(path, expected, sums.LIST)
        starts = np.load(path)
    except FileNotFoundError:
        raise StudyError(f"{path} does not exist: run the tokenize stage, or snakemake, which does") from None
    except (OSError, ValueError) as error:
        raise StudyError(f"{path} cannot be read ({error}): {sums.REPAIR}") from None
    counts = meta["splits"][split]
    if (
        starts.shape != (counts["passages"] + 1,)
        or int(starts[-1]) != counts["tokens"]
        or (np.diff(starts.astype(np.int64)) < 1).any()
    ):
        raise StudyError(f"{path} does not fit meta.json: {sums.REPAIR}")
    return starts
