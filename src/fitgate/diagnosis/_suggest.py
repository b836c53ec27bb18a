"""Suggestions: what of the findings a program can act on, given the hyperparameters that the run has."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Literal

from fitgate.diagnosis._evidence import Evidence
from fitgate.diagnosis._finding import Finding, Suggestion
from fitgate.diagnosis._hparams import numbers_in
from fitgate.diagnosis._longer import is_longer_in_vain

__all__ = ["suggest"]

Kind = Literal["learning rate", "weight decay", "dropout", "size", "batch", "warm-up", "length"]

_KINDS: Mapping[Kind, re.Pattern[str]] = {
    "learning rate": re.compile(r"(?:max_|base_|init_|initial_|peak_)?(?:lr|learning_rate)"),
    "weight decay": re.compile(r"weight_decay|wd|l2|l2_penalty|l2_reg"),
    "dropout": re.compile(r"(?:\w+_)?dropout(?:_(?:p|rate|prob))?|drop_rate|drop_path(?:_rate)?"),
    "size": re.compile(r"width|depth|hidden|hidden_(?:size|dim|units|channels|features)|n_hidden|num_(?:layers|hidden)|n_layers|d_model|embed_dim"),
    "batch": re.compile(r"(?:train_)?batch(?:_size)?"),
    "warm-up": re.compile(r"(?:num_)?warmup(?:_steps|_epochs)?"),
    "length": re.compile(r"(?:max_|num_|n_)?epochs|(?:max_|num_)steps"),
}  # fmt: skip
_ALWAYS: Mapping[str, tuple[tuple[Kind, float], ...]] = {
    "non_finite": (("learning rate", 0.1), ("warm-up", 2.0)),
    "learning_rate": (("learning rate", 0.3), ("warm-up", 2.0)),
    "overfit": (("weight decay", 3.0), ("dropout", 1.5), ("size", 0.5)),
    "underfit": (("size", 2.0), ("dropout", 0.5), ("weight decay", 0.3)),
    "oscillation": (("learning rate", 0.3), ("batch", 2.0)),
    "slow_convergence": (("learning rate", 3.0),),
    "spike": (("learning rate", 0.5),),
    "out_of_reach": (("size", 2.0),),
    "stopped_too_early": (("length", 1.5),),
}
_TRAINER_LENGTH = "max_epochs"
"""Lightning's own word stands where the hyperparameters don't say how long the run was."""
_PICTURE = ("height", "image_size", "img_size")
_COUNTS = ("size", "batch", "warm-up", "length")
"""Kinds whose whole numbers stay whole."""
_MOST_DROPOUT = 0.8
_MOST_LONGER = 5.0


def suggest(findings: Sequence[Finding], evidence: Evidence) -> tuple[Suggestion, ...]:
    """Turn findings into changes of hyperparameters that the run has.

    A parameter is named once, for the strongest finding that bears on it. Left out is one that no factor changes as
    wanted: 0, a negative value (Lightning's `max_steps=-1` is no length), a whole number that would stay or fall under 1.

    Args:
        findings: strongest first.
        evidence: whose hyperparameters are matched by the usual names (`lr`, `optimizer.weight_decay`, `hidden_dim`, …).

    Returns:
        In the order of the findings.
    """
    chosen: dict[str, Suggestion] = {}
    # Of a run that was stopped, how long it was is not how long it was to be.
    keeps_length = not evidence.ended or is_longer_in_vain(findings)
    for finding in findings:
        for kind, factor in _changes(finding):
            if kind == "length" and keeps_length:
                continue
            for name, value in _parameters(kind, evidence.hparams):
                fitting = min(factor, _MOST_DROPOUT / value) if kind == "dropout" and value else factor
                if name not in chosen and _changes_it(kind, value, factor, fitting):
                    direction: Literal["increase", "decrease"] = "increase" if fitting > 1 else "decrease"
                    why = f"{finding.rule}: {finding.summary}"
                    chosen[name] = Suggestion(parameter=name, direction=direction, factor=round(fitting, 3), why=why)
    return tuple(chosen.values())


def _changes_it(kind: Kind, value: float, wanted: float, fitting: float) -> bool:
    """Whether a factor moves a value, and to the side that the finding wants."""
    if value <= 0 or fitting == 1 or (fitting > 1) != (wanted > 1):
        return False
    return kind not in _COUNTS or not isinstance(value, int) or (round(value * fitting) >= 1 and round(value * fitting) != value)


def _changes(finding: Finding) -> tuple[tuple[Kind, float], ...]:
    """What a finding asks for: kinds of parameters, and the factor of each."""
    saw = finding.evidence
    if finding.rule == "loss_not_falling" and finding.severity == "hint":
        return ()
    if finding.rule == "loss_not_falling":
        return (("learning rate", 0.1 if saw["rising"] else 10.0),)
    if finding.rule == "learning_rate" and finding.severity == "hint":
        return (("learning rate", 0.5),)
    if finding.rule == "within_reach":
        late = saw["crossing_step_high"] / saw["last_step"]
        return (("length", min(max(late, 1.1), _MOST_LONGER)),)
    return _ALWAYS.get(finding.rule, ())


def _parameters(kind: Kind, hparams: Mapping[str, Any]) -> Iterator[tuple[str, float]]:
    """The run's hyperparameters of a kind, with their values."""
    found = [(name, value) for name, value in numbers_in(hparams) if _KINDS[kind].fullmatch(name.rsplit(".", 1)[-1].lower())]
    if kind == "size" and any(name.rsplit(".", 1)[-1].lower() in _PICTURE for name in hparams):
        # Beside a height, a width is a picture's.
        found = [(name, value) for name, value in found if name.rsplit(".", 1)[-1].lower() != "width"]
    if kind == "length" and not found:
        found = [(_TRAINER_LENGTH, 1.0)]
    yield from found
