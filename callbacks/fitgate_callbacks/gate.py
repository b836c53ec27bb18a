"""GateCallback: judge what would ship, then publish it or say why not."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from fitgate.export import (
    AlreadyLive,
    Prepared,
    judge_run,
    release,
    without_artifact,
)
from fitgate.gate import ARTIFACT, Decision, Threshold, evaluate
from fitgate.store import Store
from fitgate.store._recorder import Recorder
from fitgate_callbacks._agreement import RankAgreement
from fitgate_callbacks._conclude import conclude, guarded, write_gate
from fitgate_callbacks._earlier import Earlier, earlier_outcome, show_earlier
from fitgate_callbacks._examples import ExampleInput
from fitgate_callbacks._fingerprint import ValidatedWeights
from fitgate_callbacks._lightning import Callback, LightningModule, ModelCheckpoint, Trainer, end_progress_bar, shards_weights
from fitgate_callbacks._ranks import share
from fitgate_callbacks._release import judge_and_stage, note_best_so_far
from fitgate_callbacks._settings import gate_settings
from fitgate_callbacks._start import check_setup, format_complaint, sure_improve, unknown_metrics
from fitgate_callbacks.metrics import MetricsCallback

__all__ = ["GateCallback"]

_log = logging.getLogger("fitgate")


class GateCallback(Callback):
    """When fit ends, judges thresholds on the metrics of the checkpoint that would ship.

    On `deploy` the weights are exported, loaded again, compared and published as the next version under
    `dirpath/model_name`; on `improve` nothing is. Either way gate.json in the run's folder has every check. A fit that had
    nothing left to do changes nothing: the decision of the fit before stands. A resumed fit whose best checkpoint is the one that is
    live already publishes nothing again; a new run that passes is a new version, also with the same weights.

    Args:
        thresholds: conditions such as `"val_acc >= 0.8"`, or `Threshold`s; at least one. `artifact.size_mb`, `artifact.parameters`,
            `artifact.latency_ms` and `artifact.latency_p95_ms` are those of the exported files.
        dirpath: the deploy root, a local folder.
        model_name: the model's folder under it.
        checkpoint: `"best"`, `"last"`, a path, or one of several ModelCheckpoints. Without any ModelCheckpoint the weights at
            the end of fit. A path that is not there yet needs a suffix, and a folder that is there or that a ModelCheckpoint
            saves in.
        formats: any of `"checkpoint"`, `"safetensors"`, `"torch_export"`, `"onnx"`.
        example_input: arguments of the module's forward, the batch first: a tensor, a tuple or a dict of tensors. Without it the
            module's `example_input_array`, else the input of the first validation batch.
        allow: eligibility rules to set aside by name, such as `("limit_val_batches",)`.

    Raises:
        ThresholdError: (a `ValueError`) no threshold, or one that can't be read.
        ValueError, TypeError: another argument is not as described.
        ModuleNotFoundError: a format needs a package that is not installed.

    Attributes:
        decision: after fit, on every rank; None before.
        version: the version that holds what was judged, on every rank: published by this fit, or live already; None otherwise.
        report: the content of report.json, on every rank, when the verdict is improve; None otherwise.
        run_dir: the judged run's folder, on every rank; None before.

    Example:
        >>> from fitgate.callbacks import GateCallback
        >>> GateCallback(["val_acc >= 0.8"]).decision is None
        True
    """

    def __init__(
        self,
        thresholds: Iterable[str | Threshold],
        *,
        dirpath: str | os.PathLike[str] = "deploy",
        model_name: str = "model",
        checkpoint: str | os.PathLike[str] | ModelCheckpoint = "best",
        formats: Sequence[str] = ("checkpoint", "safetensors"),
        example_input: Any = None,  # noqa: ANN401 - what forward takes
        allow: Sequence[str] = (),
    ) -> None:
        super().__init__()
        self._settings = gate_settings(
            thresholds, dirpath=dirpath, model_name=model_name, checkpoint=checkpoint, formats=formats, allow=allow
        )
        self._example = ExampleInput(example_input)
        self._agreement = RankAgreement(t.metric for t in self._settings.thresholds if not t.metric.startswith(ARTIFACT))
        self._validated = ValidatedWeights()
        self._warned = False
        self._at_end = False
        self._staged: Prepared | AlreadyLive | None
        self._earlier: Earlier | None
        self.decision: Decision | None
        self.version: int | None
        self.report: dict[str, Any] | None
        self.run_dir: Path | None
        self._forget()

    def __repr__(self) -> str:
        folder = self._settings.model_dir
        return f"GateCallback({[str(t) for t in self._settings.thresholds]!r}, dirpath={str(folder.parent)!r}, model_name={folder.name!r})"

    # Lightning's hooks, in the order of a fit

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Before any training: is there a record to judge, one clear checkpoint, an example where one is needed?"""
        if stage != "fit":
            return
        self._forget()  # first: what an earlier fit published is not this one's, whatever fails next
        self._check_alone(trainer)
        metrics = self._metrics(trainer)
        if trainer.world_size > 1:
            metrics.watch(self._agreement.take)
        self._at_end = check_setup(trainer, pl_module, self._settings, self._example)
        if trainer.is_global_zero and (improve := sure_improve(trainer, self._settings)):
            _log.warning("GateCallback: %s", improve)
        self._example.forget()
        self._agreement.forget()
        self._validated.forget()

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """The module is complete now: can it be written in these formats?"""
        complaint = format_complaint(trainer, pl_module, self._settings.formats)
        if complaint:
            message = f"GateCallback: {complaint}"
            raise ValueError(message)

    def on_validation_batch_start(
        self,
        trainer: Trainer,
        pl_module: LightningModule,
        batch: Any,  # noqa: ANN401 - whatever a dataloader gives
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        """Keep some samples of the first batch, in the sanity check already; and what tells the weights that are validated."""
        if trainer.state.fn != "fit" or batch_idx:
            return
        whole = trainer.is_global_zero and not shards_weights(trainer)
        if self._at_end and whole and not (dataloader_idx or trainer.sanity_checking):
            self._validated.see(trainer, pl_module)
        if not self._example.take(batch, pl_module) and self._settings.wants_example:
            message = (
                f"GateCallback: can't tell the input of {type(pl_module).__name__}.forward in a validation batch of type "
                f"{type(batch).__name__}; give GateCallback(example_input=…)"
            )
            raise ValueError(message)
        if not trainer.sanity_checking:
            self._try_example(trainer, pl_module)

    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Try the example, now that every hook before the first step has run; later warn of a metric that nobody has logged."""
        self._try_example(trainer, pl_module)
        if trainer.current_epoch > 0:  # only now has the module logged all that it logs at the end of an epoch
            self._warn_of_unknown(trainer)

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:  # noqa: ARG002
        """Warn after a fit of one epoch too."""
        self._warn_of_unknown(trainer)

    def on_fit_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Judge, and stage what will ship. One verdict, or one error, on all ranks."""
        disagreeing = self._agreement.compare(trainer)
        decision: Decision | None = None
        error: Exception | None = None
        try:
            decision, self._staged = self._judge_and_stage(trainer, pl_module, disagreeing)
        except Exception as caught:  # noqa: BLE001 - it is raised on every rank, below
            error = caught
        self.decision = share(trainer, decision, error)

    def on_exception(self, trainer: Trainer, pl_module: LightningModule, exception: BaseException) -> None:  # noqa: ARG002
        """A fit that did not come to its end is never a deploy. What is live already stays so, and so does what is on record of it.

        Of an error before the first step nothing is written or printed here: run.json says that the fit failed, and why.
        """
        metrics = self._find_metrics(trainer)
        if trainer.state.fn != "fit" or metrics is None:
            return  # without a record there was no fit: `setup` has said so
        if self.version is not None:
            what = f"{type(exception).__name__}: {exception}".rstrip(": ")
            folder = self._settings.model_dir
            _log.warning("GateCallback: version %d of %s is live, although something failed afterwards: %s", self.version, folder, what)
            return
        self._drop_staged()
        recorder = metrics.end_fit(trainer, exception)
        if not trainer.is_global_zero or recorder is None or recorder.info.state not in ("failed", "interrupted"):
            return  # nothing began, and what stands on record is of a fit before; or this one has been judged
        # An error of ours would take the place of the fit's own, and keep a ModelCheckpoint from saving what it was to save on that.
        guarded("how the fit ended", lambda: self._write_down_failed(trainer, recorder))

    def teardown(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Publish, now that every other callback's `on_fit_end` has succeeded."""
        if stage != "fit" or self.decision is None:
            return
        error: Exception | None = None
        try:
            if trainer.is_global_zero:
                end_progress_bar(trainer, pl_module)
                self._publish(trainer)
        except Exception as caught:  # noqa: BLE001 - it is raised on every rank, below
            error = caught
            self._drop_staged()
        outcome = (self.decision, self.version, self.report, self.run_dir)
        self.decision, self.version, self.report, self.run_dir = share(trainer, outcome, error)

    def __getstate__(self) -> dict[str, Any]:
        # The Trainer hangs the module's own `log` and `log_dict` on every callback; a staging is this process's own.
        own = {"_staged": None, "_earlier": None, "_validated": ValidatedWeights()}
        return {key: value for key, value in self.__dict__.items() if key not in ("log", "log_dict")} | own

    # Behind the hooks

    def _try_example(self, trainer: Trainer, module: LightningModule) -> None:
        if shards_weights(trainer):
            return
        complaint = self._example.complaint(trainer, module, self._settings.formats, timed=bool(self._settings.timed))
        if complaint:
            message = f"GateCallback: {complaint}"
            raise ValueError(message)

    def _write_down_failed(self, trainer: Trainer, recorder: Recorder) -> None:
        note_best_so_far(trainer, recorder, self._settings)
        run = Store(str(recorder.run_dir.parent)).run(recorder.info.id)
        decision, _ = judge_run(run, self._settings.thresholds, self._settings.model_dir, self._settings.allow)
        self.decision, self.run_dir = without_artifact(decision), recorder.run_dir
        if run.info.fit is not None and run.info.fit.failed and run.info.fit.steps == 0:
            return  # such as an argument that can't be: the error says it all, and there is nothing to judge
        write_gate(recorder, self.decision)
        self._conclude(recorder)

    def _forget(self) -> None:
        self._staged = self._earlier = None
        self._nothing_trained = False
        self.decision, self.version, self.report, self.run_dir = None, None, None, None

    def _warn_of_unknown(self, trainer: Trainer) -> None:
        """Once, as soon as what a whole epoch logs is known: of thresholds on what nobody has logged."""
        names = self._metrics(trainer).names
        if self._warned or not trainer.is_global_zero or not names or (trainer.enable_validation and "validate" not in names):
            return
        self._warned = True
        for warning in unknown_metrics(self._settings.thresholds, names):
            _log.warning("GateCallback: %s", warning)

    def _judge_and_stage(
        self, trainer: Trainer, module: LightningModule, disagreeing: Mapping[int, str]
    ) -> tuple[Decision | None, Prepared | AlreadyLive | None]:
        metrics = self._metrics(trainer)
        if not metrics.has_begun(trainer):
            if "no_step" not in self._settings.allow:
                self._nothing_trained = True
                return self._what_stands(metrics) if trainer.is_global_zero else None, None
            metrics.begin(trainer, module)
        recorder = metrics.end_fit(trainer)
        return judge_and_stage(
            trainer,
            module,
            recorder,
            self._settings,
            example=self._example.value(trainer, module),
            disagreeing=disagreeing,
            weights_changed=self._validated.changed(trainer, module) if self._at_end else None,
            state_key=metrics.state_key,
        )

    def _what_stands(self, metrics: MetricsCallback) -> Decision:
        """The decision that stands; where there is none, that nothing was trained."""
        self._earlier = earlier_outcome(metrics.goes_on_in, self._settings.model_dir)
        if self._earlier is not None:
            return self._earlier.decision
        reason = "no_step: this fit ran no optimizer step, so it has nothing new to judge"
        _log.warning("GateCallback: %s", reason)
        return evaluate(self._settings.thresholds, {}, ineligible=[reason])

    def _publish(self, trainer: Trainer) -> None:
        if self._nothing_trained:
            if self._earlier is not None:
                self.version, self.report, self.run_dir = self._earlier.version, self._earlier.report, self._earlier.run_dir
                show_earlier(self._earlier, self._settings.model_dir)
            return
        recorder = self._metrics(trainer).recorder
        if recorder is None or self.decision is None:
            return
        is_new = not isinstance(self._staged, AlreadyLive)
        if self._staged is not None:
            self.decision, self.version = release(self._staged, self.decision, why=f"run {recorder.info.id} passed its gate")
            self._staged = None
        if recorder.info.state == "completed":
            recorder.update(state="deployed" if self.decision.verdict == "deploy" else "improve")
        decision = self.decision
        if decision.verdict == "deploy":
            write_gate(recorder, decision)
        else:  # the fit has ended all the same, and nothing has gone live that could not be told
            guarded("gate.json", lambda: write_gate(recorder, decision))
        self._conclude(recorder, is_new=is_new)

    def _conclude(self, recorder: Recorder, *, is_new: bool = True) -> None:
        """Say how it ended."""
        assert self.decision is not None
        self.run_dir = recorder.run_dir
        self.report = conclude(recorder, self.decision, model_dir=self._settings.model_dir, version=self.version, is_new=is_new)

    def _drop_staged(self) -> None:
        if self._staged is not None:
            self._staged.drop()
            self._staged = None

    def _check_alone(self, trainer: Trainer) -> None:
        gates = [callback for callback in trainer.callbacks if isinstance(callback, GateCallback)]  # type: ignore[attr-defined]  # set in Trainer.__init__
        if len(gates) > 1:
            told = ", ".join(map(repr, gates))
            message = f"GateCallback: this Trainer has {len(gates)} ({told}), and a run has one gate.json: give all thresholds to one"
            raise ValueError(message)

    @staticmethod
    def _find_metrics(trainer: Trainer) -> MetricsCallback | None:
        callbacks = trainer.callbacks  # type: ignore[attr-defined]  # set in Trainer.__init__
        return next((callback for callback in callbacks if isinstance(callback, MetricsCallback)), None)

    def _metrics(self, trainer: Trainer) -> MetricsCallback:
        found = self._find_metrics(trainer)
        if found is None:
            message = (
                "GateCallback judges what MetricsCallback records, and this Trainer has none; add one: "
                'from fitgate.callbacks import MetricsCallback, then callbacks=[MetricsCallback("runs"), …]'
            )
            raise ValueError(message)
        return found
