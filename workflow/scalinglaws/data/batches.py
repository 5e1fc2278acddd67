"""Training batches and evaluation windows from token files."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from scalinglaws.common.errors import StudyError
from scalinglaws.data.token_files import load_starts, load_tokens

if TYPE_CHECKING:
    from scalinglaws.study.spec import RunSpec


class Batches:
    """Sequences of n_ctx tokens from the first ``dataset_tokens`` of a training stream, in an order fixed by the seed.

    An epoch takes each sequence once, in an order drawn from (seed, epoch); a batch may span two epochs. The batch of a
    step depends on the step alone. ``n_distinct`` is the number of training tokens that the run can see.
    Raises StudyError where the stream is shorter than dataset_tokens or than one sequence.
    """

    def __init__(self, tokens: np.ndarray, spec: RunSpec):
        if spec.batch_tokens % spec.n_ctx:
            raise StudyError(f"batch_tokens = {spec.batch_tokens} of run {spec.id} is not a multiple of n_ctx = {spec.n_ctx}")
        wanted = len(tokens) if spec.dataset_tokens is None else spec.dataset_tokens
        if wanted > len(tokens):
            raise StudyError(
                f"dataset_tokens = {wanted} of run {spec.id}, but the training split has {len(tokens)} tokens: "
                "lower dataset_tokens or add text to the corpus"
            )
        self.n_distinct, self.seed = wanted, spec.seed
        self.per_batch = spec.batch_tokens // spec.n_ctx
        self.tokens = tokens[:wanted]
        self.sequences = windows(self.tokens, spec.n_ctx)
        if not len(self.sequences):
            raise StudyError(f"run {spec.id} has {wanted} training tokens, fewer than n_ctx + 1 = {spec.n_ctx + 1}")
        self.orders: dict[int, np.ndarray] = {}

    def _order(self, epoch: int) -> np.ndarray:
        if epoch not in self.orders:
            self.orders = {e: order for e, order in self.orders.items() if e == epoch - 1}
            self.orders[epoch] = np.random.Generator(np.random.PCG64([self.seed, epoch])).permutation(len(self.sequences))
        return self.orders[epoch]

    def index(self, step: int) -> np.ndarray:
        """Return the rows of ``sequences`` that make the batch of a step, (batch_tokens / n_ctx,)."""
        rows = np.empty(self.per_batch, dtype=np.int64)
        filled, position = 0, step * self.per_batch
        while filled < self.per_batch:
            epoch, offset = divmod(position + filled, len(self.sequences))
            taken = self._order(epoch)[offset : offset + self.per_batch - filled]
            rows[filled : filled + len(taken)] = taken
            filled += len(taken)
        return rows

    def batch(self, step: int) -> np.ndarray:
        """Return the batch of a step, (batch_tokens / n_ctx, n_ctx + 1): inputs are its first n_ctx columns, targets its last."""
        return self.sequences[self.index(step)].astype(np.int64)


def windows(tokens: np.ndarray, n_ctx: int) -> np.ndarray:
    """Return a view (windows, n_ctx + 1) of all whole windows: disjoint inputs of n_ctx tokens, each with the token after them.

    The first token of the stream is never a target.
    """
    count = max(0, (len(tokens) - 1) // n_ctx)
    item = tokens.itemsize
    return np.lib.stride_tricks.as_strided(np.asarray(tokens), (count, n_ctx + 1), (n_ctx * item, item), writeable=False)


class Split:
    """About ``limit`` tokens of a split as windows, with the number of the passage that each target belongs to.

    The windows lie evenly over the whole split, since as many tokens in a row would be few passages with an untypical mean loss.
    """

    def __init__(self, folder: Path, split: str, n_ctx: int, limit: int):
        tokens, self.meta = load_tokens(folder, split)
        every = windows(tokens, n_ctx)
        if not len(every):
            raise StudyError(f"the {split} split in {folder} has {len(tokens)} tokens, fewer than n_ctx + 1 = {n_ctx + 1}")
        count = min(len(every), max(1, limit // n_ctx))
        self.rows = np.arange(count) * len(every) // count
        self.windows = every[self.rows]
        self.n_targets = self.windows[:, 1:].size
        counts: dict[str, Any] = self.meta["splits"][split]
        # The bytes of a text that the tokens do not give back are no measure of what was predicted.
        lossless = self.meta.get("lossless", True)
        self.tokens_per_byte: float | None = counts["tokens"] / counts["bytes"] if lossless else None
        self.starts = load_starts(folder, split)

    def passages(self) -> np.ndarray:
        """Return the index of the passage that each target belongs to, (n_targets,), in the order of the stream."""
        n_ctx = self.windows.shape[1] - 1
        targets = self.rows[:, None] * n_ctx + np.arange(1, n_ctx + 1)
        return np.searchsorted(self.starts, targets.reshape(-1), side="right") - 1


def doubts(meta: dict[str, Any], n_ctx: int, eval_tokens: int) -> list[str]:
    """Return a sentence for each reason to doubt losses that are measured on these token files.

    Parameters
    ----------
    meta
        The content of their meta.json.
    n_ctx
        The tokens of a context.
    eval_tokens
        The most tokens of the test split that a loss is measured on.
    """
    test, train = meta["splits"]["test"], meta["splits"]["train"]
    count = min(max(0, test["tokens"] - 1) // n_ctx, max(1, eval_tokens // n_ctx))
    sentences = []
    if count == 1 or test["passages"] == 1:
        what = f"one window of {n_ctx} tokens" if count == 1 else "one passage"
        sentences.append(
            f"the test loss is that of {what}, so its standard error is unknown: enlarge the test split"
            + (" or eval_tokens" if eval_tokens < 2 * n_ctx else "")
        )
    mean = train["tokens"] / max(1, train["passages"])
    if mean < n_ctx:
        sentences.append(
            f"a passage has {mean:.0f} tokens on average, and n_ctx is {n_ctx}: most contexts span several passages, so late "
            "positions see no longer text than early ones; lower n_ctx, or raise passage_chars if the documents are longer"
        )
    return sentences
