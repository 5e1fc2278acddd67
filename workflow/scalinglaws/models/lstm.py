"""The LSTM language model that Kaplan et al. 2020 compare with the Transformer (section 3.2.1, Figure 7).

The paper gives no details. Here each of n_layer LSTM layers of width d_model adds its output to a residual stream and reads it
through a layer norm, as the Transformer's layers do, so that depth trains at the same learning rates; embeddings are tied and
there are no positions. A layer has the gates of Hochreiter and Schmidhuber 1997 and Gers et al. 2000, one bias a gate:

    i, f, o = sigmoid(W x_t + U h_{t-1} + b),  g = tanh(W x_t + U h_{t-1} + b),  c_t = f c_{t-1} + i g,  h_t = o tanh(c_t)

In comments of shapes B is sequences, T positions and C = d_model.
"""

from __future__ import annotations

import warnings

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from scalinglaws.models.config import ModelConfig
from scalinglaws.models.layers import Embedding, Linear, draw_weights

FORGET_BIAS = 1.0  # Jozefowicz et al. 2015: at zero, half of the state is forgotten at each token


class Layer(nn.Module):
    """One LSTM layer; state and memory start at zero in each sequence."""

    def __init__(self, config: ModelConfig):
        super().__init__()
        # Rows are those of the gates i, f, g and o, C each.
        self.input = Linear(config.d_model, 4 * config.d_model, bias=False)
        self.state = Linear(config.d_model, 4 * config.d_model, bias=False)
        self.gates = nn.ParameterDict({"bias": torch.empty(4 * config.d_model)})
        self.norm = nn.LayerNorm(config.d_model)

    def forward(self, x: Tensor) -> Tensor:
        """Return the states h_t (B, T, C) of the residual stream (B, T, C), by PyTorch's fused kernel: oneDNN's or cuDNN's.

        The kernel has two biases, of which one is enough. On GPUs it has no bfloat16, so that it runs in float32 everywhere.
        """
        x, bias = self.norm(x), self.gates["bias"]
        weights = [self.input.weight, self.state.weight, bias, torch.zeros_like(bias)]
        zero = x.new_zeros(1, len(x), x.shape[2])
        with torch.autocast(x.device.type, enabled=False):
            out, _, _ = torch._VF.lstm(x, (zero, zero), weights, True, 1, 0.0, torch.is_grad_enabled(), False, True)
        return out


class LSTM(nn.Module):
    """The model of a config. Dropout is on what enters and on what is added to the residual stream."""

    compiles = False  # torch.compile would unroll the recurrence into a step for each position

    def __init__(self, config: ModelConfig):
        super().__init__()
        self.config = config
        self.token_embedding = Embedding(config.n_vocab, config.d_model)
        self.layers = [Layer(config) for _ in range(config.n_layer)]
        for i, layer in enumerate(self.layers):
            self.add_module(f"layer{i}", layer)
        self.norm = nn.LayerNorm(config.d_model)
        draw_weights(self)
        for layer in self.layers:
            _, forget, _, _ = layer.gates["bias"].detach().chunk(4)
            forget.fill_(FORGET_BIAS)
        # cuDNN wants the weights of a layer side by side and copies them where they are not: a few microseconds here.
        warnings.filterwarnings("ignore", message="RNN module weights are not part of single contiguous chunk")

    def forward(self, tokens: Tensor) -> Tensor:
        """Return the hidden state (B, T, C) at each of the tokens (B, T)."""
        x = self.drop(self.token_embedding(tokens))  # (B, T, C)
        for layer in self.layers:
            x = x + self.drop(layer(x))
        return self.norm(x)

    def drop(self, x: Tensor) -> Tensor:
        """Apply dropout, in training alone."""
        return F.dropout(x, self.config.dropout, self.training)
