"""Where a private path of Lightning's is missing: the same points through its public API."""

import logging
from pathlib import Path
from typing import Any

import pytest
import pytorch_lightning as pl

from fitgate_callbacks import _logged
from fitgate_callbacks._internals import missing_path
from tests.callbacks._fits import QUIET
from tests.callbacks.test_like_csv_logger import CASES, Case, compare

# What the public path can't see, in the words of `PublicTap`: an x-axis of the module's own, what a callback sends straight to
# the loggers, a torchmetrics object logged again with nothing new.
BEYOND_IT = {"own axis", "another callback", "torchmetrics"}
ORDINARY = {
    "several epochs",
    "validation inside the epoch",
    "sometimes and equal",
    "every hook",
    "accumulation with a partial window",
    "manual optimization, two optimizers",
    "several loaders",
    "iterable dataset",
    "max_steps inside an epoch",
}


def _marked(case: Case) -> Any:
    return pytest.param(case, marks=() if case.name in ORDINARY else pytest.mark.stress, id=case.name)


@pytest.mark.parametrize("case", [_marked(case) for case in CASES if case.name not in BEYOND_IT])
def test_the_public_api_gives_the_points_of_csv_logger_too(
    tmp_path: Path, case: Case, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """To the last bit, with one warning that says what is missing. It does not see what `BEYOND_IT` lists."""
    monkeypatch.setattr(_logged, "missing_path", lambda _trainer: "Trainer._somewhere")
    with caplog.at_level(logging.WARNING, "fitgate"):
        compare(tmp_path, case)
    assert [r.levelname for r in caplog.records if "Trainer._somewhere" in r.getMessage()] == ["WARNING"]


def test_private_attributes_are_known_in_one_place() -> None:
    """What another version of Lightning may lack stands in one package; torchmetrics' count of updates is the only other."""
    root = Path(_logged.__file__).parent
    files = {path.relative_to(root).parts[0] for path in root.rglob("*.py") if "SLF001" in path.read_text()}
    assert files == {"_internals", "_metric_states.py"}


def test_a_missing_path_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is missing in the Lightning that is installed; a method that is gone, or one that has changed its meaning, is noticed."""
    trainer = pl.Trainer(**QUIET, logger=False)
    assert missing_path(trainer) is None
    results = type(trainer.fit_loop.epoch_loop._results)  # noqa: SLF001 - what is tampered with
    monkeypatch.setattr(results, "_forked_name", lambda *_: ("other", "other"))
    assert str(missing_path(trainer)).startswith("_ResultCollection (it gave [(('other',)")
    monkeypatch.delattr(results, "_forked_name")
    assert "_forked_name" in str(missing_path(trainer))
    monkeypatch.delattr(type(trainer._logger_connector), "log_metrics")  # noqa: SLF001 - likewise
    assert missing_path(trainer) == "Trainer._logger_connector.log_metrics"
