"""Which metric runs are compared by when nobody says, and which way is better."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Sequence

from fitgate.compare._errors import ComparisonError
from fitgate.compare._record import MODES, Mode, RunFacts
from fitgate.compare._words import counted
from fitgate.diagnosis._names import better_high_by_name, on_validation_data
from fitgate.gate import Threshold, nearest_names

__all__ = ["STAGES", "choose_metric", "choose_mode", "choose_stage", "no_such_metric"]

STAGES = ("validate", "test", "train")
"""Of one name in several stages, the one compared: never train where there is a validation."""
Names = Sequence[set[tuple[str, str]]]


def choose_metric(facts: Sequence[RunFacts], names_of_runs: Callable[[], Names]) -> tuple[str, str]:
    """The metric that most runs are gated on, else what most checkpoints monitor, else a validation accuracy, else what is most common.

    Args:
        facts: of the runs.
        names_of_runs: reads each run's (stage, name)s; called only when the facts don't tell.

    Returns:
        The metric, and why it is this one.

    Raises:
        ComparisonError: no run has any metric.
    """
    of_runs = f"of {len(facts)} runs" if len(facts) > 1 else "run"
    gated, count = _most_common(metric for f in facts for metric in f.gated)
    if gated:
        return gated, f"{count} {of_runs} {'is' if count == 1 else 'are'} gated on it"
    monitored, count = _most_common(f.monitor for f in facts if f.monitor)
    if monitored:
        return monitored, f"the checkpoints of {count} {of_runs} {'was' if count == 1 else 'were'} chosen by it"
    recorded = [sorted(names) for names in names_of_runs()]
    validation = [[name for stage, name in names if stage != "test" and on_validation_data(name, stage)] for names in recorded]
    accuracy, count = _most_common(name for names in validation for name in dict.fromkeys(names) if _is_accuracy(name))
    if accuracy:
        return accuracy, f"the accuracy on validation data, recorded by {count} {of_runs}"
    for names, what in ((validation, "validation metric"), ([[name for _, name in n] for n in recorded], "metric")):
        metric, count = _most_common(name for of_run in names for name in sorted(set(of_run), key=_losses_first))
        if metric:
            return metric, f"the most common {what}, recorded by {count} {of_runs}"
    message = "none of the runs has recorded a metric yet"
    raise ComparisonError(message)


def choose_mode(metric: str, facts: Sequence[RunFacts], asked: str = "auto") -> tuple[Mode, str]:
    """Whether greater is better, and how that is known: thresholds first, then checkpoint monitors, then the name.

    Raises:
        ComparisonError: runs contradict each other, or `asked` is none of min, max, auto.

    Example:
        >>> choose_mode("val_loss", [])
        ('min', 'by its name: low for "loss" and "error", else high')
        >>> choose_mode("f1", [])
        ('max', 'by its name: low for "loss" and "error", else high')
    """
    for mode in MODES:
        if asked == mode:
            return mode, "as asked"
    if asked != "auto":
        message = f"mode must be 'min', 'max' or 'auto', got {asked!r}"
        raise ComparisonError(message)
    for what, said in (("threshold", _by_thresholds(metric, facts)), ("checkpoint", _by_monitors(metric, facts))):
        if len({mode for mode, _ in said}) > 1:
            low, high = (next(why for m, why in said if m == mode) for mode in ("min", "max"))
            message = f"whether {metric!r} is better low or high can't be told: low by {low}, high by {high}; give mode 'min' or 'max'"
            raise ComparisonError(message)
        if said:
            mode, why = said[0]
            return mode, f"by {why}" + (f" and {counted(len(said) - 1, f'more {what}')}" if len(said) > 1 else "")
    return MODES[better_high_by_name(metric)], 'by its name: low for "loss" and "error", else high'


def choose_stage(stages: Iterable[str]) -> str:
    """Of the stages that hold the metric, the one to compare.

    Example:
        >>> choose_stage(["train", "validate"])
        'validate'
    """
    return min(stages, key=lambda stage: STAGES.index(stage) if stage in STAGES else len(STAGES))


def no_such_metric(metric: str, names: Names) -> ComparisonError:
    """The error for a metric that no run has, with the nearest names."""
    known = sorted({name for of_run in names for _, name in of_run})
    near = nearest_names(metric, known)
    hint = f"did you mean {' or '.join(near)}?" if near else f"recorded are: {', '.join(known) or 'none at all'}"
    return ComparisonError(f"no run has recorded {metric!r}; {hint}")


def _by_thresholds(metric: str, facts: Sequence[RunFacts]) -> list[tuple[Mode, str]]:
    return [(mode, f'the threshold "{f.thresholds[metric]}" of {f.id}') for f in facts if (mode := f.modes.get(metric))]


def _by_monitors(metric: str, facts: Sequence[RunFacts]) -> list[tuple[Mode, str]]:
    return [
        (f.monitor_mode, f"the checkpoint's mode={f.monitor_mode!r} of {f.id}") for f in facts if f.monitor == metric and f.monitor_mode
    ]


def _most_common(names: Iterable[str]) -> tuple[str | None, int]:
    """Of equally common ones, the first met."""
    return next(iter(Counter(names).most_common(1)), (None, 0))


def _is_accuracy(name: str) -> bool:
    return Threshold(name, ">=", 0.0).bound_kind == "proportion"


def _losses_first(name: str) -> tuple[bool, str]:
    return "loss" not in name.lower(), name
