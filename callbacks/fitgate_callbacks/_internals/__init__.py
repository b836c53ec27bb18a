"""The one place that knows Lightning's private paths.

What every logger of Lightning receives passes through three methods of the trainer's logger connector:
`update_train_step_metrics`, after each training batch and after every hook of it; `update_eval_step_metrics`,
likewise in validation and test; and `log_metrics`, for all else. `LoggerTap` wraps them on the trainer's own
connector while a fit runs. So names, steps and moments are Lightning's own, values logged by later callbacks
included, with no collective and, in the training step, no device sync. (Read from the source of 2.4 to 2.6.6.)
"""

from fitgate_callbacks._internals._epoch_sums import finished, running_sums
from fitgate_callbacks._internals._position import position_of
from fitgate_callbacks._internals._step_values import StepValues
from fitgate_callbacks._internals._tap import Listener, LoggerTap, end_of_fit_checkpoint, last_saved_steps, missing_path

__all__ = [
    "Listener",
    "LoggerTap",
    "StepValues",
    "end_of_fit_checkpoint",
    "finished",
    "last_saved_steps",
    "missing_path",
    "position_of",
    "running_sums",
]
