"""Where a metric is going: saturating curves fitted to it, and an interval for where they level off.

Two shapes, since nobody knows the true one: `a - b·x^-c`, which levels off late, and `a - b·exp(-c·x)`, which does soon.
Given `c` both are linear in `a` and `b`, so a search over `c` with exact least squares in between finds the
best fit without a start value or a local minimum. The interval is a bootstrap of the residuals over both shapes.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from fitgate.diagnosis._evidence import Floats

__all__ = ["Saturation", "fit_saturation"]

_POWERS = np.geomspace(0.02, 4.0, 120)
_RATES = np.geomspace(0.05, 60.0, 160)
"""Per length of the run: from a straight line over the run to done in its first twentieth."""
_BOOTSTRAPS = 200
_SEED = 20261123
_MOST_POINTS = 200
_EXPLAINED = 0.6
"""A fit that explains less of the variance than this says nothing."""
_HORIZON = 100.0


@dataclass(frozen=True, kw_only=True)
class Saturation:
    """A fitted curve.

    Attributes:
        level: where it levels off.
        level_low, level_high: the 5th and the 95th percentile of that.
        explained: the share of the values' variance that the fit explains, up to 1.
        crossing: x at which it is expected to reach the asked value; None when it never does within 100 times its length.
        crossing_low, crossing_high: the 5th and the 95th percentile of that; `crossing_high` is None when more than
            one in twenty never reaches it.
    """

    level: float
    level_low: float
    level_high: float
    explained: float
    crossing: float | None
    crossing_low: float | None
    crossing_high: float | None


def fit_saturation(x: Floats, y: Floats, *, better_high: bool, required: float) -> Saturation | None:
    """Fit a metric's values.

    Args:
        x: positive and rising, such as steps. Shape (n,).
        y: the metric there. Shape (n,).
        better_high: whether the metric rises as it gets better.
        required: the value asked for.

    Returns:
        None where no rising curve explains the values.

    Example:
        >>> x = np.arange(1.0, 31.0)
        >>> fit = fit_saturation(x, 0.9 - 0.5 * np.exp(-x / 5), better_high=True, required=0.85)
        >>> round(fit.level, 3), round(fit.crossing, 1)
        (0.9, 11.5)
    """
    sign = 1.0 if better_high else -1.0
    if len(x) > _MOST_POINTS:
        parts = np.array_split(np.arange(len(x)), _MOST_POINTS)
        x, y = (np.array([v[p].mean() for p in parts]) for v in (x, y))
    scaled, target = x / x[-1], sign * y
    fits = [_fit(shape, scaled, target[:, None]) for shape in (_power_shape, _exponential_shape)]
    total = float(((target - target.mean()) ** 2).sum())
    best = min(range(len(fits)), key=lambda i: float(fits[i].error[0]))
    explained = 1.0 - float(fits[best].error[0]) / total if total > 0 else 0.0
    if explained < _EXPLAINED:
        return None
    # Each shape that explains the values about as well has a say: the interval covers not knowing which is true.
    able = [i for i in range(len(fits)) if fits[i].error[0] <= 1.5 * fits[best].error[0] + 1e-12 * total]
    rng = np.random.default_rng(_SEED)
    levels, crossings = [], []
    for i in able:
        fitted = fits[i].at(scaled)[:, 0]
        # Three parameters are fitted: the residuals are a little smaller than the noise.
        residuals = (target - fitted) * np.sqrt(len(x) / max(len(x) - 3, 1))
        again = _fit(fits[i].shape, scaled, fitted[:, None] + rng.choice(residuals, size=(len(x), _BOOTSTRAPS)))
        levels.append(again.level)
        crossings.append(again.crossing(sign * required))
    level = np.sort(sign * np.concatenate(levels))
    low, high = np.percentile(level, [5, 95])
    crossing = np.concatenate(crossings)
    ends = np.quantile(crossing, [0.05, 0.95], method="nearest")
    expected = float(fits[best].crossing(np.array(sign * required))[0])
    return Saturation(
        level=float(sign * fits[best].level[0]),
        level_low=float(low),
        level_high=float(high),
        explained=explained,
        crossing=expected * float(x[-1]) if np.isfinite(expected) else None,
        crossing_low=float(ends[0]) * float(x[-1]) if np.isfinite(ends[0]) else None,
        crossing_high=float(ends[1]) * float(x[-1]) if np.isfinite(ends[1]) else None,
    )


def _power_shape(x: Floats, c: Floats | float) -> Floats:
    return np.asarray(np.power(x, -c))


def _exponential_shape(x: Floats, c: Floats | float) -> Floats:
    return np.asarray(np.exp(-c * x))


@dataclass(frozen=True, eq=False)
class _Fit:
    """`level - scale·shape(x, c)` for each column of values. Shapes (columns,)."""

    shape: object
    level: Floats
    scale: Floats
    c: Floats
    error: Floats

    def at(self, x: Floats) -> Floats:
        """Values at x. Shape (n, columns)."""
        return np.asarray(self.level - self.scale * _call(self.shape, x[:, None], self.c[None, :]))

    def crossing(self, value: Floats | float) -> Floats:
        """Where each curve reaches `value`; infinity where it never does. Shape (columns,)."""
        with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
            left = (self.level - value) / self.scale
            where = np.power(left, -1 / self.c) if self.shape is _power_shape else -np.log(left) / self.c
        return np.where((left > 0) & (where <= _HORIZON), np.maximum(where, 0.0), np.inf)


def _call(shape: object, x: Floats, c: Floats | float) -> Floats:
    return _power_shape(x, c) if shape is _power_shape else _exponential_shape(x, c)


def _fit(shape: object, x: Floats, y: Floats) -> _Fit:
    """Least squares over all `c` at once for every column of `y`. Shape (n, columns)."""
    grid = _POWERS if shape is _power_shape else _RATES
    best: _Fit | None = None
    mean_y = y.mean(axis=0)
    for c in grid:
        basis = _call(shape, x, float(c))
        centred = basis - basis.mean()
        # y = level - scale·basis; a curve that falls is not one that gets better.
        scale = np.maximum(-(centred @ (y - mean_y)) / float(centred @ centred), 0.0)
        level = mean_y + scale * basis.mean()
        error = ((y - level + scale * basis[:, None]) ** 2).sum(axis=0)
        this = _Fit(shape, level, scale, np.full(y.shape[1], c), error)
        if best is None:
            best = this
            continue
        better = this.error < best.error
        best = _Fit(
            shape,
            *(
                np.where(better, new, old)
                for new, old in ((this.level, best.level), (this.scale, best.scale), (this.c, best.c), (this.error, best.error))
            ),
        )
    assert best is not None
    return best
