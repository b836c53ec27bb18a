"""The way back to training, with real fits: until one is deployed, or there is a reason to stop."""

import contextlib
import io
import json
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import pytorch_lightning as pl
import torch
from rich.console import Console
from torch.utils.data import DataLoader, TensorDataset

import fitgate
from fitgate.callbacks import GateCallback, MetricsCallback
from fitgate.loop._rounds import Round, Rounds
from fitgate.loop._show import print_rounds


class Net(pl.LightningModule):
    """Separates two clouds of points, if its learning rate lets it."""

    def __init__(self, lr: float) -> None:
        super().__init__()
        self.save_hyperparameters()
        self.net = torch.nn.Linear(2, 2)
        torch.nn.init.zeros_(self.net.weight)

    def training_step(self, batch: Any, batch_idx: int) -> torch.Tensor:
        return torch.nn.functional.cross_entropy(self.net(batch[0]), batch[1])

    def validation_step(self, batch: Any, batch_idx: int) -> None:
        self.log("val_acc", (self.net(batch[0]).argmax(1) == batch[1]).float().mean())

    def configure_optimizers(self) -> Any:
        return torch.optim.SGD(self.parameters(), lr=self.hparams["lr"])


def _loader() -> DataLoader[Any]:
    generator = torch.Generator().manual_seed(0)
    classes = torch.arange(64) % 2
    points = torch.randn(64, 2, generator=generator) + 6.0 * classes[:, None] - 3.0
    return DataLoader(TensorDataset(points, classes), batch_size=16)


def _trainer(root: Path, *extra: pl.Callback) -> pl.Trainer:
    gate = GateCallback(["val_acc >= 0.9"], dirpath=root / "deploy", model_name="net")
    return pl.Trainer(
        accelerator="cpu",
        max_epochs=2,
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        callbacks=[MetricsCallback(root / "runs"), gate, *extra],
    )


def test_it_stops_at_the_first_deploy(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The first round can't learn; the second gets its report and is published; there is no third."""
    seen: list[dict[str, Any] | None] = []

    def build(number: int, report: dict[str, Any] | None) -> tuple[Any, Any, Any]:
        seen.append(report)
        return _trainer(tmp_path), Net(0.0 if number == 0 else 0.1), (_loader(), _loader())

    done = fitgate.fit_until_deployed(build, max_rounds=5)
    assert done.deployed
    assert done.version == 1
    assert [each.verdict for each in done.rounds] == ["improve", "deploy"]
    first, second = seen
    assert first is None
    assert second is not None
    on_disk = json.loads((tmp_path / "runs" / str(done.rounds[0].run_id) / "improve" / "report.json").read_bytes())
    assert second["verdict"] == on_disk["verdict"] == "improve"
    assert second["suggestions"] == on_disk["suggestions"]
    assert len(fitgate.Store(str(tmp_path / "runs")).runs()) == 2
    assert (tmp_path / "deploy" / "net" / "1" / "manifest.json").exists()
    printed = capsys.readouterr().out
    assert "Deployed as version 1 after 2 rounds." in printed
    assert "lr 0 → 0.1" in printed
    assert "0.9 needed" in printed


def test_it_gives_up_after_the_rounds_it_was_given(tmp_path: Path) -> None:
    """No deploy is no error."""
    done = fitgate.fit_until_deployed(lambda *_: (_trainer(tmp_path), Net(0.0), (_loader(), _loader())), max_rounds=2)
    assert done.ended == "max_rounds"
    assert done.version is None
    assert [each.verdict for each in done.rounds] == ["improve", "improve"]


def test_a_round_that_raises_ends_the_loop_and_loses_nothing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The earlier round stays, with its run and its report; the error is on the result and on the screen."""

    def build(number: int, _: dict[str, Any] | None) -> tuple[Any, Any, Any]:
        if number == 1:
            message = "no memory left"
            raise RuntimeError(message)
        return _trainer(tmp_path), Net(0.0), (_loader(), _loader())

    done = fitgate.fit_until_deployed(build)
    assert done.ended == "failed"
    assert isinstance(done.error, RuntimeError)
    assert [each.error for each in done.rounds] == [None, "RuntimeError: no memory left"]
    assert done.rounds[0].report is not None
    assert "round 1 raised RuntimeError: no memory left" in capsys.readouterr().out


def test_ctrl_c_keeps_what_was_done(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Lightning ends the program; before that the rounds are printed, and the interrupted run is on record."""

    class Interrupts(pl.Callback):
        def on_train_batch_start(self, trainer: Any, pl_module: Any, batch: Any, batch_idx: int) -> None:
            raise KeyboardInterrupt

    def build(number: int, _: dict[str, Any] | None) -> tuple[Any, Any, Any]:
        return _trainer(tmp_path, *([Interrupts()] if number == 1 else [])), Net(0.0), (_loader(), _loader())

    with pytest.raises(SystemExit):
        fitgate.fit_until_deployed(build)
    assert "Interrupted in round 1." in capsys.readouterr().out
    assert sorted(run.state for run in fitgate.Store(str(tmp_path / "runs")).runs()) == ["improve", "interrupted"]


def test_wrong_use_is_named() -> None:
    """Before a fit."""
    with pytest.raises(TypeError, match="build must be a function"):
        fitgate.fit_until_deployed("build")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="max_rounds must be a whole number from 1, got 0"):
        fitgate.fit_until_deployed(lambda *_: (None, None, None), max_rounds=0)
    bare = pl.Trainer(accelerator="cpu", logger=False, enable_checkpointing=False)
    with pytest.raises(ValueError, match="the trainer has no GateCallback, so nothing would be judged"):
        fitgate.fit_until_deployed(lambda *_: (bare, Net(0.0), _loader()))


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (lambda built: built[:2], "got 2 things"),
        (lambda _: None, "got NoneType"),
        (lambda _: "abc", "got str: 'abc'"),
        (lambda built: (built[1], built[0], built[2]), "its trainer is no Trainer but Net"),
        (lambda built: (pl.Trainer, *built[1:]), "its trainer is no Trainer but Trainer, the class itself"),
        (lambda built: (built[0], "net", built[2]), "its module is no LightningModule but str"),
        (lambda built: (*built[:2], [_loader()]), "its data is a list of 1, not a pair of train and validation dataloaders"),
    ],
)
def test_what_build_returns_is_checked(tmp_path: Path, change: Any, told: str) -> None:
    """A TypeError that names what came, in the first round and in a later one."""
    good = (_trainer(tmp_path), Net(0.0), (_loader(), _loader()))
    with pytest.raises(TypeError, match=rf"build must return \(trainer, module, data\).*{told}"):
        fitgate.fit_until_deployed(lambda *_: change(good))


def test_a_wrong_return_in_a_later_round_prints_the_rounds_before(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """They are not lost on the way out."""
    with pytest.raises(TypeError, match="got NoneType"):
        fitgate.fit_until_deployed(lambda number, _: None if number else (_trainer(tmp_path), Net(0.0), (_loader(), _loader())))  # type: ignore[arg-type, return-value]
    printed = capsys.readouterr().out
    assert "Stopped: round 1 raised an error." in printed
    assert "round 1 raised TypeError: fit_until_deployed: build must return" in printed


def test_the_same_trainer_again_is_an_error(tmp_path: Path) -> None:
    """It has nothing left to train: said so, instead of rounds that end at once."""
    trainer = _trainer(tmp_path)
    with pytest.raises(ValueError, match=r"the Trainer of round 0 again in round 1.*make a new one each round"):
        fitgate.fit_until_deployed(lambda *_: (trainer, Net(0.0), (_loader(), _loader())))


@pytest.mark.parametrize("kind", [list, tuple])
def test_a_pair_of_loaders_may_be_a_list(tmp_path: Path, kind: Any) -> None:
    """Trained on the first, validated on the second: what is validated alone is the second's."""
    easy = _loader()
    x, y = easy.dataset.tensors  # type: ignore[attr-defined]
    wrong = DataLoader(TensorDataset(x, 1 - y), batch_size=16)
    done = fitgate.fit_until_deployed(lambda *_: (_trainer(tmp_path), Net(0.1), kind((easy, wrong))), max_rounds=1)
    (check,) = done.rounds[0].decision.checks  # type: ignore[union-attr]
    assert check.value == 0.0


def test_a_module_with_data_of_its_own(tmp_path: Path) -> None:
    """None for data, as for `trainer.fit`."""

    class Own(Net):
        def train_dataloader(self) -> Any:
            return _loader()

        val_dataloader = train_dataloader

    assert fitgate.fit_until_deployed(lambda *_: (_trainer(tmp_path), Own(0.1), None), max_rounds=1).deployed


def test_a_report_that_could_not_be_made_is_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Not an empty one, whose `suggestions` nobody finds."""
    seen: list[Any] = []

    def fails(*_: Any, **__: Any) -> None:
        raise OSError

    monkeypatch.setattr("fitgate_callbacks._conclude.build_report", fails)

    def build(_: int, report: dict[str, Any] | None) -> tuple[Any, Any, Any]:
        seen.append(report)
        return _trainer(tmp_path), Net(0.0), (_loader(), _loader())

    fitgate.fit_until_deployed(build, max_rounds=2)
    assert seen == [None, None]


@pytest.mark.parametrize(("error", "verdict"), [(KeyboardInterrupt, "interrupted"), (RuntimeError, "failed")])
def test_a_round_that_did_not_come_to_its_end_says_so(tmp_path: Path, error: type[BaseException], verdict: str, monkeypatch: Any) -> None:
    """In the table too, although the gate has made an improve of it."""
    done: list[Rounds] = []
    monkeypatch.setattr("fitgate.loop._show.print_rounds", done.append)

    class Raises(pl.Callback):
        def on_train_batch_start(self, trainer: Any, pl_module: Any, batch: Any, batch_idx: int) -> None:
            if trainer.current_epoch == 1:
                raise error

    with contextlib.suppress(SystemExit):
        fitgate.fit_until_deployed(lambda *_: (_trainer(tmp_path, Raises()), Net(0.0), (_loader(), _loader())))
    (rounds,) = done
    assert [each.verdict for each in rounds.rounds] == [verdict]
    assert rounds.rounds[0].decision is not None


def test_a_terminal_without_unicode_keeps_the_result() -> None:
    """What an ASCII terminal can't show is replaced; printing doesn't raise out of a loop that published."""
    stream = io.TextIOWrapper(io.BytesIO(), encoding="ascii")
    one = Round(number=0, run_id="a", hparams={"lr": 0.1})
    two = replace(one, number=1, hparams={"lr": 0.2})
    print_rounds(Rounds(rounds=(one, two), ended="max_rounds"), Console(file=stream, width=120))
    stream.seek(0)
    assert "lr 0.1 ? 0.2" in stream.read()


@pytest.mark.parametrize("width", [40, 60, 80, 100, 160])
def test_no_word_of_a_round_is_broken_at_any_width(width: int) -> None:
    """A run's id is there to be copied; what changed may go over several lines, between words."""
    stream = io.StringIO()
    run_id = "digits-20261125-143354-noble-taipan"
    decision = fitgate.evaluate(["val_acc >= 0.9"], {"val_acc": 0.85})
    one = Round(number=0, run_id=run_id, decision=decision, hparams={"lr": 0.1, "weight_decay": 0.01, "dropout": 0.2})
    two = replace(one, number=1, hparams={"lr": 0.2, "weight_decay": 0.03, "dropout": 0.3})
    print_rounds(Rounds(rounds=(one, two), ended="max_rounds"), Console(file=stream, width=width))
    text = stream.getvalue()
    assert text.count(run_id) == 2
    assert {"lr", "0.1", "0.2", "weight_decay", "0.01", "0.03", "dropout", "0.3", one.verdict} <= set(re.split(r"[\s,]+", text))
    assert "0.85 ✗" in text
    assert "…" not in text
    assert all(len(line.rstrip()) <= max(width, 12 + len(run_id)) for line in text.splitlines())


@pytest.mark.parametrize("width", range(60, 90, 2))
def test_a_short_change_stays_on_one_line(width: int) -> None:
    """Whatever room the ids leave beside them: ids differ in length."""
    stream = io.StringIO()
    one = Round(number=0, run_id="20261125-152937-stalwart-mustang", hparams={"lr": 0})
    done = Rounds(rounds=(one, replace(one, number=1, hparams={"lr": 0.1})), ended="max_rounds")
    print_rounds(done, Console(file=stream, width=width))
    assert "lr 0 → 0.1" in stream.getvalue()


def test_names_are_not_read_as_markup() -> None:
    """Of runs and of hyperparameters."""
    stream = io.StringIO()
    one = Round(number=0, run_id="[red]x", hparams={"[b]lr": "[/]"})
    print_rounds(
        Rounds(rounds=(one, replace(one, number=1, hparams={"[b]lr": "[i]"})), ended="max_rounds"), Console(file=stream, width=120)
    )
    assert "[red]x" in stream.getvalue()
    assert "[b]lr [/] → [i]" in stream.getvalue()


def test_what_a_loop_returns_is_short_at_a_prompt() -> None:
    """Without reports and checks: which rounds, how each ended, and what was published."""
    decision = fitgate.evaluate(["val_acc >= 0.9"], {"val_acc": 0.95})
    rounds = (
        Round(number=0, run_id="a", error="ValueError: no", report={"findings": ["…"] * 1000}),
        Round(number=1, run_id="b", decision=decision, version=3),
    )
    assert repr(Rounds(rounds=rounds, ended="deployed")) == (
        "Rounds(ended='deployed', rounds=(Round(0, 'a', 'failed'), Round(1, 'b', 'deploy', version=3)))"
    )
    failed = Rounds(rounds=rounds[:1], ended="failed", error=ValueError("no"))
    assert repr(failed) == "Rounds(ended='failed', rounds=(Round(0, 'a', 'failed')), error=ValueError('no'))"
