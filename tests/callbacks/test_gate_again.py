"""A run that was judged before: a fit with nothing left to do leaves it as it is, and no weights are published twice."""

import hashlib
import json
from pathlib import Path
from typing import Any

import pytest
import pytorch_lightning as pl
import torch

from fitgate import Decision
from fitgate.callbacks import GateCallback, MetricsCallback
from fitgate.registry import rollback
from fitgate.registry._manifest import encode_manifest
from tests.callbacks._gated import STEPS, Scripted, best, fit, gate_file, judged_again, latest, loader, make_trainer, manifest, published

LIVE = ["1", "CURRENT", "history.jsonl"]


def files(folder: Path) -> dict[str, str]:
    """The digest of every file in a folder, but the locks."""
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and path.name != ".lock"
    }


def ended(tmp_path: Path, *, thresholds: Any = ("val_acc >= 0.8",)) -> tuple[GateCallback, Path]:
    """A whole fit, judged, and the checkpoint of its end."""
    gate, trainer = fit(tmp_path, best(tmp_path), thresholds=thresholds)
    path = tmp_path / "end.ckpt"
    trainer.save_checkpoint(path)
    return gate, path


@pytest.mark.parametrize("sanity", [0, 2])
@pytest.mark.parametrize(("threshold", "verdict"), [("val_acc >= 0.8", "deploy"), ("val_acc >= 0.99", "improve")])
def test_a_finished_run_that_is_resumed_stays_as_it_was(
    tmp_path: Path, sanity: int, threshold: str, verdict: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """With a sanity check or without: not a byte of its folder or of what is deployed changes, and the callback tells of it."""
    first, end = ended(tmp_path, thresholds=[threshold])
    before = files(tmp_path)
    capsys.readouterr()
    again, _ = fit(tmp_path, best(tmp_path), thresholds=[threshold], ckpt_path=end, num_sanity_val_steps=sanity)
    assert files(tmp_path) == before
    assert again.decision is not None
    assert first.decision is not None
    assert (again.decision.verdict, again.decision.checks) == (verdict, first.decision.checks)
    assert again.decision.metrics == pytest.approx(dict(first.decision.metrics))
    assert "nothing was trained" in again.decision.warnings[-1]
    assert (again.version, again.run_dir) == (first.version, first.run_dir)
    assert (again.report or {}).get("verdict") == (first.report or {}).get("verdict")
    told = capsys.readouterr().out
    assert f" {verdict.upper()} " in told
    labels = [line.split()[0] for line in told.splitlines() if "deploy/net/1  (" in line]
    assert labels == (["live"] if verdict == "deploy" else [])
    assert told.count("nothing was trained") == 1


@pytest.mark.parametrize("damage", ["", "[1]", "{", "[" * 100_000])
def test_a_finished_run_whose_report_can_not_be_read(tmp_path: Path, damage: str) -> None:
    """What was decided stands all the same; there is no report to hand on."""
    _, end = ended(tmp_path, thresholds=["val_acc >= 0.99"])
    (Path(latest(tmp_path).path) / "improve" / "report.json").write_text(damage)
    again, _ = fit(tmp_path, best(tmp_path), thresholds=["val_acc >= 0.99"], ckpt_path=end)
    assert again.decision is not None
    assert again.decision.verdict == "improve"
    assert "nothing was trained" in again.decision.warnings[-1]
    assert again.report is None


def test_an_earlier_checkpoint_with_nothing_left_to_do_masks_nothing(tmp_path: Path) -> None:
    """`max_epochs` lies behind what was reached: the points of later epochs still count."""
    middle = tmp_path / "middle.ckpt"

    class Saves(pl.Callback):
        def on_train_epoch_end(self, trainer: Any, pl_module: Any) -> None:
            if trainer.current_epoch == 0:
                trainer.save_checkpoint(middle)

    fit(tmp_path, best(tmp_path), Saves())
    before = files(tmp_path / "runs")
    fit(tmp_path, best(tmp_path), ckpt_path=middle, max_epochs=1)
    assert files(tmp_path / "runs") == before
    assert latest(tmp_path).metrics(["val_acc"]).num_rows == 3


def test_a_trainer_that_fits_again_with_nothing_left_to_do(tmp_path: Path) -> None:
    """The same Trainer and callbacks, without a checkpoint."""
    gate = GateCallback(["val_acc >= 0.8"], dirpath=tmp_path / "deploy", model_name="net")
    trainer = make_trainer(tmp_path, gate, best(tmp_path))
    trainer.fit(Scripted(), loader(), loader())
    before, decision = files(tmp_path), gate.decision
    trainer.fit(Scripted(), loader(), loader())
    assert files(tmp_path) == before
    assert decision is not None
    assert gate.decision is not None
    assert gate.decision.checks == decision.checks
    assert gate.version == 1


def test_a_finished_run_that_nobody_judged(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Nothing stands on record: an improve that says so, and no file changes."""
    trainer = make_trainer(tmp_path, None, best(tmp_path))
    trainer.fit(Scripted(), loader(), loader())
    trainer.save_checkpoint(tmp_path / "end.ckpt")
    before = files(tmp_path)
    gate, _ = fit(tmp_path, best(tmp_path), ckpt_path=tmp_path / "end.ckpt")
    assert gate.decision is not None
    assert (gate.decision.verdict, gate.decision.reasons[0].split(":")[0]) == ("improve", "no_step")
    assert files(tmp_path) == before
    assert "no_step: this fit ran no optimizer step" in caplog.text


def test_a_rule_that_is_set_aside_judges_what_an_earlier_fit_trained(tmp_path: Path) -> None:
    """`allow=["no_step"]`: the gate was added afterwards."""
    trainer = make_trainer(tmp_path, None, best(tmp_path))
    trainer.fit(Scripted(), loader(), loader())
    trainer.save_checkpoint(tmp_path / "end.ckpt")
    gate, _ = fit(tmp_path, best(tmp_path), ckpt_path=tmp_path / "end.ckpt", gate={"allow": ["no_step"]})
    assert gate.decision is not None
    assert (gate.decision.verdict, gate.decision.reasons) == ("deploy", ())
    assert manifest(tmp_path)["source"]["global_step"] == 2 * STEPS


@pytest.mark.parametrize("order", ["gate first", "gate last"])
def test_an_error_in_the_sanity_check_of_a_resumed_fit_is_on_record(tmp_path: Path, order: str) -> None:
    """Whichever callback hears of it first: the run failed, run.json says why, and the decision of the fit before stands."""
    _, trainer = fit(tmp_path, best(tmp_path), max_epochs=1)
    trainer.save_checkpoint(tmp_path / "end.ckpt")

    class Fails(Scripted):
        def validation_step(self, batch: Any, batch_idx: int) -> None:
            message = "on purpose"
            raise RuntimeError(message)

    gate = GateCallback(["val_acc >= 0.8"], dirpath=tmp_path / "deploy", model_name="net")
    metrics = MetricsCallback(tmp_path / "runs")
    callbacks = [gate, metrics] if order == "gate first" else [metrics, gate]
    settings: dict[str, Any] = {"accelerator": "cpu", "devices": 1, "logger": False, "enable_progress_bar": False}
    again = pl.Trainer(max_epochs=2, enable_model_summary=False, callbacks=[*callbacks, best(tmp_path)], **settings)
    with pytest.raises(RuntimeError, match="on purpose"):
        again.fit(Fails(), loader(), loader(), ckpt_path=tmp_path / "end.ckpt", weights_only=False)
    run = latest(tmp_path)
    assert run.state == "failed"
    assert run.info.fit is not None
    assert run.info.fit.failed == "RuntimeError: on purpose"
    assert "failed" not in "".join(gate_file(tmp_path)["reasons"])


def test_a_fit_that_fails_before_it_begins_leaves_the_earlier_decision(tmp_path: Path) -> None:
    """Of the same Trainer: an error in another callback's `on_fit_start` changes nothing on record."""

    class Fails(pl.Callback):
        def on_fit_start(self, trainer: Any, pl_module: Any) -> None:
            if trainer.global_step:
                message = "on purpose"
                raise RuntimeError(message)

    gate = GateCallback(["val_acc >= 0.8"], dirpath=tmp_path / "deploy", model_name="net")
    trainer = make_trainer(tmp_path, gate, best(tmp_path), Fails())
    trainer.fit(Scripted(), loader(), loader())
    before = files(tmp_path)
    with pytest.raises(RuntimeError, match="on purpose"):
        trainer.fit(Scripted(), loader(), loader())
    assert files(tmp_path) == before


def _resumed(tmp_path: Path, **options: Any) -> GateCallback:
    """Two epochs, the first of which ships; then a third, which is worse."""
    last = best(tmp_path, save_last=True)
    fit(tmp_path, last, module=Scripted((0.9, 0.5)), max_epochs=2)
    gate, _ = fit(tmp_path, best(tmp_path), module=Scripted((0.9, 0.5, 0.4)), ckpt_path=last.last_model_path, **options)
    assert gate.decision is not None
    return gate


def test_weights_that_are_live_already_are_not_published_again(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A resumed fit whose best checkpoint is still the one that shipped: a deploy that says so, and one version."""
    gate = _resumed(tmp_path)
    assert gate.decision is not None
    assert (gate.decision.verdict, gate.version) == ("deploy", 1)
    assert published(tmp_path) == LIVE
    printed = capsys.readouterr().out
    assert [line.split()[0] for line in printed.splitlines() if "deploy/net/1  (" in line] == ["exported", "live"]
    said = "these very weights are live already, as version 1: nothing was published again"
    assert gate.decision.warnings == (said,)
    assert gate_file(tmp_path)["warnings"] == [said]
    assert latest(tmp_path).state == "deployed"
    assert said in " ".join(printed.split())
    assert len((tmp_path / "deploy" / "net" / "history.jsonl").read_text().splitlines()) == 1


def test_a_new_run_with_the_same_weights_is_a_new_version(tmp_path: Path) -> None:
    """Only a fit that goes on from a checkpoint publishes nothing twice: versions say which run they come from."""
    weights = []
    for version in (1, 2):
        pl.seed_everything(0)
        gate, _ = fit(tmp_path, best(tmp_path, f"ckpt-{version}"))
        assert gate.version == version
        weights.append((tmp_path / "deploy" / "net" / str(version) / "model.safetensors").read_bytes())
    assert weights[0] == weights[1]
    assert manifest(tmp_path, 1)["source"]["run_id"] != manifest(tmp_path, 2)["source"]["run_id"]


@pytest.mark.parametrize(("other", "threshold", "verdict"), [(0.3, "val_acc >= 0.8", "deploy"), (0.99, "val_acc >= 0.95", "improve")])
def test_what_was_validated_between_two_fits_is_of_neither(tmp_path: Path, other: float, threshold: str, verdict: str) -> None:
    """`trainer.validate` of other weights, at the step of the checkpoint that the resumed fit still ships: its own value is judged."""
    last = best(tmp_path, save_last=True)
    first, trainer = fit(tmp_path, last, module=Scripted((0.7, 0.9)), max_epochs=2, thresholds=[threshold])
    trainer.validate(Scripted((other,)), loader(), verbose=False)
    gate, _ = fit(tmp_path, best(tmp_path), module=Scripted((0.7, 0.9, 0.4)), ckpt_path=last.last_model_path, thresholds=[threshold])
    assert first.decision is not None
    assert gate.decision is not None
    assert (gate.decision.verdict, gate.decision.checks) == (verdict, first.decision.checks)
    assert gate.decision.judged.global_step == 2 * STEPS
    assert judged_again(tmp_path) == gate_file(tmp_path)


@pytest.mark.parametrize(("threshold", "state"), [("val_acc >= 0.8", "deployed"), ("val_acc >= 0.99", "improve")])
def test_a_validation_by_another_trainer_leaves_what_became_of_the_run(tmp_path: Path, threshold: str, state: str) -> None:
    """One that went on from a finished fit's checkpoint, had nothing left to do, and validates: the run is still deployed, or an improve."""
    _, end = ended(tmp_path, thresholds=[threshold])
    _, trainer = fit(tmp_path, best(tmp_path), ckpt_path=end, thresholds=[threshold])
    trainer.validate(Scripted((0.3,)), loader(), verbose=False)
    run = latest(tmp_path)
    assert len(run.info.attempts) == 2, "it has recorded"
    assert run.state == state
    assert judged_again(tmp_path) == gate_file(tmp_path)


def test_what_was_not_proven_of_the_live_version_is_said_again(tmp_path: Path) -> None:
    """Its outputs were not compared, and gate.json of the fit that published nothing says so as well."""

    class TakesNoBatch(Scripted):
        def forward(self, *, features: torch.Tensor) -> torch.Tensor:  # type: ignore[override]  # no positional argument, so no batch fits
            return super().forward(features)

        def training_step(self, batch: Any, batch_idx: int) -> torch.Tensor:
            return torch.nn.functional.cross_entropy(self(features=batch[0]), batch[1])

        def validation_step(self, batch: Any, batch_idx: int) -> None:
            self.log("val_acc", self.script[min(self.current_epoch, len(self.script) - 1)])

    last = best(tmp_path, save_last=True)
    first, _ = fit(tmp_path, last, module=TakesNoBatch((0.9, 0.5)), max_epochs=2)
    gate, _ = fit(tmp_path, best(tmp_path), module=TakesNoBatch((0.9, 0.5, 0.4)), ckpt_path=last.last_model_path)
    assert first.decision is not None
    assert gate.decision is not None
    (not_compared,) = first.decision.warnings
    assert not_compared.startswith("outputs were not compared, only weights: ")
    assert gate.version == 1
    assert gate.decision.warnings[0] == not_compared


def test_weights_at_the_end_of_fit_that_are_live_already_are_not_published_again(tmp_path: Path) -> None:
    """Without a ModelCheckpoint too, where a fit that takes no step may be judged; one that trains on publishes the next version."""
    gate = GateCallback(["val_acc >= 0.5"], dirpath=tmp_path / "deploy", model_name="net", allow=["no_step"])
    trainer = make_trainer(tmp_path, gate, max_epochs=1)
    module = Scripted((0.9, 0.9))

    def fitted() -> Decision:
        trainer.fit(module, loader(), loader())
        assert gate.decision is not None
        return gate.decision

    assert (fitted().verdict, gate.version) == ("deploy", 1)
    again = fitted()
    assert (again.verdict, gate.version, published(tmp_path)) == ("deploy", 1, LIVE)
    assert "live already, as version 1" in again.warnings[-1]
    trainer.fit_loop.max_epochs = 2
    assert (fitted().warnings, gate.version) == ((), 2)


def test_bounds_on_the_files_and_on_the_champion_hold_as_when_they_went_live(tmp_path: Path) -> None:
    """Against the version before, not against itself; the files' size is the live version's."""
    fit(tmp_path, best(tmp_path, "first"), module=Scripted((0.85,)), max_epochs=1)
    thresholds = ["val_acc >= champion + 0.01", "val_acc >= 0.5", "artifact.size_mb <= 5"]
    last = best(tmp_path, save_last=True)
    first, _ = fit(tmp_path, last, module=Scripted((0.9, 0.5)), max_epochs=2, thresholds=thresholds)
    gate, _ = fit(tmp_path, best(tmp_path), module=Scripted((0.9, 0.5, 0.4)), ckpt_path=last.last_model_path, thresholds=thresholds)
    assert first.decision is not None
    assert gate.decision is not None
    assert (gate.decision.verdict, gate.version) == ("deploy", 2)
    assert gate.decision.checks == first.decision.checks
    assert published(tmp_path) == ["1", "2", "CURRENT", "history.jsonl"]


def test_weights_that_are_live_meet_a_threshold_that_is_new_against_the_version_before(tmp_path: Path) -> None:
    """They were published by a bound of its own; all values of the version before are on record, and which one it was."""
    fit(tmp_path, best(tmp_path, "first"), module=Scripted((0.85,)), max_epochs=1)
    last = best(tmp_path, save_last=True)
    first, _ = fit(tmp_path, last, module=Scripted((0.9, 0.5)), max_epochs=2, thresholds=["val_acc >= 0.5"])
    new = ["val_acc >= champion + 0.01", "val_acc >= 0.5"]
    gate, _ = fit(tmp_path, best(tmp_path), module=Scripted((0.9, 0.5, 0.4)), ckpt_path=last.last_model_path, thresholds=new)
    assert first.decision is not None
    assert gate.decision is not None
    assert (gate.decision.verdict, gate.decision.reasons, gate.version) == ("deploy", (), 2)
    assert gate.decision.checks[0].required == pytest.approx(0.86)
    assert gate.decision.live == first.decision.live
    assert gate.decision.live is not None
    assert gate.decision.live.version == 1
    assert judged_again(tmp_path) == gate_file(tmp_path)


@pytest.mark.parametrize("change", ["format", "rolled back", "damaged", "of another shape"])
def test_what_the_live_version_lacks_is_published(tmp_path: Path, change: str) -> None:
    """A further format, another live version, a file that is no longer whole, a manifest of no known shape: a reason for a new version."""
    if change == "rolled back":
        fit(tmp_path, best(tmp_path, "first"), module=Scripted((0.85,)), max_epochs=1)
    last = best(tmp_path, save_last=True)
    fit(tmp_path, last, module=Scripted((0.9, 0.5)), max_epochs=2, gate={"formats": ["safetensors"]})
    options: dict[str, Any] = {"gate": {"formats": ["safetensors"]}}
    folder = tmp_path / "deploy" / "net"
    if change == "format":
        options["gate"] = {"formats": ["safetensors", "checkpoint"]}
    elif change == "rolled back":
        rollback(folder)
    elif change == "of another shape":
        data = encode_manifest({**manifest(tmp_path), "proof": ["none"]})
        (folder / "1" / "manifest.json").write_bytes(data)
        current = json.loads((folder / "CURRENT").read_bytes())
        (folder / "CURRENT").write_text(json.dumps({**current, "manifest_sha256": hashlib.sha256(data).hexdigest()}))
    else:
        (folder / "1" / "model.safetensors").write_bytes(b"")
    gate, _ = fit(tmp_path, best(tmp_path), module=Scripted((0.9, 0.5, 0.4)), ckpt_path=last.last_model_path, **options)
    assert gate.decision is not None
    assert (gate.decision.verdict, gate.decision.warnings) == ("deploy", ())
    assert gate.version == (3 if change == "rolled back" else 2)
