"""Seed groups: runs with the same hyperparameters but the seed."""

from __future__ import annotations

import statistics
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import count, product
from string import ascii_uppercase
from typing import Any

import numpy as np

from fitgate.compare._hparams import canonical, differing_names, is_seed
from fitgate.compare._model import Group, MetricChoice, Row
from fitgate.compare._record import Curve
from fitgate.compare._thin import MOST_POINTS
from fitgate.compare._words import counted
from fitgate.report._text import value_text

__all__ = ["ENDED", "group_notes", "seed_groups"]

ENDED = ("completed", "deployed", "improve")
"""The states of a run that came to its end. What others reached is not what they would have reached."""


def seed_groups(rows: Sequence[Row], metric: MetricChoice) -> tuple[Group, ...]:
    """Group rows by their hyperparameters without seeds; only groups of two runs or more, best mean first.

    Runs without any hyperparameter are in no group: what isn't recorded can't be the same.

    Args:
        rows: all of a comparison.
        metric: which way is better.
    """
    by_hparams: dict[bytes, list[Row]] = defaultdict(list)
    for row in rows:
        if row.facts.hparams:
            by_hparams[canonical({k: v for k, v in row.facts.hparams.items() if not is_seed(k)})].append(row)
    grouped = [members for members in by_hparams.values() if len(members) > 1]
    named = [name for name in differing_names([members[0].facts.hparams for members in grouped]) if not is_seed(name)]
    groups = [_group(members, named) for members in grouped]
    groups.sort(key=lambda g: (g.mean is None, -metric.sign * (g.mean or 0.0), g.run_ids))
    return tuple(replace(group, letter=letter) for group, letter in zip(groups, _letters(), strict=False))


def group_notes(rows: Sequence[Row]) -> tuple[str, ...]:
    """Why runs that a reader might expect in a group are in none."""
    without = sum(not row.facts.hparams for row in rows)
    if without < 2:  # noqa: PLR2004 - one run makes no group anyway
        return ()
    return (f"{counted(without, 'run')} recorded no hyperparameters, so they form no seed group: what isn't recorded can't be the same",)


def _group(members: Sequence[Row], named: Sequence[str]) -> Group:
    first = members[0].facts
    hparams = {name: first.hparams[name] for name in named if name in first.hparams}
    left_out = {row.facts.id: why for row in members if (why := _why_left_out(row))}
    counted_rows = [row for row in members if row.facts.id not in left_out]
    by_seed: dict[object, list[float]] = defaultdict(list)
    for row in counted_rows:
        if row.best is not None:
            by_seed[_seed_of(row)].append(row.best.value)
    values = sorted(statistics.fmean(same) for same in by_seed.values())
    return Group(
        letter="",
        label=_label(hparams, named) or _common_name(members),
        hparams=hparams,
        run_ids=tuple(row.facts.id for row in members),
        values=tuple(values),
        mean=statistics.fmean(values) if values else None,
        sd=statistics.stdev(values) if len(values) > 1 else None,
        left_out=left_out,
        diverged=tuple(row.facts.id for row in counted_rows if row.best is None),
        curve=_band([row.series.curve for row in counted_rows if row.series is not None and row.best is not None]),
    )


def _why_left_out(row: Row) -> str | None:
    if row.points.problem is not None:
        return row.points.problem
    if row.facts.state not in ENDED:
        return row.facts.state
    return row.problem if row.series is None else None


def _seed_of(row: Row) -> object:
    seeds = {name: value for name, value in row.facts.hparams.items() if is_seed(name)}
    if row.facts.seed is not None:
        seeds[""] = row.facts.seed
    # Runs whose seed nobody recorded were most likely drawn anew each time.
    return canonical(seeds) if any(value is not None for value in seeds.values()) else row.facts.id


def _label(hparams: Mapping[str, Any], named: Sequence[str]) -> str:
    return ", ".join(f"{name}={value_text(hparams[name])}" if name in hparams else f"no {name}" for name in named)


def _common_name(members: Sequence[Row]) -> str:
    names = {row.facts.name for row in members}
    return names.pop() if len(names) == 1 else "all the same"


def _band(curves: Sequence[Curve]) -> Curve | None:
    """Mean, lowest and highest over the steps that all curves reach."""
    finite = [(c.steps[np.isfinite(c.values)], c.values[np.isfinite(c.values)]) for c in curves]
    if len(finite) < 2:  # noqa: PLR2004 - one run is no band
        return None
    start, stop = max(steps[0] for steps, _ in finite), min(steps[-1] for steps, _ in finite)
    if stop < start:
        return None
    grid = np.unique(np.concatenate([steps for steps, _ in finite]))
    grid = grid[(grid >= start) & (grid <= stop)]
    if len(grid) > MOST_POINTS:
        grid = np.linspace(start, stop, MOST_POINTS)
    values = np.stack([np.interp(grid, steps, values) for steps, values in finite])
    return Curve(steps=grid, values=values.mean(axis=0), low=values.min(axis=0), high=values.max(axis=0))


def _letters() -> Iterator[str]:
    """A to Z, then AA, AB and so on."""
    return ("".join(letters) for length in count(1) for letters in product(ascii_uppercase, repeat=length))
