"""The architectures that a config can name. A new one is a module, an entry and a line here. Importing this imports no torch."""

from __future__ import annotations

from scalinglaws.common.registry import Registry
from scalinglaws.models.architecture import Architecture
from scalinglaws.models.entries.llama import LLAMA
from scalinglaws.models.entries.lstm import LSTM
from scalinglaws.models.entries.moe import MOE
from scalinglaws.models.entries.recurrent import RECURRENT
from scalinglaws.models.entries.transformer import TRANSFORMER

ARCHITECTURES: Registry[Architecture] = Registry(
    "architecture",
    [
        TRANSFORMER,
        LSTM,
        RECURRENT,
        LLAMA,
        MOE,
    ],
)
