"""The logged learning rate against when the training loss turned."""

from __future__ import annotations

import numpy as np

from fitgate.diagnosis._evidence import Curve, Evidence, Floats
from fitgate.diagnosis._finding import NOT_ENOUGH, Finding, Outcome, Rule
from fitgate.diagnosis._names import is_learning_rate
from fitgate.diagnosis._pairs import train_loss
from fitgate.diagnosis._smooth import number, window_error, window_means

__all__ = ["RULE"]

LEAST_LOSSES = 60
LEAST_RATES = 3
WINDOWS = 20
TURNED = 0.2
"""The loss turned when it gave back a fifth of what it had gained."""
LEAST_GAINED = 0.1
"""What gained less than a tenth never got going: another rule's."""
ERRORS = 3
"""The lowest of twenty means lies a little lower by chance alone: what is given back shows beyond three standard errors."""
HIGH = 0.9
CUT = 0.5
BEFORE = 5
STALLED = 0.1
FELL = 0.25


def look(evidence: Evidence) -> Outcome:
    """Look for a loss that turned while the rate was high, and for one that only fell once the rate was cut.

    Source: the Deep Learning Tuning Playbook (instability shows as a loss that turns at high rates, warm-up and a lower
    peak mend it), which gives no numbers: a turn gives back a fifth of the gain, the rate being at its highest so far (90 %);
    a cut halves the highest rate within a tenth of the run, after a quarter of the run that gained less than 10 % and before one that gained 25 %.
    Least evidence: a learning rate (LearningRateMonitor's `lr-*`) at 3 steps, and 60 values of the training loss.
    """
    rates = [c.finite for (stage, name), c in sorted(evidence.curves.items()) if stage == "train" and is_learning_rate(name)]
    rate = max(rates, key=len, default=None)
    loss = train_loss(evidence)
    if rate is None or len(rate) < LEAST_RATES or loss is None or len(loss) < LEAST_LOSSES:
        return NOT_ENOUGH
    means = window_means(loss.value, WINDOWS)
    middles = np.array([int(part[len(part) // 2]) for part in np.array_split(loss.global_step, WINDOWS)])
    at = np.interp(middles, rate.global_step, rate.value)
    found = _turned(loss, rate, means, middles, at) or _cut(loss, rate, means, middles, at)
    return [found] if found else []


def _turned(loss: Curve, rate: Curve, means: Floats, middles: Floats, at: Floats) -> Finding | None:
    # Only while the loss still stands high after the turn: a spike is another rule's.
    lowest = int(np.argmin(means))
    gained = max(float(means[: lowest + 1].max() - means[lowest]), 0.0)
    later = means[lowest + 1 :]
    if len(later) < 2 or gained <= 0:  # noqa: PLR2004 - one window may be chance
        return None
    given_back = float(np.median(later) - means[lowest])
    high = float(at[: lowest + 1].max())
    if given_back < ERRORS * window_error(loss.value, WINDOWS):
        return None
    if gained < LEAST_GAINED * abs(means[0]) or given_back < TURNED * gained or at[lowest] < HIGH * high:
        return None
    step, end = int(middles[lowest]), int(loss.global_step[-1])
    return Finding(
        rule=RULE.name,
        severity="problem",
        steps=(step, end),
        evidence=_evidence(loss, rate)
        | {
            "turned_step": step,
            "rate_there": float(at[lowest]),
            "rate_highest": float(at.max()),
            "gained": gained,
            "given_back": given_back,
        },
        summary=f"{loss.name} turned at step {step}, with {rate.name} at {number(float(at[lowest]))}, and gave back {number(given_back)} of the {number(gained)} it had gained.",
        try_=("Lower the peak learning rate threefold", "A longer warm-up, or gradient_clip_val=1.0"),
    )


def _cut(loss: Curve, rate: Curve, means: Floats, middles: Floats, at: Floats) -> Finding | None:
    for index in range(BEFORE, len(means) - 2):
        cut = at[index + 1] <= CUT * at[index - 1] and at[index - 1] >= HIGH * at[: index + 1].max()
        before, after = means[index - BEFORE : index], float(means[index + 1 : index + 3].mean())
        stood = float(before[-2:].mean())
        if not cut or before[:2].mean() - stood > STALLED * abs(stood) or after > (1 - FELL) * stood or after > before.min():
            continue
        step = int(middles[index])
        return Finding(
            rule=RULE.name,
            severity="hint",
            steps=(int(middles[index - BEFORE]), int(middles[index + 2])),
            evidence=_evidence(loss, rate)
            | {
                "cut_step": step,
                "rate_before": float(at[index - 1]),
                "rate_after": float(at[index + 1]),
                "loss_before": stood,
                "loss_after": after,
            },
            summary=f"{loss.name} stood at {number(stood)} and fell to {number(after)} only when {rate.name} was cut, at step {step}.",
            try_=("Cut the learning rate earlier, or begin lower", "A schedule that decays all along, such as cosine"),
        )
    return None


def _evidence(loss: Curve, rate: Curve) -> dict[str, object]:
    return {"metric": loss.name, "stage": loss.stage, "rate": rate.name}


RULE = Rule(
    name="learning_rate",
    look=look,
    explains=("underfit", "slow_convergence", "out_of_reach", "within_reach", "noise", "ran_too_long", "overtraining"),
)
