"""What a reader of a deploy should know of the training behind it."""

from __future__ import annotations

from fitgate.diagnosis._names import is_loss_like, on_validation_data
from fitgate.diagnosis._read import curves_of
from fitgate.diagnosis.rules._non_finite import non_finite
from fitgate.store import Run

__all__ = ["training_warnings"]

_MOST_NAMES = 3


def training_warnings(run: Run, judged_step: int | None) -> tuple[str, ...]:
    """A sentence where a training loss was no number at some step: the judged weights may be sound, and the training was not.

    Args:
        run: from any store; only its training losses are read.
        judged_step: the `global_step` of the weights that were judged; None when it is not known.

    Raises:
        StoreError: a file of the run is damaged.

    Example:
        >>> import tempfile, fitgate
        >>> root = tempfile.mkdtemp()
        >>> with fitgate.start_run(root, tensorboard=False) as run:
        ...     for step, loss in enumerate([2.3, 1.9, float("nan"), 1.5]):
        ...         run.log_metric("loss", loss, step)
        >>> training_warnings(fitgate.Store(root).latest(), 1)
        ('in training, 1 of 4 values of loss was NaN or infinite, the first at step 2, after the judged step 1',)
    """
    names = [name for _, name in run.last_values(stage="train") if is_loss_like(name) and not on_validation_data(name, "train")]
    bad = non_finite(curves_of(run.metrics(names, "train")).values()) if names else []
    if not bad:
        return ()
    first, *others = bad
    step = int(first.global_step[first.bad[0]])
    when = "" if judged_step is None else f", {'after' if step > judged_step else 'on the way to'} the judged step {judged_step}"
    more = f"; so were some of {', '.join(c.name for c in others[:_MOST_NAMES])}" if others else ""
    if len(others) > _MOST_NAMES:
        more += f" and {len(others) - _MOST_NAMES} more"
    often = f"{len(first.bad)} of {len(first)} values of {first.name} {'was' if len(first.bad) == 1 else 'were'}"
    return (f"in training, {often} NaN or infinite, the first at step {step}{when}{more}",)
