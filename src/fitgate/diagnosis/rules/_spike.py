"""A training loss that jumps."""

from __future__ import annotations

import numpy as np

from fitgate.diagnosis._evidence import Evidence, Floats, Ints
from fitgate.diagnosis._finding import NOT_ENOUGH, Finding, Outcome, Rule
from fitgate.diagnosis._pairs import train_loss
from fitgate.diagnosis._smooth import number

__all__ = ["RULE"]

WINDOW = 10
TIMES = 2.0
LEAST_POINTS = 30
SHARE_OF_START = 0.5
"""A jump counts when it throws the loss back half the way to where the run began: near zero, batches differ by more than twice."""
RECENT = 100
DEVIATIONS = 5.0
"""It must also stand out by so many standard deviations of the logarithm of so many values before: losses of small batches are skewed."""
MANY = 3
OFTEN = 0.001


def look(evidence: Evidence) -> Outcome:
    """Compare each value of the training loss with the mean of the ten before it.

    Default and source: not an improvement, and |loss - mean of 10| at least twice that mean (Lightning, SpikeDetection, whose
    mean leaves earlier spikes out; here values within ten steps of each other are one spike). Beside that it must reach
    half of the loss at the start, and stand out by 5 standard deviations of the logarithm of the 100 before. A spike from which
    the loss came back is a hint; one that stays is a problem, and so are three, or one in a thousand steps of a long run.
    Least evidence: 30 values of the training loss.
    """
    curve = train_loss(evidence)
    if curve is None or len(curve) < LEAST_POINTS:
        return NOT_ENOUGH
    values = curve.value
    spikes = _spikes(values)
    if not len(spikes):
        return []
    largest = int(spikes[np.argmax(values[spikes])])
    before = float(values[largest - WINDOW : largest].mean())
    last = int(spikes[-1])
    rest = values[last + WINDOW :]
    stays = len(rest) >= WINDOW and float(np.median(rest)) >= TIMES * float(values[last - WINDOW : last].mean())
    steps = curve.global_step[spikes].tolist()
    count = len(spikes)
    how_often = "once" if count == 1 else f"{count} times"
    return [
        Finding(
            rule=RULE.name,
            severity="problem" if stays or count >= max(MANY, OFTEN * len(curve)) else "hint",
            steps=(steps[0], steps[-1]),
            evidence={
                "metric": curve.name,
                "stage": curve.stage,
                "count": count,
                "spike_steps": steps[:20],
                "largest": float(values[largest]),
                "largest_step": int(curve.global_step[largest]),
                "mean_before": before,
                "times": float(values[largest]) / before if before else None,
                "came_back": not stays,
            },
            summary=f"{curve.name} jumped {how_often}, from about {number(before)} to {number(float(values[largest]))} at step {int(curve.global_step[largest])}"
            + (", and did not come back." if stays else "."),
            try_=("Clip gradients: Trainer(gradient_clip_val=1.0)", "Look at the batches of those steps, or lower the learning rate"),
        )
    ]


def _spikes(values: Floats) -> Ints:
    """The first index of each spike."""
    total = np.concatenate([[0.0], np.cumsum(values)])
    at = np.arange(WINDOW, len(values))
    mean = (total[at] - total[at - WINDOW]) / WINDOW
    now, one_before = values[at], values[at - 1]
    start = float(values[:WINDOW].mean())
    jumps = at[(now > one_before) & (np.abs(now - mean) >= TIMES * np.abs(mean)) & (now >= SHARE_OF_START * start)]
    found: list[int] = []
    ordinary = np.ones(len(values), dtype=np.bool_)
    for index in jumps.tolist():
        if found and index - found[-1] <= WINDOW:
            continue
        recent = values[max(0, index - RECENT) : index][ordinary[max(0, index - RECENT) : index]]
        if _stands_out(float(values[index]), recent):
            found.append(index)
            ordinary[index : index + WINDOW + 1] = False
    return np.array(found, dtype=np.int64)


def _stands_out(value: float, recent: Floats) -> bool:
    if recent.min(initial=np.inf) <= 0:
        return value > float(recent.mean() + DEVIATIONS * recent.std())
    logs = np.log(recent)
    return bool(np.log(value) > logs.mean() + DEVIATIONS * logs.std())


RULE = Rule(name="spike", look=look)
