"""Whether a GPU gives the same bits each time, which costs speed, and which products of float32 it rounds.

A CPU gives the same bits for a number of threads, whatever is set here. On a GPU the gradient of attention and that of an
embedding add numbers in the order in which its blocks happen to finish, unless they are told not to. By default they are not:
two trainings of one run then differ by rounding, as those on two kinds of GPU do anyway, and timing.json says so. A profile with
``deterministic: true`` in its device has equal bits on equal GPUs.
"""

from __future__ import annotations

import os

import torch

ERROR = "does not have a deterministic implementation"  # the words of PyTorch's error about an operation


def set_deterministic(on: bool) -> None:
    """Let PyTorch refuse operations on a GPU whose bits may differ from one time to the next, or allow them.

    Where it refuses them, attention is computed by PyTorch's own kernels, which then have a gradient with an order. cuDNN's is
    left out, since nothing there asks for such a gradient. An operation that has none raises RuntimeError with ``ERROR`` in it.
    """
    if on:
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    torch.use_deterministic_algorithms(on)
    # Deterministic mode would also fill every new tensor with NaN.
    torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]
    torch.backends.cudnn.benchmark = False
    torch.backends.cuda.enable_cudnn_sdp(not on)


def set_products(precision: str) -> None:
    """Let a GPU compute products as exactly as a precision says.

    Parameters
    ----------
    precision
        float32: no factor of a product is rounded to the 10 bits of TF32, as those of cuDNN's LSTM are by default; bfloat16: such
        factors may be. The products of other operations are exact by default.
    """
    torch.backends.cudnn.allow_tf32 = precision != "float32"
