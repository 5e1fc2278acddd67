"""Compiled code by torch.compile's own compiler: it is made once, and all that happens in a training goes on with it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
import torch._dynamo

from fixtures.on_a_gpu import sized, trainer_on, with_micro

UPDATES = 20
MOST_GRAPHS = 2  # the model, or a layer of it, and the softmax of a part of the logits


def test_one_graph_and_no_other_one_in_twenty_updates(tokens: Path, device: str, record_property: Any) -> None:
    spec = sized(2, 64, precision="bfloat16", n_ctx=64, batch_tokens=1024, tokens=1024 * 40, noise_every=4, dropout=0.1)
    torch._dynamo.reset()
    torch._dynamo.utils.counters.clear()
    trainer = trainer_on(with_micro(spec, 8), tokens, device, compiled=True)
    counters = torch._dynamo.utils.counters
    trainer.update()
    graphs = counters["stats"]["unique_graphs"]
    with torch._dynamo.config.patch(error_on_recompile=True):
        for _ in range(1, UPDATES):
            trainer.update()
    record_property("graphs", graphs)
    assert trainer.gradient.compiled == "yes", trainer.gradient.compiled
    assert trainer.noise is not None and trainer.noise.count == (UPDATES - 1) // 4 and len(trainer.rows) == 6
    assert 0 < graphs <= MOST_GRAPHS and counters["stats"]["unique_graphs"] == graphs and not counters["graph_break"]
