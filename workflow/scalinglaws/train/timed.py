"""Time steps of training on this machine's processor, on tokens that are made up: plans ask what a study will take.

    python -m scalinglaws.train.timed RESULTS < question.json

It is started by ``decide/speeds.py``, in as many processes as trainings will run, since these share caches and memory. The
question is a line of JSON, the specs and the seconds for which each is timed. For each spec a line "ready" is printed, a line is
awaited, and the seconds of a step are printed, so that the processes of one question compute at the same time.
"""

from __future__ import annotations

import itertools
import json
import sys
import time
from pathlib import Path

import numpy as np

from scalinglaws.data.batches import Batches
from scalinglaws.models.build import build
from scalinglaws.models.device import prepare
from scalinglaws.optim.optimizers import build_optimizer
from scalinglaws.study.ladder import n_vocab_guess
from scalinglaws.study.plugins import load_kept
from scalinglaws.study.spec import RunSpec, run_from_dict
from scalinglaws.train.distributed import ALONE
from scalinglaws.train.feed import Feed
from scalinglaws.train.flat import FlatModel
from scalinglaws.train.gradient import Gradient

CONTEXTS = 256  # contexts of made-up text, at least: a batch is read from several places
WARM_UP = 2  # steps before the clock starts, in which memory is taken
RATE = 1e-4  # the time of a step does not depend on the learning rate


class Steps:
    """Training steps of a run as its trainer takes them, without curve and checkpoints.

    Parameters
    ----------
    spec
        The run, or the trunk.
    """

    def __init__(self, spec: RunSpec):
        prepare(spec.threads, "cpu")
        n_vocab, rng = n_vocab_guess(spec), np.random.default_rng(0)
        count = max(CONTEXTS * spec.n_ctx, spec.batch_tokens) + 1
        tokens = rng.integers(n_vocab, size=count).astype("<u2" if n_vocab <= 2**16 else "<u4")
        module = build(spec.shape(n_vocab), seed=spec.seed, device="cpu", precision=spec.precision)
        self.model = FlatModel(module, spec.precision)
        self.optimizer = build_optimizer(self.model, spec, ALONE)
        self.gradient = Gradient(self.model, spec, ALONE, "cpu")
        self.batches = Batches(tokens, spec)
        self.feed, self.share = Feed(self.batches, "cpu"), ALONE.share(self.batches.per_batch)

    def take(self, step: int) -> None:
        """Take the step with this number."""
        self.gradient(self.feed.rows(step, self.share), self.batches.per_batch)
        self.optimizer.update(RATE, step)
        self.feed.prefetch(step + 1, self.share)

    def timed(self, seconds: float) -> float:
        """Return the mean seconds of a step over so many seconds and one step at least, after ``WARM_UP`` steps."""
        began = time.perf_counter()
        for step in itertools.count(WARM_UP):
            self.take(step)
            if (passed := time.perf_counter() - began) >= seconds:
                return passed / (step - WARM_UP + 1)
        raise AssertionError("the loop has no end")


def main(results: Path) -> None:
    """Answer the question on the standard input."""
    question = json.loads(sys.stdin.readline())
    for plain in question["specs"]:
        spec = run_from_dict(plain)
        load_kept(spec, results)
        steps = Steps(spec)
        for step in range(WARM_UP):
            steps.take(step)
        print("ready", flush=True)
        sys.stdin.readline()
        print(repr(steps.timed(question["seconds"])), flush=True)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
