"""The gradient of a batch over all processes, micro-batch by micro-batch, and what is done where the GPU cannot make it so."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from scalinglaws.common.errors import StudyError
from scalinglaws.models import determinism
from scalinglaws.models.device import empty_cache
from scalinglaws.study.spec import RunSpec
from scalinglaws.train.compilation import NOT_ON_MPS, out_of_memory, reason_against
from scalinglaws.train.distributed import Processes
from scalinglaws.train.metrics import COMPILED, NOT_COMPILED


class Differentiated(Protocol):
    """What a gradient is asked of: a model (flat.py), or many of one shape (stack.py)."""

    module: nn.Module
    flat: Tensor
    grad: Tensor
    compiled: Callable[..., Tensor] | None

    def loss_in_parts(self) -> None: ...

    def compile(self) -> None: ...

    def stop_compiled(self) -> None: ...

    def backward(self, tokens: Tensor, targets: Tensor, weight: float = 1.0) -> Tensor: ...


class Gradient:
    """A function that sets ``model.grad`` to the gradient of the mean loss of a batch.

    Attributes
    ----------
    by_share
        Whether ``model.grad`` gets the sum over processes in the own share alone, as an optimizer that is ``by_share`` takes it.
    per_micro
        Contexts of a micro-batch: those of the spec, or fewer once the GPU's memory was too small for them.
    compiled
        For timing.json: whether the step is compiled, or why it is not. None on a CPU, where nothing is.
    """

    def __init__(self, model: Differentiated, spec: RunSpec, processes: Processes, device: str, by_share: bool = False):
        self.by_share = by_share
        self.model, self.spec, self.processes, self.device = model, spec, processes, device
        self.per_micro = spec.micro_contexts
        self.compiled: str | None = None
        # What holds the state of the generator from which dropout draws, where a gradient may have to be made a second time.
        self.random: Any = None
        if device != "cpu":
            model.loss_in_parts()
            if spec.dropout:
                self.random = {"cuda": torch.cuda, "mps": torch.mps}.get(model.flat.device.type, torch)

    def compile(self, steps: int) -> None:
        """Compile the step on a GPU, where that pays for so many steps and can be done; a reason why it cannot is told."""
        if self.device == "cpu":
            return
        self.compiled = NOT_ON_MPS if self.device == "mps" else reason_against(self.model.module, self.spec, steps) or COMPILED
        if self.compiled == COMPILED:
            # A process may train several runs, and the compiler gives up silently once it has code for eight of them.
            torch.compiler.reset()
            self.model.compile()
        elif self.compiled.startswith(NOT_COMPILED):
            self._tell(f"warning: training is not compiled: {self.compiled.removeprefix(NOT_COMPILED)}")

    def __call__(self, mine: Tensor, whole: int) -> list[Tensor]:
        """Set ``model.grad``, or its own share where ``by_share`` is set, to the gradient over all processes.

        Where a GPU's memory is too small for a micro-batch, halves of it are used from then on. Where the compiler fails in any
        other way, training goes on without compiled code.

        Parameters
        ----------
        mine
            This process's windows of the batch, (windows, n_ctx + 1) tokens, or (windows, E, n_ctx + 1) of E models.
        whole
            The number of windows of the whole batch.

        Returns
        -------
        list
            Losses (0-d, or (E,) of E models) of the micro-batches that add up to the mean loss in nats per token.

        Raises
        ------
        StudyError
            If a single window is too much for the GPU's memory, or if equal bits are asked for and the model has an operation
            that does not give them.
        """
        before = self.random.get_rng_state() if self.random else None
        while True:
            self.model.grad.zero_()
            try:
                parts = mine.split(self.per_micro) if len(mine) else ()
                losses = [self.model.backward(p[..., :-1], p[..., 1:], weight=len(p) / whole) for p in parts]
                break
            except Exception as error:  # the compiler's errors share no class
                self._mend(error, len(mine))
            if before is not None:
                self.random.set_rng_state(before)  # dropout begins again as it began
        if self.processes.count == 1:
            return losses
        if self.by_share:
            self.processes.reduce_scatter(self.model.grad)
        else:
            self.processes.add(self.model.grad)
        return [self.processes.add(sum(losses, start=self.model.flat.new_zeros(())))]

    def norm(self) -> Tensor:
        """Return the norm (0-d) of the gradient over all processes that was made last."""
        return self.processes.norm(self.model.grad) if self.by_share else torch.linalg.vector_norm(self.model.grad)

    def _mend(self, error: Exception, windows: int) -> None:
        """Change what made the gradient of so many windows fail. Raises the error, or StudyError, where nothing can be done."""
        if out_of_memory(error):
            self._halve(min(self.per_micro, windows))
        elif self.model.compiled is not None:
            self.model.stop_compiled()
            self.compiled = f"{NOT_COMPILED}{' '.join(repr(error).split())[:200]}"
            self._tell(f"warning: torch.compile failed, training goes on without it: {self.compiled.removeprefix(NOT_COMPILED)}")
        elif determinism.ERROR in str(error):
            raise StudyError(
                f"run {self.spec.id} cannot have equal bits on this GPU: {str(error).split(',')[0]}: set deterministic: false "
                "in the profile's device"
            ) from None
        else:
            raise error

    def _halve(self, tried: int) -> None:
        if tried <= 1:
            raise StudyError(f"one context of run {self.spec.id} is too much for this GPU's memory: it needs a larger one")
        self.per_micro = tried // 2
        empty_cache(self.device)
        self._tell(f"out of memory at micro-batches of {tried} contexts, going on with {self.per_micro}")

    def _tell(self, sentence: str) -> None:
        print(f"{self.spec.id}: {sentence}", file=sys.stderr)
