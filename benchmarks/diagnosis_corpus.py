"""Curves with known answers: small nets really trained to go wrong in known ways, and healthy ones.

The data are scikit-learn's handwritten digits. `diagnosis_table.py` measures the rules by them.
"""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass, field, replace
from functools import cache

import numpy as np
import torch
from sklearn.datasets import load_digits  # type: ignore[import-untyped]
from torch import nn

from fitgate.diagnosis import Curve, Evidence, Goal

CLASSES = 10
CUT_AT = 0.6


@dataclass(frozen=True, kw_only=True)
class Settings:
    """How a net is trained. Each case changes a few of them."""

    train_samples: int = 1000
    val_samples: int = 500
    label_noise: float = 0.0
    width: int = 64  # 0 for a linear model
    batch: int = 32
    epochs: int = 25
    optimizer: str = "sgd"
    lr: float = 0.05
    momentum: float = 0.9
    weight_decay: float = 1e-4
    dropout: float = 0.0
    schedule: str = "constant"
    input_scale: float = 1.0
    output_scale: float = 1.0
    spike_every: int = 0
    climb: bool = False
    record_training: bool = True
    odd_or_even: bool = False
    percent: bool = False
    """Accuracies, and the threshold on them, are recorded as 0 to 100."""
    trained_epochs: int = 0
    """So many epochs at ten times the rate come before, unrecorded: a run that goes on from trained weights."""
    goal: float = 0.90


@dataclass(frozen=True)
class Case:
    """A way to train, and what a diagnosis must find in it; `may` is right too, or follows from the same fault."""

    name: str
    settings: Settings
    must: frozenset[str] = frozenset()
    may: frozenset[str] = field(default_factory=frozenset)


def _case(name: str, must: str = "", may: str = "", **changes: object) -> Case:
    return Case(name, replace(Settings(), **changes), frozenset(must.split()), frozenset(may.split()))  # type: ignore[arg-type]


HINTS = "stopped_too_early ran_too_long overtraining within_reach"
CASES = (
    _case("healthy: SGD", may=HINTS),
    _case("healthy: SGD, cosine", may=HINTS, schedule="cosine", lr=0.1),
    _case("healthy: Adam", may=HINTS, optimizer="adam", lr=1e-3),
    _case("healthy: Adam with dropout", may=HINTS, optimizer="adam", lr=2e-3, dropout=0.3, epochs=35),
    _case("healthy: small batches", may=HINTS, batch=8, lr=0.01, epochs=15),
    _case("healthy: one large batch after the other", may=HINTS, batch=250, lr=0.2, epochs=60),
    _case("healthy: few validation samples", may=HINTS + " noise", val_samples=60, goal=0.85),
    _case("healthy: some labels wrong", may=HINTS, label_noise=0.05, optimizer="adam", lr=1e-3, epochs=20, goal=0.85),
    _case("healthy: few epochs", may=HINTS, epochs=8),
    _case("healthy: in percent", may=HINTS, percent=True),
    _case("healthy: few validation samples, in percent", may=HINTS + " noise", val_samples=60, goal=0.85, percent=True),
    _case("healthy: ten validation samples", may=HINTS + " noise missed_checkpoint", val_samples=10, goal=0.8),
    _case("healthy: fine-tuned", may=HINTS + " loss_not_falling", trained_epochs=25, lr=0.005),
    _case("healthy: fine-tuned, in percent", may=HINTS + " loss_not_falling", trained_epochs=25, lr=0.005, percent=True),
    _case("diverges to NaN", "non_finite", "spike bad_start learning_rate oscillation", lr=50.0, momentum=0.95, input_scale=4.0),
    _case("learning rate far too low", "loss_not_falling", "slow_convergence noise", lr=1e-7, momentum=0.0),
    _case("climbs instead of descending", "loss_not_falling", "non_finite bad_start spike slow_convergence learning_rate", climb=True, lr=0.002, momentum=0.0, epochs=10),
    _case("overfits few samples", "overfit", HINTS + " out_of_reach noise", train_samples=150, label_noise=0.25, width=256, optimizer="adam", lr=3e-3, weight_decay=0, epochs=60),
    _case("overfits wrong labels", "overfit", HINTS + " out_of_reach missed_checkpoint noise oscillation", train_samples=500, label_noise=0.3, width=256, optimizer="adam", lr=3e-3, weight_decay=0, epochs=50),
    _case("underfits: a line where none will do", "underfit", HINTS + " out_of_reach noise", width=0, odd_or_even=True, goal=0.97, epochs=40),
    _case("underfits: a neck of 3", "underfit", HINTS + " out_of_reach noise oscillation", width=3, optimizer="adam", lr=3e-3, goal=0.97, epochs=60),
    _case("ran too long, only validation recorded", "ran_too_long", HINTS + " out_of_reach missed_checkpoint noise oscillation", train_samples=150, label_noise=0.25, width=256, optimizer="adam", lr=3e-3, weight_decay=0, epochs=100, record_training=False),
    _case("underfits: a line where none will do, in percent", "underfit", HINTS + " out_of_reach noise", width=0, odd_or_even=True, goal=0.97, epochs=40, percent=True),
    _case("plateau", "overtraining", "ran_too_long stopped_too_early noise", epochs=60, goal=0.90),
    _case("oscillates", "oscillation", HINTS + " noise underfit missed_checkpoint out_of_reach spike learning_rate overfit", lr=0.6, momentum=0.0, batch=8, train_samples=300, epochs=40, goal=0.97),
    _case("oscillates, in percent", "oscillation", HINTS + " noise underfit missed_checkpoint out_of_reach spike learning_rate overfit", lr=0.6, momentum=0.0, batch=8, train_samples=300, epochs=40, goal=0.97, percent=True),
    _case("creeps", "slow_convergence", "stopped_too_early within_reach loss_not_falling overtraining", lr=1e-3, momentum=0.0, epochs=20, val_samples=790),
    _case("stopped too early", "stopped_too_early", "within_reach underfit out_of_reach slow_convergence noise", lr=0.02, momentum=0.0, epochs=14, goal=0.93),
    _case("spikes", "spike", HINTS + " noise oscillation missed_checkpoint learning_rate", spike_every=180, lr=0.02),
    _case("starts far off", "bad_start", HINTS + " noise overfit underfit spike", output_scale=60.0, lr=0.005),
    _case("warms up past what it bears", "learning_rate", HINTS + " loss_not_falling non_finite spike oscillation noise missed_checkpoint slow_convergence underfit out_of_reach", schedule="ramp", lr=3.0, epochs=25),
    _case("falls only when the rate is cut", "learning_rate", HINTS + " oscillation spike noise missed_checkpoint underfit", schedule="step", optimizer="adam", lr=0.03, epochs=24),
    _case("noise as wide as the margin", "noise", HINTS + " underfit out_of_reach missed_checkpoint oscillation", val_samples=40, lr=0.02, goal=0.93, train_samples=300),
    _case("out of reach", "out_of_reach", "overtraining ran_too_long stopped_too_early underfit noise overfit", width=0, odd_or_even=True, goal=0.99, epochs=40),
    _case("passed and went on", "missed_checkpoint", HINTS + " overfit noise out_of_reach oscillation", train_samples=300, label_noise=0.35, width=256, optimizer="adam", lr=3e-3, weight_decay=0, epochs=40, goal=0.78),
)  # fmt: skip


@cache
def _digits() -> tuple[torch.Tensor, torch.Tensor]:
    images, labels = load_digits(return_X_y=True)
    return torch.tensor(images / 16, dtype=torch.float32), torch.tensor(labels)


def train(settings: Settings, seed: int) -> Evidence:
    """Train a net and give its curves, as MetricsCallback would record them: a point a step, and a validation an epoch."""
    torch.manual_seed(seed)
    images, labels = _digits()
    labels = labels % 2 if settings.odd_or_even else labels
    order = torch.randperm(len(images))
    fit, held = order[: settings.train_samples], order[-settings.val_samples :]
    x, y = images[fit] * settings.input_scale, labels[fit].clone()
    wrong = torch.rand(len(y)) < settings.label_noise
    y[wrong] = torch.randint(0, CLASSES, (int(wrong.sum()),))
    classes, whole = 2 if settings.odd_or_even else CLASSES, 100.0 if settings.percent else 1.0
    net = _net(settings, classes)
    with torch.no_grad():
        next(net[-1].parameters()).mul_(settings.output_scale)
    steps = settings.epochs * math.ceil(len(x) / settings.batch)
    _train_before(net, x, y, settings)
    optimizer = _optimizer(net, settings)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: _share(settings.schedule, step / steps))
    points: dict[tuple[str, str], list[tuple[int, int, float]]] = {}
    step = 0
    for epoch in range(settings.epochs):
        net.train()
        for batch in torch.randperm(len(x)).split(settings.batch):
            inputs = x[batch] * 30 if settings.spike_every and step % settings.spike_every == settings.spike_every - 1 else x[batch]
            loss, accuracy = _measure(net, inputs, y[batch], whole=whole)
            rate = optimizer.param_groups[0]["lr"]
            optimizer.zero_grad()
            (-loss if settings.climb else loss).backward()
            optimizer.step()
            schedule.step()
            step += 1
            for name, value in (("train_loss", loss.item()), ("train_acc", accuracy), ("lr-SGD", rate)):
                points.setdefault(("train", name), []).append((step, epoch, value))
        net.eval()
        with torch.no_grad():
            val_loss, val_accuracy = _measure(net, images[held] * settings.input_scale, labels[held], whole=whole)
        for name, value in (("val_loss", val_loss.item()), ("val_acc", val_accuracy)):
            points.setdefault(("validate", name), []).append((step, epoch, value))
    return Evidence(
        curves={key: _curve(*key, rows, settings) for key, rows in points.items() if settings.record_training or key[0] != "train"},
        hparams={key: value for key, value in asdict(settings).items() if key in ("lr", "momentum", "weight_decay", "dropout", "width", "batch", "epochs")},
        goals=(Goal(metric="val_acc", better_high=True, required=settings.goal * whole, text=f"val_acc >= {settings.goal * whole:g}"),),
        classes=classes,
        judged_step=step,
    )  # fmt: skip


def _net(settings: Settings, classes: int) -> nn.Sequential:
    if not settings.width:
        return nn.Sequential(nn.Linear(64, classes))
    width, dropout = settings.width, nn.Dropout(settings.dropout)
    return nn.Sequential(nn.Linear(64, width), nn.ReLU(), dropout, nn.Linear(width, width), nn.ReLU(), nn.Linear(width, classes))


def _train_before(net: nn.Module, x: torch.Tensor, y: torch.Tensor, settings: Settings) -> None:
    if not settings.trained_epochs:
        return
    optimizer = _optimizer(net, replace(settings, lr=10 * settings.lr))
    for _ in range(settings.trained_epochs):
        for batch in torch.randperm(len(x)).split(settings.batch):
            optimizer.zero_grad()
            _measure(net, x[batch], y[batch], whole=1.0)[0].backward()
            optimizer.step()


def _measure(net: nn.Module, x: torch.Tensor, y: torch.Tensor, *, whole: float) -> tuple[torch.Tensor, float]:
    """The loss, and the accuracy as `whole` (1 or 100) counts it, in float32 as Lightning keeps it."""
    logits = net(x)
    return nn.functional.cross_entropy(logits, y), ((logits.argmax(1) == y).float().mean() * whole).item()


def _optimizer(net: nn.Module, settings: Settings) -> torch.optim.Optimizer:
    if settings.optimizer == "adam":
        return torch.optim.AdamW(net.parameters(), settings.lr, weight_decay=settings.weight_decay)
    return torch.optim.SGD(net.parameters(), settings.lr, momentum=settings.momentum, weight_decay=settings.weight_decay)


def _share(schedule: str, share: float) -> float:
    match schedule:
        case "cosine":
            return 0.5 * (1 + math.cos(math.pi * min(share, 1.0)))
        case "ramp":
            return max(share, 0.002)
        case "step":
            return 1.0 if share < CUT_AT else 0.02
    return 1.0


def _curve(stage: str, name: str, rows: list[tuple[int, int, float]], settings: Settings) -> Curve:
    step, epoch, value = (np.array(column) for column in zip(*rows, strict=True))
    return Curve(
        stage=stage,
        name=name,
        step=step - 1,
        global_step=step,
        epoch=epoch,
        value=value.astype(np.float64),
        samples=settings.val_samples if stage == "validate" else None,
    )
