"""What is measured of an export's latency: on a clock that the model itself moves on, against NumPy's percentiles."""

from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import onnxruntime
import pytest
import torch
from torch import nn

from fitgate.export import stage
from tests.callbacks._gated import Scripted, best, fit, gate_file, published


class Clock:
    """Stands still but for what it is told that something takes, in seconds."""

    def __init__(self) -> None:
        self.now = 1_000.0
        self.taken: list[float] = []

    def take(self, seconds: float) -> None:
        self.now += seconds
        self.taken.append(seconds)


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    """What the measurement reads instead of the machine's clock."""
    clock = Clock()
    monkeypatch.setattr("fitgate.export._measure.time", SimpleNamespace(perf_counter=lambda: clock.now))
    return clock


def _takes(clock: Clock, seconds: Callable[[], float]) -> nn.Module:
    class Takes(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.net = nn.Linear(4, 3)

        def forward(self, features: torch.Tensor) -> torch.Tensor:
            clock.take(seconds())
            logits: torch.Tensor = self.net(features)
            return logits

    return Takes()


def test_median_and_p95_are_numpys_of_the_timed_runs(tmp_path: Path, clock: Clock) -> None:
    """In milliseconds, over the runs of one second."""
    generator = np.random.default_rng(0)
    module = _takes(clock, lambda: generator.exponential(0.01))
    staged = stage(
        {"state_dict": module.state_dict()}, tmp_path, run_id="r", formats=["safetensors"], module=module, example_input=torch.randn(2, 4)
    )
    (entry,) = staged.details["latency"]
    runs = clock.taken[-entry["runs"] :]
    assert sum(runs[:-1]) < 1 <= sum(runs)
    assert entry["median_ms"] == pytest.approx(np.percentile(runs, 50) * 1000)
    assert entry["p95_ms"] == pytest.approx(np.percentile(runs, 95) * 1000)
    assert entry["p95_ms"] > 2 * entry["median_ms"]
    assert staged.metrics["artifact.latency_ms"] == entry["median_ms"]
    assert staged.metrics["artifact.latency_p95_ms"] == entry["p95_ms"]
    staged.drop()


def test_what_is_slow_only_at_first_is_not_timed(tmp_path: Path, clock: Clock) -> None:
    """The first forwards after its weights were loaded take ten times as long: neither the median nor the 95th percentile is theirs."""

    class WarmsUp(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.net = nn.Linear(4, 3)
            self.forwards = 0

        def load_state_dict(self, *given: Any, **options: Any) -> Any:
            self.forwards = 0
            return super().load_state_dict(*given, **options)

        def forward(self, features: torch.Tensor) -> torch.Tensor:
            self.forwards += 1
            clock.take(0.1 if self.forwards <= 5 else 0.01)
            logits: torch.Tensor = self.net(features)
            return logits

    module = WarmsUp()
    staged = stage(
        {"state_dict": module.state_dict()}, tmp_path, run_id="r", formats=["safetensors"], module=module, example_input=torch.randn(2, 4)
    )
    (entry,) = staged.details["latency"]
    assert clock.taken[-entry["runs"] - 1] == 0.1
    assert (entry["median_ms"], entry["p95_ms"]) == (pytest.approx(10), pytest.approx(10))
    staged.drop()


def test_a_threshold_on_p95_is_judged_by_p95(tmp_path: Path, clock: Clock) -> None:
    """One run in ten takes ten times as long: the median stays under the same limit that the 95th percentile misses."""

    class Stutters(Scripted):
        def forward(self, features: torch.Tensor) -> torch.Tensor:
            clock.take(0.1 if len(clock.taken) % 10 == 0 else 0.01)
            return super().forward(features)

    thresholds = ["val_acc >= 0.8", "artifact.latency_ms <= 50", "artifact.latency_p95_ms <= 50"]
    gate, _ = fit(tmp_path, best(tmp_path), module=Stutters(), thresholds=thresholds, gate={"formats": ["safetensors"]})
    assert gate.decision is not None
    assert gate.decision.reasons == ("artifact.latency_p95_ms <= 50: got 100, misses by 50",)
    assert [check["value"] for check in gate_file(tmp_path)["checks"][1:]] == [pytest.approx(10), pytest.approx(100)]
    assert published(tmp_path) == []


@pytest.mark.parametrize("form", ["safetensors", "torch_export", "onnx"])
def test_it_is_timed_on_as_many_threads_as_it_says(tmp_path: Path, form: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of torch while the clock is read, and of ONNX Runtime's session; afterwards torch has what it had."""
    threads: list[int] = []
    sessions: list[tuple[int, int]] = []
    session = onnxruntime.InferenceSession
    now = 0.0

    def tick() -> float:
        nonlocal now
        now += 0.1
        threads.append(torch.get_num_threads())
        return now

    def opened(path: str, options: Any, **more: Any) -> Any:
        sessions.append((options.intra_op_num_threads, options.inter_op_num_threads))
        return session(path, options, **more)

    monkeypatch.setattr("fitgate.export._measure.time", SimpleNamespace(perf_counter=tick))
    monkeypatch.setattr(onnxruntime, "InferenceSession", opened)
    module = nn.Linear(4, 3)
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        staged = stage(
            {"state_dict": module.state_dict()}, tmp_path, run_id="r", formats=[form], module=module, example_input=torch.randn(2, 4)
        )
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(before)
    (entry,) = staged.details["latency"]
    assert (entry["format"], entry["batch"], entry["threads"]) == (form, 1, 1)
    assert entry["p95_ms"] >= entry["median_ms"] > 0
    assert set(threads) == {entry["threads"]}
    assert sessions[-1:] == ([(entry["threads"], entry["threads"])] if form == "onnx" else [])
    staged.drop()
