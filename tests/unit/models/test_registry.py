"""Architectures of plug-ins: their options go into the spec, their counts are held to their tensors, and they train."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from fixtures.small_runs import write_tokens
from fixtures.small_study import changed
from scalinglaws.common.errors import StudyError
from scalinglaws.common.registry import of_plugin
from scalinglaws.models.architecture import Architecture, Options, Rows
from scalinglaws.models.build import build
from scalinglaws.models.config import ModelConfig
from scalinglaws.models.count import flops_6nd, flops_last_layer, n_params
from scalinglaws.models.registry import ARCHITECTURES
from scalinglaws.study import config, study
from scalinglaws.study.spec import RunSpec
from scalinglaws.train.run import train

PLUGIN = "ab" * 32


class ConvolutionOptions(Options):
    """``kernel`` is the number of tokens that a filter sees."""

    kernel: int = 3


class Convolutions(nn.Module):
    """A model of gated causal convolutions with an output that is not tied and the initial weights of PyTorch."""

    def __init__(self, c: ModelConfig):
        super().__init__()
        self.kernel = c.options["kernel"]
        self.token_embedding = nn.Embedding(c.n_vocab, c.d_model)
        self.layers = nn.ModuleList(nn.Conv1d(c.d_model, 2 * c.d_model, self.kernel) for _ in range(c.n_layer))
        self.head = nn.Linear(c.d_model, c.n_vocab, bias=False)

    def forward(self, tokens: Tensor) -> Tensor:
        x = self.token_embedding(tokens)
        for layer in self.layers:
            x = x + F.glu(layer(F.pad(x.transpose(1, 2), (self.kernel - 1, 0))), 1).transpose(1, 2)
        return x


def rows(c: ModelConfig) -> Rows:
    filters, table = 2 * c.n_layer * c.d_model**2 * c.options["kernel"], c.n_vocab * c.d_model
    return {"embed": (table, 0), "filters": (filters, 2 * filters), "de_embed": (table, 2 * table)}


ENTRY = Architecture("convolutions", rows, lambda c: 2 * c.n_layer * c.d_model, Convolutions, options=ConvolutionOptions)


@pytest.fixture(autouse=True)
def plugin(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Register the entry for one test, as that of a plug-in."""
    monkeypatch.setattr(ARCHITECTURES, "_entries", dict(ARCHITECTURES._entries))
    monkeypatch.setattr(ARCHITECTURES, "_plugins", dict(ARCHITECTURES._plugins))
    with of_plugin(PLUGIN):
        ARCHITECTURES.register(ENTRY)
    yield


def spec_of(**options: Any) -> RunSpec:
    settings: dict[str, Any] = {"architecture": "convolutions", "model": {"n_layer": 2, "d_model": 8, **options}}
    settings |= {"n_ctx": 16, "batch_tokens": 64, "warmup_tokens": 640}
    data = changed(**{f"defaults__{key}": value for key, value in settings.items()})
    data["experiments"] = {"one": {"points": [{"tokens": 64 * 60}]}}
    (spec,) = study.build(config.parse(data), Path("nowhere")).runs.values()
    return spec


def test_options_and_the_plugin_are_part_of_the_run() -> None:
    spec = spec_of(kernel=4)
    assert spec.options == (("kernel", 4),) and spec.plugins == (PLUGIN,) and spec.id.startswith("convolutions-n1.0k-")
    assert spec.n_params == 2 * 2 * 8 * 8 * 4 and spec.n_heads == spec.d_ff == 0
    assert spec_of().options == (("kernel", 3),) and spec_of(kernel=3).id == spec_of().id != spec.id


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"kernl": 4}, "model.kernl: unknown key: did you mean kernel?"),
        ({"n_heads": 2}, "model.n_heads: an architecture convolutions has none"),
        ({"kernel": "wide"}, "model.kernel: .*valid integer.*'wide'"),
    ],
)
def test_options_are_checked_before_anything_runs(options: dict[str, Any], message: str) -> None:
    with pytest.raises(StudyError, match=message):
        spec_of(**options)


def test_counts_follow_from_the_rows() -> None:
    config = spec_of(kernel=4).shape(32)
    assert flops_6nd(config, 10) == 6 * n_params(config) * 10
    assert flops_last_layer(config, 10) - flops_6nd(config, 10) == 3 * 2 * 32 * 8 * 10


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"vectors": lambda c: 0}, "its module has 1568 parameters, and its entry counts 1536"),
        ({"module": lambda c: nn.Linear(3, 3)}, "no token_embedding"),
        ({"module": lambda c: Convolutions(c).double()}, "not float32"),
        ({"module": lambda c: Convolutions(dataclasses.replace(c, n_vocab=5))}, "5 rows, and n_vocab is 32"),
    ],
)
def test_a_module_that_is_not_what_its_entry_says_is_refused(change: dict[str, Any], message: str) -> None:
    with of_plugin(PLUGIN):
        ARCHITECTURES.register(dataclasses.replace(ENTRY, **change))
    with pytest.raises(StudyError, match=message):
        build(spec_of(kernel=4).shape(32))


def test_it_trains_and_its_seed_fixes_its_weights(tmp_path: Path) -> None:
    spec = dataclasses.replace(spec_of(), eval_tokens=320, curve_tokens=160)
    tokens = write_tokens(tmp_path / "tokens")
    train(spec, tokens, tmp_path / "run", device="cpu")
    metrics = json.loads((tmp_path / "run" / "metrics.json").read_text())
    assert metrics["status"] == "ok" and metrics["loss"] < 2.5 < float(torch.tensor(32.0).log())
    one, same, other = (build(spec.shape(32), seed=seed).state_dict()["head.weight"] for seed in (1, 1, 2))
    assert torch.equal(one, same) and not torch.equal(one, other)


def test_a_prefix_of_ids_can_be_a_part_of_a_files_name() -> None:
    with pytest.raises(StudyError, match=r"architecture mine: prefix: '\.\./x'"):
        dataclasses.replace(ARCHITECTURES.find("lstm"), name="mine", prefix="../x")
