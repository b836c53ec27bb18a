"""Between the verdict and what is live: the champion may move, and another callback may fail, before and after."""

import logging
from pathlib import Path
from typing import Any

import pytest
import pytorch_lightning as pl

from fitgate.gate import judge
from fitgate.registry import read_current, read_history, verify
from tests.callbacks._gated import Scripted, best, fit, gate_file, judged_again, latest, loader, make_trainer, manifest, published
from tests.registry._versions import publish_version

RELATIVE = ["val_acc >= 0.5", "val_acc >= champion"]


class Publishes(pl.Callback):
    """Another publisher, that comes between this fit's verdict and its publication."""

    def __init__(self, tmp_path: Path, accuracy: float, *, damage: bool = False) -> None:
        self._model_dir, self._accuracy, self._damage = tmp_path / "deploy" / "net", accuracy, damage

    def on_fit_end(self, trainer: Any, pl_module: Any) -> None:
        publish_version(self._model_dir, self._accuracy)
        if self._damage:
            (self._model_dir / "CURRENT").write_text("{")


def test_a_better_version_went_live_meanwhile(tmp_path: Path) -> None:
    """Judged against 0.80, published after 0.95: an improve everywhere it is on record, the better one stays live."""
    publish_version(tmp_path / "deploy" / "net", 0.80)
    gate, _ = fit(tmp_path, best(tmp_path), Publishes(tmp_path, 0.95), module=Scripted((0.85,)), thresholds=RELATIVE)
    assert gate.decision is not None
    assert (gate.decision.verdict, gate.version) == ("improve", None)
    missed = "val_acc >= champion: got 0.85, misses by 0.1"
    assert gate.decision.reasons == (missed,)
    assert "another version went live: judged again, with version 2 as the champion" in gate.decision.warnings[-1]
    assert published(tmp_path) == ["1", "2", "CURRENT", "history.jsonl"]
    current = read_current(tmp_path / "deploy" / "net")
    assert current is not None
    assert current.version == 2
    run = latest(tmp_path)
    assert run.state == "improve"
    assert (gate_file(tmp_path)["verdict"], gate_file(tmp_path)["reasons"]) == ("improve", [missed])
    assert gate_file(tmp_path)["warnings"] == list(gate.decision.warnings)
    assert judged_again(tmp_path) == gate_file(tmp_path)
    page = (tmp_path / "runs" / run.id / "improve" / "report.html").read_text(encoding="utf-8")
    assert "Not fit to be judged" not in page
    assert "alone is an improve" not in page
    assert gate.report is not None
    assert (tmp_path / "runs" / run.id / "improve" / "report.json").is_file()


def test_a_lesser_version_went_live_meanwhile(tmp_path: Path) -> None:
    """It still passes: published, and the version says which champion it beat; its files are what its manifest says."""
    publish_version(tmp_path / "deploy" / "net", 0.80)
    gate, _ = fit(tmp_path, best(tmp_path), Publishes(tmp_path, 0.84), module=Scripted((0.85,)), thresholds=RELATIVE)
    assert gate.version == 3
    (champion,) = [check["required"] for check in manifest(tmp_path, 3)["checks"] if check["threshold"] == "val_acc >= champion"]
    assert champion == pytest.approx(0.84)
    assert gate_file(tmp_path)["checks"] == manifest(tmp_path, 3)["checks"]
    assert verify(tmp_path / "deploy" / "net").problems == ()


def test_the_first_champion_appears_meanwhile(tmp_path: Path) -> None:
    """What was waived for want of a champion is judged now that there is one."""
    gate, _ = fit(tmp_path, best(tmp_path), Publishes(tmp_path, 0.95), module=Scripted((0.85,)), thresholds=RELATIVE)
    assert gate.decision is not None
    assert gate.decision.verdict == "improve"
    assert published(tmp_path) == ["1", "CURRENT", "history.jsonl"]


def test_a_champion_that_can_not_be_read_any_more(tmp_path: Path) -> None:
    """A damaged CURRENT is no licence to publish against nothing."""
    gate, _ = fit(tmp_path, best(tmp_path), Publishes(tmp_path, 0.5, damage=True), module=Scripted((0.85,)), thresholds=RELATIVE)
    assert gate.decision is not None
    assert gate.decision.verdict == "improve"
    assert gate.decision.reasons[0].startswith("the champion can't be read")


def test_without_a_relative_threshold_who_is_live_does_not_matter(tmp_path: Path) -> None:
    """The later of two publishers is live."""
    gate, _ = fit(tmp_path, best(tmp_path), Publishes(tmp_path, 0.95), module=Scripted((0.85,)), thresholds=["val_acc >= 0.5"])
    assert gate.version == 2


@pytest.mark.parametrize(("accuracy", "verdict", "live"), [(0.84, "deploy", [1, 2, 1]), (0.95, "improve", [1, 2])])
def test_weights_that_were_live_are_not_any_more(tmp_path: Path, accuracy: float, verdict: str, live: list[int]) -> None:
    """A resumed fit finds its weights live, then another version is: held against that one, and live again where they pass."""
    last = best(tmp_path, save_last=True)
    fit(tmp_path, last, module=Scripted((0.9, 0.5)), max_epochs=2)
    other, module = Publishes(tmp_path, accuracy), Scripted((0.9, 0.5, 0.4))
    gate, _ = fit(tmp_path, best(tmp_path), other, thresholds=RELATIVE, module=module, ckpt_path=last.last_model_path)
    assert gate.decision is not None
    assert (gate.decision.verdict, gate.version) == (verdict, 1 if verdict == "deploy" else None)
    assert gate.decision.live is not None
    assert gate.decision.live.version == 2
    assert gate.decision.checks[1].required == pytest.approx(accuracy)
    model_dir = tmp_path / "deploy" / "net"
    assert published(tmp_path) == ["1", "2", "CURRENT", "history.jsonl"]
    assert [move.version for move in read_history(model_dir)] == live
    current = read_current(model_dir)
    assert current is not None
    assert current.version == live[-1]
    assert verify(model_dir).problems == ()
    assert "went live" in gate.decision.warnings[-1]
    assert gate_file(tmp_path)["warnings"] == list(gate.decision.warnings)
    assert judged_again(tmp_path) == gate_file(tmp_path)


def test_another_callbacks_teardown_fails_after_ours(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """What is live stays on record as deployed, in the callback, in gate.json and in run.json; one line says what failed."""

    class Raises(pl.Callback):
        def teardown(self, trainer: Any, pl_module: Any, stage: str) -> None:
            message = "boom"
            raise RuntimeError(message)

    gates: list[Any] = []

    class Keeps(pl.Callback):
        def setup(self, trainer: Any, pl_module: Any, stage: str) -> None:
            gates.append(trainer.callbacks[0])

    with caplog.at_level(logging.WARNING, "fitgate"), pytest.raises(RuntimeError, match="boom"):
        fit(tmp_path, best(tmp_path), Keeps(), Raises(), thresholds=["val_acc >= 0.8", "artifact.size_mb <= 20"])
    assert published(tmp_path) == ["1", "CURRENT", "history.jsonl"]
    assert latest(tmp_path).state == "deployed"
    assert (gate_file(tmp_path)["verdict"], gate_file(tmp_path)["reasons"]) == ("deploy", [])
    assert not (tmp_path / "runs" / latest(tmp_path).id / "improve").exists()
    assert (gates[0].decision.verdict, gates[0].version) == ("deploy", 1)
    said = [record.message for record in caplog.records if "is live" in record.message]
    assert said == [
        f"GateCallback: version 1 of {tmp_path / 'deploy' / 'net'} is live, although something failed afterwards: RuntimeError: boom"
    ]
    assert judge(latest(tmp_path), ["val_acc >= 0.8"]).verdict == "deploy"


def test_a_later_fit_that_can_not_start_has_no_version(tmp_path: Path) -> None:
    """What an earlier fit of the same callback published is not the later one's."""
    gate, _ = fit(tmp_path, best(tmp_path))
    assert gate.version == 1
    (tmp_path / "deploy").rename(tmp_path / "elsewhere")
    (tmp_path / "deploy").write_text("a file")
    trainer = make_trainer(tmp_path, gate, best(tmp_path, "b"))
    with pytest.raises(NotADirectoryError):
        trainer.fit(Scripted(), loader(), loader())
    assert gate.version is None
