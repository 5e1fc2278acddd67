"""The LSTM language model that Kaplan et al. 2020 compare with the Transformer (section 3.2.1, Figure 7).

The paper gives no details. Here each of n_layer LSTM layers of width d_model adds its output to a residual stream and reads it
through a layer norm, as the Transformer's layers do, so that depth trains at the same learning rates; embeddings are tied and
there are no positions. A layer has the gates of Hochreiter and Schmidhuber 1997 and Gers et al. 2000, one bias a gate:

    i, f, o = sigmoid(W x_t + U h_{t-1} + b),  g = tanh(W x_t + U h_{t-1} + b),  c_t = f c_{t-1} + i g,  h_t = o tanh(c_t)
"""

from __future__ import annotations

import warnings

import torch
import torch.nn.functional as F
from torch import Tensor

from scalinglaws.models.count import Shape
from scalinglaws.models.flat import Model, Sizes

FORGET_BIAS = 1.0  # Jozefowicz et al. 2015: at zero, half of the state is forgotten at each token


def layout(shape: Shape) -> Sizes:
    """Name -> size of every parameter, matrices first. Rows of a layer's matrices are the gates i, f, g, o, d_model each."""
    d = shape.d_model
    matrices: Sizes = {"token_embedding": (shape.n_vocab, d)}
    vectors: Sizes = {}
    for i in range(shape.n_layer):
        matrices[f"layer{i}.input.weight"] = matrices[f"layer{i}.state.weight"] = (4 * d, d)
        vectors[f"layer{i}.gates.bias"] = (4 * d,)
        vectors[f"layer{i}.norm.weight"] = vectors[f"layer{i}.norm.bias"] = (d,)
    vectors["norm.weight"] = vectors["norm.bias"] = (d,)
    return {**matrices, **vectors}


class LSTM(Model):
    """State and memory start at zero in each sequence. Dropout is on what enters and what is added to the residual stream."""

    def __init__(self, shape: Shape, *, dropout: float = 0.0, seed: int = 0, precision: str = "float32", device: str = "cpu"):
        super().__init__(shape, layout(shape), dropout=dropout, seed=seed, precision=precision, device=device)
        for i in range(shape.n_layer):
            self.values[f"layer{i}.gates.bias"][shape.d_model : 2 * shape.d_model] = FORGET_BIAS
        # cuDNN wants the weights of a layer side by side and copies them where they are not: a few microseconds here.
        warnings.filterwarnings("ignore", message="RNN module weights are not part of single contiguous chunk")

    def hidden(self, tokens: Tensor) -> Tensor:
        """The last layer norm's output, (sequences, positions, d_model), of tokens (sequences, positions)."""
        x = self.drop(F.embedding(tokens, self.params["token_embedding"]))
        for i in range(self.shape.n_layer):
            x = x + self.drop(self._layer(self.norm(x, f"layer{i}.norm"), f"layer{i}."))
        return self.norm(x, "norm")

    def _layer(self, x: Tensor, at: str) -> Tensor:
        """States h_t of x (sequences, positions, d_model), by PyTorch's fused kernel: oneDNN on a CPU, cuDNN on a GPU.

        It has two biases, of which one is enough; and no bfloat16 on GPUs, so it stays in float32 there and here.
        """
        p, bias = self.params, self.params[at + "gates.bias"]
        weights = [p[at + "input.weight"], p[at + "state.weight"], bias, torch.zeros_like(bias)]
        zero = x.new_zeros(1, len(x), self.shape.d_model)
        with torch.autocast(x.device.type, enabled=False):
            out, _, _ = torch._VF.lstm(x, (zero, zero), weights, True, 1, 0.0, torch.is_grad_enabled(), False, True)
        return out

    def compile(self) -> None:
        """Nothing: torch.compile would unroll the recurrence into a step for each position."""
