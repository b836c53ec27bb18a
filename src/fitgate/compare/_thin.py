"""Long series as the few points that a picture can show."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from fitgate.compare._record import Curve

__all__ = ["MOST_POINTS", "one_value_a_step", "thin"]

MOST_POINTS = 300


def one_value_a_step(
    steps: npt.NDArray[np.int64], values: npt.NDArray[np.float64]
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.float64]]:
    """Ascending steps, each once: where several values stand at one, such as a validation's batches, the mean of the finite ones.

    Example:
        >>> one_value_a_step(np.array([4, 4, 8]), np.array([1.0, 3.0, 5.0]))[1].tolist()
        [2.0, 5.0]
    """
    if len(steps) < 2 or bool((steps[1:] > steps[:-1]).all()):  # noqa: PLR2004 - one point has no neighbour
        return steps, values
    found, place = np.unique(steps, return_inverse=True)
    finite = np.isfinite(values)
    counts = np.bincount(place[finite], minlength=len(found))
    sums = np.bincount(place[finite], weights=values[finite], minlength=len(found))
    return found, np.divide(sums, counts, out=np.full(len(found), np.nan), where=counts > 0)


def thin(steps: npt.NDArray[np.int64], values: npt.NDArray[np.float64], most: int = MOST_POINTS) -> Curve:
    """Every point, or of more than `most` the means of `most` equal stretches, each at its middle step.

    Non-finite values are left out of a mean; a stretch with no finite value is NaN.

    Example:
        >>> thin(np.arange(6), np.array([1.0, 3.0, 5.0, 5.0, np.nan, 7.0]), most=3).values.tolist()
        [2.0, 5.0, 7.0]
    """
    finite = np.isfinite(values)
    whole = bool(finite.all())
    if len(values) <= most:
        return Curve(steps=steps.astype(np.float64), values=values if whole else np.where(finite, values, np.nan))
    edges = np.linspace(0, len(values), most + 1).astype(np.int64)
    counts = np.diff(edges) if whole else np.add.reduceat(finite.astype(np.int64), edges[:-1])
    sums = np.add.reduceat(values if whole else np.where(finite, values, 0.0), edges[:-1])
    means = np.divide(sums, counts, out=np.full(most, np.nan), where=counts > 0)
    return Curve(steps=steps[(edges[:-1] + edges[1:]) // 2].astype(np.float64), values=means)
