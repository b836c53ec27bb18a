"""Accuracies on few validation samples move in jumps: what chance does is no finding."""

from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pytest

import fitgate
from fitgate.diagnosis import Curve, Evidence, Goal, diagnose_evidence, read_evidence
from fitgate.store._run_file import FitFacts, RunInfo, ValidationSet, write_run_info
from fitgate.store._schema import Record
from fitgate.store._segments import SegmentWriter

EPOCHS = np.arange(1, 41)
TRUE = 0.9 - 0.7 * np.exp(-EPOCHS / 4)
"""What a healthy model's accuracy really is, after each epoch."""
SEEDS = range(60)


def _evidence(values: np.ndarray, samples: int | None, *, required: float = 0.85) -> Evidence:
    at = 10 * EPOCHS[: len(values)]
    curve = Curve(stage="validate", name="val_acc", step=at - 1, global_step=at, epoch=at // 10 - 1, value=values, samples=samples)
    goal = Goal(metric="val_acc", better_high=True, required=required, text=f"val_acc >= {required}")
    return Evidence(curves={("validate", "val_acc"): curve}, goals=(goal,), judged_step=int(at[-1]))


def _rules(samples: int, seed: int) -> list[str]:
    """What is found where each validation draws its samples anew: the most that chance can do."""
    values = np.random.default_rng(seed).binomial(samples, TRUE) / samples
    return [f.rule for f in diagnose_evidence(_evidence(values, samples)).findings]


@pytest.mark.parametrize("samples", [5, 10, 20, 40, 100, 300])
def test_chance_is_no_oscillation(samples: int) -> None:
    """Of 60 healthy runs one at most is said to oscillate, however few the samples."""
    assert sum("oscillation" in _rules(samples, seed) for seed in SEEDS) <= 1


@pytest.mark.parametrize("samples", [5, 10, 20])
def test_very_few_samples_tell_no_noise_and_no_plateau(samples: int) -> None:
    """One of them is wider than a margin, and than any gain that counts."""
    for seed in SEEDS:
        assert not {"noise", "overtraining"} & set(_rules(samples, seed))
    values = np.random.default_rng(0).binomial(samples, TRUE) / samples
    assert {"noise", "overtraining", "oscillation"} <= set(diagnose_evidence(_evidence(values, samples)).not_enough_data)


def test_real_jumps_are_found_among_few_samples() -> None:
    """From .9 to .2 and back, on 40 samples; and a fall of .3 on 400."""
    for samples, low in ((40, 0.2), (400, 0.6)):
        values = np.where(EPOCHS % 3 == 0, low, 0.9)
        noisy = np.random.default_rng(1).binomial(samples, values) / samples
        (finding,) = (f for f in diagnose_evidence(_evidence(noisy, samples)).findings if f.rule == "oscillation")
        assert finding.evidence["samples"] == samples
        assert finding.evidence["least_fall"] <= 0.9 - low


def test_one_sample_more_is_no_progress() -> None:
    """The best of the run, by a single sample in its last quarter."""
    values = np.full(20, 0.8)
    values[:8] = np.linspace(0.1, 0.8, 8)
    values[17] = 0.85
    found = diagnose_evidence(_evidence(values, 20))
    assert "stopped_too_early" in found.not_enough_data
    assert "stopped_too_early" in {f.rule for f in diagnose_evidence(_evidence(values, 200)).findings}


def test_a_data_set_that_says_it_has_no_samples() -> None:
    """It gave some, or there would be no accuracy: diagnosed as where their number is not known."""
    values = np.random.default_rng(0).binomial(40, TRUE) / 40
    train = replace(_evidence(values, None).curves["validate", "val_acc"], stage="train", name="train_acc")
    runs = [_evidence(values, samples) for samples in (0, None)]
    counted, unknown = (diagnose_evidence(replace(run, curves={**run.curves, ("train", "train_acc"): train})) for run in runs)
    assert (counted.findings, counted.not_enough_data) == (unknown.findings, unknown.not_enough_data)


def _stored(root: Path, *, sizes: tuple[int | None, ...], names: tuple[str, ...], limit: float = 1.0) -> Evidence:
    now = datetime(2026, 11, 23, tzinfo=UTC)
    writer = SegmentWriter(root / "r" / "metrics", run_id="r")
    for epoch in range(5):
        writer.write([Record("validate", 10 * epoch, 10 * epoch + 1, epoch, epoch, names, [0.5] * len(names))])
        writer.write([Record("train", 10 * epoch, 10 * epoch + 1, epoch, epoch, ("train_acc",), [0.5])])
    writer.close()
    fit = FitFacts(global_step=41, steps=41, validation=ValidationSet(sizes=sizes), limit_val_batches=limit)
    write_run_info(root / "r", RunInfo(id="r", name="r", state="completed", created=now, updated=now, fit=fit))
    return read_evidence(fitgate.Store(str(root)).run("r"))


@pytest.mark.parametrize(
    ("sizes", "names", "limit", "expected"),
    [
        ((60,), ("val_acc",), 1.0, [60]),
        ((60, 20), ("val_acc/dataloader_idx_0", "val_acc/dataloader_idx_1", "acc"), 1.0, [60, 20, None]),
        ((None,), ("val_acc",), 1.0, [None]),
        ((60,), ("val_acc",), 0.5, [None]),
        ((), ("val_acc",), 1.0, [None]),
    ],
)
def test_the_number_of_samples_is_the_recorded_one(
    tmp_path: Path, sizes: tuple[int | None, ...], names: tuple[str, ...], limit: float, expected: list[int | None]
) -> None:
    """Of the loader that the name says, where all of it was validated; of training there is none."""
    evidence = _stored(tmp_path, sizes=sizes, names=names, limit=limit)
    assert [evidence.curves["validate", name].samples for name in names] == expected
    assert evidence.curves["train", "train_acc"].samples is None
