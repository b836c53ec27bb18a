"""Whether the weights at the end of fit are the ones that were validated."""

from __future__ import annotations

import torch
from torchmetrics import Metric

from fitgate_callbacks._lightning import LightningModule, Trainer

__all__ = ["ValidatedWeights"]

_WORDS = {1: torch.uint8, 2: torch.int16, 4: torch.int32, 8: torch.int64}


class ValidatedWeights:
    """Two sums of the bits of each tensor, taken when a validation's first batch comes and compared at the end of fit.

    By then every callback has put the weights in place that are to be validated, such as an average. The sums are whole
    numbers, so that they are the same on each device, and stay on theirs: nothing waits for it while the fit runs.
    """

    def __init__(self) -> None:
        self.forget()

    def forget(self) -> None:
        """Another fit begins."""
        self._step: int | None = None
        self._names: tuple[str, ...] = ()
        self._sums: list[torch.Tensor] = []

    def see(self, trainer: Trainer, module: LightningModule) -> None:
        """Remember the weights as they are now."""
        self._step = trainer.global_step
        self._names, self._sums = _sums(module)

    def changed(self, trainer: Trainer, module: LightningModule) -> str | None:
        """In words, what is not as it was validated; None where all is, or where nothing was validated at this step."""
        if self._step != trainer.global_step:
            return None
        names, sums = _sums(module)
        before = {name: each.tolist() for name, each in zip(self._names, self._sums, strict=True)}
        now = {name: each.tolist() for name, each in zip(names, sums, strict=True)}
        differing = [name for name in {**before, **now} if before.get(name) != now.get(name)]
        if not differing:
            return None
        return (
            f"{len(differing)} of {len({**before, **now})} tensors, {differing[0]} first, are not what was validated at step {self._step}: "
            "something changed them afterwards, as StochasticWeightAveraging does when training ends; let a ModelCheckpoint keep "
            "what is validated, or average with WeightAveraging, which validates the average"
        )


@torch.no_grad()
def _sums(module: LightningModule) -> tuple[tuple[str, ...], list[torch.Tensor]]:
    """Of each tensor that ships: the sum of its bits as whole numbers, and that of every second one."""
    # What a metric has counted may be kept with the weights, and moves with each validation.
    counters = tuple(f"{name}." for name, part in module.named_modules() if isinstance(part, Metric))
    state = {
        name: tensor
        for name, tensor in module.state_dict().items()
        if isinstance(tensor, torch.Tensor) and tensor.layout is torch.strided and not name.startswith(counters)
    }
    return tuple(state), [_bits(tensor) for tensor in state.values()]


def _bits(tensor: torch.Tensor) -> torch.Tensor:
    plain = torch.view_as_real(tensor) if tensor.is_complex() else tensor
    words = plain.view(_WORDS[plain.element_size()]).flatten()
    return torch.stack([words.sum(dtype=torch.int64), words[::2].sum(dtype=torch.int64)])
