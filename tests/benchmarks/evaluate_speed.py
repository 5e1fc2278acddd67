"""Compare the evaluation of one run on four corpora of 128k tokens with its training: 2 layers of width 24, 2M tokens.

    PYTHONPATH=workflow:tests python tests/benchmarks/evaluate_speed.py [--steps 30] [--threads 1] [--smoke]

Training is 2M tokens' worth of the median measured step; both are processor time, without the start of their processes.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from pathlib import Path

from fixtures.small_runs import small_spec, write_tokens
from scalinglaws.common.files import write_json
from scalinglaws.evaluate.evaluate import evaluate
from scalinglaws.models.device import prepare
from scalinglaws.train.checkpoint import write_tensors
from scalinglaws.train.steps import is_eval_step
from scalinglaws.train.trainer import Trainer

TOKENS, N_CORPORA, EVAL_TOKENS = 2 * 10**6, 4, 128 * 1024
SHAPE = {"n_layer": 2, "d_model": 24, "n_heads": 1, "d_ff": 96, "d_attn": 24}


def seconds_of_training(trainer: Trainer, steps: int) -> float:
    """Return the processor seconds of the whole budget, from the median of so many steps that make no point of the curve."""
    times: list[float] = []
    while len(times) < steps:
        began = time.process_time()
        trainer.update()
        # The first steps allocate and choose kernels.
        if trainer.step > 3 and not is_eval_step(trainer.step):
            times.append(time.process_time() - began)
    return statistics.median(times) * trainer.spec.steps


def main() -> None:
    """Print both times and their ratio."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--steps", type=int, default=30, help="training steps to measure")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--smoke", action="store_true", help="a few steps, and one small corpus")
    args = parser.parse_args()
    steps, n_corpora, eval_tokens = (3, 1, 2048) if args.smoke else (args.steps, N_CORPORA, EVAL_TOKENS)
    prepare(args.threads, "cpu")
    spec = small_spec(**SHAPE, n_ctx=128, batch_tokens=2048, tokens=TOKENS, eval_tokens=eval_tokens, curve_tokens=128)
    with tempfile.TemporaryDirectory() as name:
        folders = [write_tokens(Path(name, f"corpus{i}", "bytes"), 200_000, eval_tokens + 1, 256) for i in range(n_corpora)]
        trainer = Trainer(spec, folders[0])
        training = seconds_of_training(trainer, steps)
        run = Path(name, "run")
        write_json(run / "metrics.json", {"status": "ok", "best_step": trainer.step})
        (run / "spec.json").write_text(spec.canonical)
        write_tensors(run / "model.safetensors", trainer.model.params)
        began = time.process_time()
        evaluate(run, folders, Path(name, "evals", "set.json"))
        evaluation = time.process_time() - began
    print(f"training {training:.1f} s, evaluation on {n_corpora} corpora {evaluation:.2f} s: {100 * evaluation / training:.1f} %")


if __name__ == "__main__":
    main()
