"""What a run recorded of the weights that would ship: values, the stage of each, and why one is missing."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

import pyarrow as pa
import pyarrow.compute as pc

from fitgate.gate._threshold import LIGHTNING_SUFFIX
from fitgate.store import Run
from fitgate.store._fit_points import of_fits

__all__ = ["Recorded", "last_recorded", "latest_step", "recorded_at"]

_COLUMNS = ("attempt", "stage", "name", "step", "global_step", "wall_time", "value")


@dataclass(frozen=True)
class Recorded:
    """The values at one `global_step`.

    Attributes:
        values: by name. Of a metric that the run validates it is a validation's, or there is none: what the training batches
            said of the same name is another thing.
        missing: of what the run validates and didn't at this step, why there is no value.
        trained: the names whose value comes from training.
        times: by name, how often a validation recorded it at this step in the last attempt: more often than it
            validated there means at each batch.
    """

    values: dict[str, float]
    missing: dict[str, str] = field(default_factory=dict)
    trained: frozenset[str] = frozenset()
    times: dict[str, int] = field(default_factory=dict)


def recorded_at(run: Run, global_step: int) -> Recorded:
    """What the fits of a run recorded at a `global_step`; of several values of one name the latest stands.

    A `trainer.validate` after a fit, of whatever weights, is left out.
    """
    table = run.metrics(columns=_COLUMNS).filter(of_fits(run.info))
    validated = table.filter(pc.field("stage") == "validate")
    steps = _steps(validated)
    rows = table.filter(pc.field("global_step") == global_step).sort_by([("wall_time", "ascending"), ("step", "ascending")]).to_pylist()
    of_validation = [row for row in rows if row["stage"] == "validate"]
    values = {row["name"]: row["value"] for row in of_validation}
    elsewhere = {LIGHTNING_SUFFIX.sub("", name) for name in steps} - steps.keys()
    trained = {row["name"]: row["value"] for row in rows if row["stage"] == "train" and row["name"] not in steps}
    last = max((row["attempt"] for row in of_validation), default=0)
    times: dict[str, int] = {}
    for row in of_validation:
        times[row["name"]] = times.get(row["name"], 0) + (row["attempt"] == last)
    return Recorded(
        values={**{name: value for name, value in trained.items() if name not in elsewhere}, **values},
        missing={
            **{name: _not_validated(at, global_step, any_there=bool(values)) for name, at in steps.items() if name not in values},
            **{name: _validated_as(name, steps) for name in elsewhere},
        },
        trained=frozenset(trained.keys() - elsewhere),
        times=times,
    )


def last_recorded(run: Run) -> Recorded:
    """The last value of each metric, where no checkpoint says which one counts."""
    return Recorded({name: value for (_, name), value in run.last_values().items()})


def latest_step(run: Run) -> int | None:
    """The latest `global_step` at which the run validated; of any point where it never did; None where there is none."""
    table = run.metrics(columns=["stage", "global_step"])
    validated = table.filter(pc.field("stage") == "validate")
    found: int | None = pc.max((validated if validated.num_rows else table)["global_step"]).as_py()
    return found


def _steps(validated: pa.Table) -> dict[str, list[int]]:
    """By name, the `global_step`s at which a validation recorded it, in order."""
    found: dict[str, list[int]] = {}
    for row in validated.group_by(["name", "global_step"]).aggregate([]).sort_by("global_step").to_pylist():
        found.setdefault(str(row["name"]), []).append(row["global_step"])
    return found


def _not_validated(steps: list[int], global_step: int, *, any_there: bool) -> str:
    near = [*[step for step in steps if step < global_step][-1:], *[step for step in steps if step > global_step][:1]]
    what = f"the validation at step {global_step} did not log it" if any_there else f"no validation at step {global_step}"
    where = f"are at steps {near[0]} and {near[1]}" if len(near) > 1 else f"is at step {near[0]}"
    return f"{what}; the nearest {'with it ' if any_there else ''}{where}"


def _validated_as(name: str, steps: Iterable[str]) -> str:
    """Of what is validated under another name, such as that of one of several loaders."""
    names = sorted(other for other in steps if LIGHTNING_SUFFIX.sub("", other) == name)
    return f"it is validated as {', '.join(names)}, and a value of the training batches does not stand for it"
