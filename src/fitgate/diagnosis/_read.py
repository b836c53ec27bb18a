"""From a stored run to the evidence that rules look at."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from fitgate.diagnosis._evidence import Curve, Evidence, Goal
from fitgate.diagnosis._names import loader_of
from fitgate.gate import Threshold, parse_thresholds
from fitgate.store import Run
from fitgate.store._arrow import numpy_of
from fitgate.store._fit_points import of_fits
from fitgate.store._run_file import FitFacts

__all__ = ["class_count", "curves_of", "goals_of", "goals_of_checks", "read_evidence"]

_STRICT = (">", "<")
_ENDED = ("completed", "deployed", "improve")
_CLASS_COUNTS = ("num_classes", "n_classes", "nb_classes", "num_labels", "n_labels", "classes", "class_names", "labels")


def read_evidence(
    run: Run, goals: Iterable[Goal] = (), *, points: pa.Table | None = None, classes: int | None = None, judged_step: int | None = None
) -> Evidence:
    """Read what is known of a run's fits: a validation or a test after one of them, of whatever weights, says nothing of its training.

    Args:
        run: from any store.
        goals: what it is judged by.
        points: all of its points, where they have been read; None reads them.
        classes: how many classes the targets have; None takes it from the hyperparameters, where it stands.
        judged_step: the `global_step` of the judged weights; None takes the checkpoint's, else the end of fit.

    Raises:
        StoreError: a file is damaged.
    """
    fit = run.info.fit
    checkpoint = fit.checkpoint if fit else None
    if judged_step is None and fit is not None:
        judged_step = checkpoint.global_step if checkpoint else fit.global_step
    modes = {checkpoint.monitor: checkpoint.mode == "max"} if checkpoint and checkpoint.monitor and checkpoint.mode else {}
    curves = curves_of((run.metrics() if points is None else points).filter(of_fits(run.info)))
    return Evidence(
        curves={key: _counted(curve, fit) for key, curve in curves.items()},
        hparams=run.hparams,
        goals=tuple(goals),
        classes=class_count(run.hparams) if classes is None else classes,
        judged_step=judged_step,
        ended=run.state in _ENDED and not (fit is not None and (fit.interrupted or fit.failed)),
        modes=modes,
    )


def curves_of(table: pa.Table) -> dict[tuple[str, str], Curve]:
    """Split a run's points into curves, by (stage, name).

    Args:
        table: as `Run.metrics` returns it, sorted by name, stage, step.
    """
    if not table.num_rows:
        return {}
    table = table.combine_chunks()
    names, stages = (_codes(table[column]) for column in ("name", "stage"))
    edges = np.flatnonzero((np.diff(names[1]) != 0) | (np.diff(stages[1]) != 0)) + 1
    columns = {column: numpy_of(table[column]) for column in ("step", "global_step", "epoch", "value")}
    curves = {}
    for start, stop in zip([0, *edges], [*edges, table.num_rows], strict=True):
        name, stage = names[0][names[1][start]], stages[0][stages[1][start]]
        part = {column: values[start:stop] for column, values in columns.items()}
        curves[stage, name] = Curve(
            stage=stage,
            name=name,
            step=part["step"],
            global_step=part["global_step"],
            epoch=part["epoch"].astype(np.int64),
            value=part["value"],
        )
    return curves


def goals_of(thresholds: Iterable[str | Threshold], champion: Mapping[str, float] | None = None) -> tuple[Goal, ...]:
    """Thresholds as numbers to reach.

    Raises:
        ThresholdError: one of them can't be read.

    Example:
        >>> goals_of(["val_acc >= 0.8"])
        (Goal(metric='val_acc', better_high=True, required=0.8, text='val_acc >= 0.8', strict=False, warn=False),)
    """
    given = [thresholds] if isinstance(thresholds, str | Threshold) else list(thresholds)
    goals = []
    for threshold in parse_thresholds(given) if given else ():
        required = threshold.value if isinstance(threshold.value, float) else None
        if required is None and not isinstance(threshold.value, float) and threshold.metric in (champion or {}):
            required = threshold.value.bound((champion or {})[threshold.metric])
        strict = threshold.op in _STRICT
        goals.append(
            Goal(
                metric=threshold.metric,
                better_high=threshold.better_high,
                required=required,
                text=str(threshold),
                strict=strict,
                warn=threshold.warn,
            )
        )
    return tuple(goals)


def goals_of_checks(checks: Iterable[Mapping[str, Any]]) -> tuple[Goal, ...]:
    """The checks of gate.json as numbers to reach; bounds relative to a champion are resolved there."""
    return tuple(
        Goal(
            metric=str(check["metric"]),
            better_high=check["op"] in (">=", ">"),
            required=None if check.get("required") is None else float(check["required"]),
            text=str(check["threshold"]),
            strict=check["op"] in _STRICT,
            warn=bool(check.get("warn")),
        )
        for check in checks
    )


def _counted(curve: Curve, fit: FitFacts | None) -> Curve:
    """A validation's curve with the number of its samples, where the fit validated on all of them and that is on record."""
    if fit is None or fit.validation is None or curve.stage != "validate" or repr(fit.limit_val_batches) != "1.0":
        return curve
    sizes, loader = fit.validation.sizes, loader_of(curve.name)
    if loader is None and len(sizes) != 1:
        return curve
    index = loader or 0
    return replace(curve, samples=sizes[index]) if index < len(sizes) else curve


def class_count(hparams: Mapping[str, Any]) -> int | None:
    """How many classes the hyperparameters speak of, by the usual names; None when they don't.

    Example:
        >>> class_count({"num_classes": 10}), class_count({"labels": ["cat", "dog"]}), class_count({"lr": 0.1})
        (10, 2, None)
    """
    for name in _CLASS_COUNTS:
        value = hparams.get(name)
        count = len(value) if isinstance(value, list) else value
        if isinstance(count, int) and not isinstance(count, bool) and count > 1:
            return count
    return None


def _codes(column: Any) -> tuple[list[str], Any]:  # noqa: ANN401 - the stubs lose the arrays' types
    """A column's distinct texts, and for each row which of them."""
    encoded: Any = pc.dictionary_encode(column).combine_chunks()
    encoded = encoded.chunk(0) if isinstance(encoded, pa.ChunkedArray) else encoded
    return encoded.dictionary.to_pylist(), numpy_of(encoded.indices)
