"""Where a metric is going: saturating curves fitted to it, and an interval for where they level off.

Two shapes, since nobody knows the true one: `a - b·x^-c`, which levels off late, and `a - b·exp(-c·x)`, which does soon.
Given `c` both are linear in `a` and `b`, so a search over `c` with exact least squares in between finds the
best fit without a start value or a local minimum. The interval is a bootstrap of the residuals over both shapes.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from fitgate.diagnosis._evidence import Floats
from fitgate.diagnosis._smooth import scatter

__all__ = ["Saturation", "fit_saturation"]

_POWERS = np.geomspace(0.05, 4.0, 120)
_RATES = np.geomspace(0.1, 60.0, 160)
"""Per length of the run: from a straight line over the run to done in its first twentieth."""
_BOOTSTRAPS = 200
_SEED = 20261123
_MOST_POINTS = 200
_BENT = 0.35
"""What goes on at more than half of its pace has not begun to level off: where it will is anyone's guess."""
_LEFT_OVER = 1.5
_BEND = 0.04
"""What a fit leaves over may be so many times the noise, else it is not the shape of these values."""
_ABOUT_AS_WELL = 6.0
_MOST_AHEAD = 1000
_ANCHOR = 5
_HORIZON = 10.0
"""In lengths of the run. Under noise a curve that grows for ever can't be told from one that levels off; in ten times the steps both show."""


@dataclass(frozen=True, kw_only=True)
class Saturation:
    """A fitted curve.

    Attributes:
        level: what it comes to in ten times as many steps, where a curve that levels off has done so.
        level_low, level_high: the 5th and the 95th percentile of that.
        left_over: the standard deviation of what the fit does not explain, in the metric's unit.
        crossing: x of the first value that is expected to reach the asked one, noise included: the median of simulated
            runs that go on; None when half of them don't reach it within 10 times the length.
        crossing_low, crossing_high: the 5th and the 95th percentile of that; `crossing_high` is None when more than
            one in twenty never reaches it.
    """

    level: float
    level_low: float
    level_high: float
    left_over: float
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
        None where no such curve explains the values.

    Example:
        >>> x = np.arange(1.0, 31.0)
        >>> fit = fit_saturation(x, 0.9 - 0.5 * np.exp(-x / 5), better_high=True, required=0.85)
        >>> round(fit.level, 2)
        0.9
    """
    sign = 1.0 if better_high else -1.0
    if len(x) > _MOST_POINTS:
        parts = np.array_split(np.arange(len(x)), _MOST_POINTS)
        x, y = (np.array([v[p].mean() for p in parts]) for v in (x, y))
    scaled, target = x / x[-1], sign * y
    fits = [_fit(shape, scaled, target[:, None]) for shape in (_power_shape, _exponential_shape)]
    best = min(range(len(fits)), key=lambda i: float(fits[i].error[0]))
    # Three parameters are fitted.
    freedom = max(len(x) - 3, 1)
    left_over = math.sqrt(float(fits[best].error[0]) / freedom)
    if not _has_bent(scaled, target):
        return None
    if left_over > max(_LEFT_OVER * scatter(y), _BEND * float(np.ptp(y))):
        return None
    # Each shape that explains the values about as well has a say: the interval covers not knowing which is true.
    able = [i for i in range(len(fits)) if fits[i].error[0] <= _ABOUT_AS_WELL * fits[best].error[0]]
    rng = np.random.default_rng(_SEED)
    levels, crossings = [], []
    for i in able:
        fitted = fits[i].at(scaled)[:, 0]
        # Residuals are a little smaller than the noise that they are drawn for.
        residuals = (target - fitted) * math.sqrt(len(x) / freedom)
        again = _fit(fits[i].shape, scaled, fitted[:, None] + rng.choice(residuals, size=(len(x), _BOOTSTRAPS)))
        levels.append(again.at(np.array([_HORIZON]))[0])
        crossings.append(_first_passage(again, scaled, target, sign * required, rng))
    low, high = np.percentile(sign * np.concatenate(levels), [5, 95])
    passage = np.quantile(np.concatenate(crossings), [0.05, 0.5, 0.95], method="nearest") * x[-1]
    early, expected, late = (float(v) if np.isfinite(v) else None for v in passage)
    return Saturation(
        level=float(sign * fits[best].at(np.array([_HORIZON]))[0, 0]),
        level_low=float(low),
        level_high=float(high),
        left_over=left_over,
        crossing=expected,
        crossing_low=early,
        crossing_high=late,
    )


def _has_bent(x: Floats, y: Floats) -> bool:
    """Whether the second half's pace is well under the first's, or no more than noise."""
    first, second = (np.polyfit(x[part], y[part], 1)[0] for part in np.array_split(np.arange(len(x)), 2))
    half = x[len(x) // 2 :]
    error = scatter(y) / math.sqrt(float(((half - half.mean()) ** 2).sum()))
    return bool(second <= max(_BENT * first, 2 * error))


def _first_passage(fits: _Fit, x: Floats, y: Floats, required: float, rng: np.random.Generator) -> Floats:
    """Where each of the curves, going on from the last values with noise like theirs, first reaches `required`. Shape (columns,)."""
    spacing = (x[-1] - x[0]) / (len(x) - 1)
    ahead = x[-1] + spacing * np.arange(1, min(int((_HORIZON - 1) / spacing), _MOST_AHEAD) + 1)
    off = (y[-_ANCHOR:, None] - fits.at(x[-_ANCHOR:])).mean(axis=0)
    noise = scatter(y[len(y) // 2 :]) * rng.standard_normal((len(ahead), len(fits.level)))
    reached = fits.at(ahead) + off + noise >= required
    first = np.argmax(reached, axis=0)
    return np.where(reached.any(axis=0), ahead[first], np.inf)


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
