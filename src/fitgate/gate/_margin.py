"""One number of a whole decision, for a tuner to maximise."""

from __future__ import annotations

import math

from fitgate.gate._decision import Check, Decision, beside_checks

__all__ = ["margin"]


def margin(decision: Decision) -> float:
    """The least relative margin of the checks that count: how far the decision is from turning.

    A check's relative margin is its margin over the size of its bound (over 1 where the bound is 0), so that checks in
    different units compare. Waived checks and those that only warn don't count.

    Returns:
        At least 0 for a deploy. Below 0 for an improve: the worst miss, which is the smallest float there is for a value
        that lies on a bound it must be beyond; -inf where a value is missing or not finite, or where the fit was not
        eligible to be judged at all.

    Example:
        >>> import fitgate
        >>> decision = fitgate.evaluate(["acc >= 0.8", "loss <= 0.5"], {"acc": 0.84, "loss": 0.55})
        >>> round(fitgate.margin(decision), 3)
        -0.1
    """
    if not isinstance(decision, Decision):
        message = f"margin takes a Decision, such as GateCallback.decision after the fit, got {type(decision).__name__}"
        raise TypeError(message)
    counting = [check for check in decision.checks if not check.waived and not check.threshold.warn]
    margins = [_relative(check) for check in counting]
    ineligible = beside_checks(decision.reasons, (check.reason for check in decision.checks))
    return -math.inf if ineligible else min(margins, default=-math.inf)


def _relative(check: Check) -> float:
    if check.margin is None or check.required is None:
        return -math.inf
    relative = check.margin / (abs(check.required) or 1.0)
    return relative if check.passed else min(relative, -math.ulp(0.0))
