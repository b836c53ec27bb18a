"""The rules on nets that are really trained: a quick part of the corpus behind the table in docs/diagnosis.md."""

import importlib.util
import json
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
import torch

from fitgate.diagnosis import Curve, Evidence, Goal, diagnose_evidence

_SCRIPT = Path(__file__).parents[2] / "benchmarks" / "diagnosis_corpus.py"
_SEED = 7
_HEALTHY = (
    "healthy: SGD",
    "healthy: SGD, cosine",
    "healthy: Adam",
    "healthy: few validation samples",
    "healthy: in percent",
    "healthy: fine-tuned, in percent",
)
_FAULTY = (
    "diverges to NaN",
    "learning rate far too low",
    "climbs instead of descending",
    "overfits few samples",
    "underfits: a line where none will do",
    "underfits: a line where none will do, in percent",
    "plateau",
    "warms up past what it bears",
    "starts far off",
    "stopped too early",
)


@pytest.fixture(scope="module")
def corpus() -> Iterator[ModuleType]:
    """The script that trains; one thread, since small nets gain nothing by more and other tests run beside."""
    spec = importlib.util.spec_from_file_location("diagnosis_corpus", _SCRIPT)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield module
    torch.set_num_threads(threads)
    del sys.modules[spec.name]


@pytest.mark.parametrize("name", _HEALTHY)
def test_a_healthy_run_has_no_problem(corpus: ModuleType, name: str) -> None:
    """Hints at most."""
    (case,) = (c for c in corpus.CASES if c.name == name)
    findings = diagnose_evidence(corpus.train(case.settings, _SEED)).findings
    assert [f for f in findings if f.severity == "problem"] == []


@pytest.mark.parametrize("name", _FAULTY)
def test_the_fault_of_a_run_is_found(corpus: ModuleType, name: str) -> None:
    """And nothing that the fault does not bring with it."""
    (case,) = (c for c in corpus.CASES if c.name == name)
    found = {f.rule for f in diagnose_evidence(corpus.train(case.settings, _SEED)).findings}
    assert case.must <= found
    assert found <= case.must | case.may


@pytest.mark.parametrize("whole", [1.0, 100.0])
def test_an_accuracy_that_goes_up_and_down_is_found(corpus: ModuleType, whole: float) -> None:
    """As a net had it that was trained once: whether one at the edge of what it bears falls and rises or dies, another processor decides anew.

    And nothing is found that it does not bring with it.
    """
    (case,) = (c for c in corpus.CASES if c.name == "oscillates")
    recorded = json.loads((Path(__file__).parent / "oscillating.json").read_text())
    curves = {}
    for name, scale in (("val_loss", 1.0), ("val_acc", whole)):
        value = np.array(recorded[name]) * scale
        epoch = np.arange(len(value))
        step = (epoch + 1) * recorded["steps_an_epoch"]
        curves["validate", name] = Curve(
            stage="validate", name=name, step=step - 1, global_step=step, epoch=epoch, value=value, samples=500
        )
    goals = (Goal(metric="val_acc", better_high=True, required=0.97 * whole, text=f"val_acc >= {0.97 * whole:g}"),)
    found = {f.rule for f in diagnose_evidence(Evidence(curves=curves, goals=goals, classes=10, judged_step=int(step[-1]))).findings}
    assert case.must <= found
    assert found <= case.must | case.may
