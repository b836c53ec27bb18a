"""MetricsCallback: every logged value into Parquet, mirrored to TensorBoard."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from fitgate._roots import local_root
from fitgate.store._names import check_run_id
from fitgate.store._recorder import Recorder
from fitgate.store._values import check_flag, check_name, check_seconds, check_step, check_text, to_float
from fitgate_callbacks._evidence import ValidationEvidence
from fitgate_callbacks._lightning import Callback, LightningModule, Trainer, only_waits
from fitgate_callbacks._logged import LoggedValues
from fitgate_callbacks._outputs import ACCURACY, LOSS, StepOutputs
from fitgate_callbacks._rates import LearningRates
from fitgate_callbacks._recording import Ranks, Recording, RecordingOptions, Witness
from fitgate_callbacks._validation import all_validate
from fitgate_callbacks._written import CheckpointsWritten, settle

__all__ = ["MetricsCallback"]


class MetricsCallback(Callback):
    """Records what the module logs, at every step, whatever `log_every_n_steps` is.

    Names and steps are those of Lightning's own `CSVLogger` at `log_every_n_steps=1`, save that a
    value which was not logged again is not recorded again, that the loss `training_step`
    returns is always there as `loss` (until the module logs that name itself, if only as an epoch ends), and
    that what another Trainer validates or tests stands where the fit ended. What a LearningRateMonitor tells loggers is recorded too, and it needs no
    other logger. A Trainer takes one of these. Pass `logger=False` to the Trainer, or its default logger writes a second copy.

    Args:
        dirpath: the store's folder, a local one; made where it is missing.
        run_name: what to call the run; leads its id.
        tensorboard: mirror the points as TensorBoard events in the run's folder.
        flush_every_s: seconds between two background flushes; up to 0.8 s more where they would take over 0.25 % of a core.
        accuracy: two keys of the step's output dict, predictions of shape (N, C, …) and targets of shape
            (N, …): records `accuracy`, in train of each batch (rank 0's), in validate of the whole pass, over all ranks and
            without the samples that a distributed sampler repeats.
        ranks: `"zero"` records rank 0 only; `"all"` each rank, in files of its own, which
            `run.metrics(rank=…)` reads. TensorBoard shows rank 0 either way.

    Raises:
        ValueError, TypeError: an argument is not as described.

    Attributes:
        run_id: the run's id, after `setup`, the same on all ranks. With a strategy that spawns, such as
            ddp_spawn, it is known to the spawned processes alone: ask `fitgate.Store(dirpath).latest()`.
        run_dir: the run's folder, after `setup`.

    Example:
        >>> from fitgate.callbacks import MetricsCallback
        >>> callback = MetricsCallback(accuracy=("logits", "target"))
        >>> callback.run_id is None
        True
    """

    def __init__(
        self,
        dirpath: str | os.PathLike[str] = "runs",
        *,
        run_name: str | None = None,
        tensorboard: bool = True,
        flush_every_s: float = 1.0,
        accuracy: tuple[str, str] | None = None,
        ranks: Ranks = "zero",
    ) -> None:
        super().__init__()
        if accuracy is not None and not _are_two_keys(accuracy):
            message = (
                f'MetricsCallback: accuracy must be two keys of the step\'s output dict, such as ("logits", "target"), got {accuracy!r}'
            )
            raise TypeError(message)
        if run_name is not None:
            check_text("MetricsCallback: run_name", run_name)
        if ranks not in ("zero", "all"):
            message = f"MetricsCallback: ranks must be 'zero' or 'all', got {ranks!r}"
            raise ValueError(message)
        self._options = RecordingOptions(
            root=local_root("MetricsCallback: dirpath", dirpath),
            run_name=run_name,
            tensorboard=check_flag("MetricsCallback: tensorboard", tensorboard),
            flush_every_s=check_seconds("MetricsCallback: flush_every_s", flush_every_s),
            ranks=ranks,
            tags={("validate", ACCURACY): f"{ACCURACY}/validate"} if accuracy else None,
        )
        self._accuracy = accuracy
        self._restored: dict[str, Any] = {}
        self._may_begin = False
        self._witnesses: tuple[Witness, ...] = ()
        self._renew()

    @property
    def run_id(self) -> str | None:
        """The run's id, after `setup`, the same on all ranks."""
        return self._recording.run_id

    @property
    def run_dir(self) -> Path | None:
        """The run's folder, after `setup`."""
        return self._options.root / self.run_id if self.run_id else None

    @property
    def recorder(self) -> Recorder | None:
        """What records this run in this process; None before it begins, and on ranks that record nothing."""
        return self._recording.recorder

    @property
    def names(self) -> dict[str, set[str]]:
        """The names recorded so far in this process, by stage."""
        return self._recording.names

    def log_metric(self, name: str, value: Any, step: int | None = None) -> None:  # noqa: ANN401 - whatever holds one number
        """Record a value of one's own.

        Args:
            name: any non-empty text.
            value: one number.
            step: the x-axis. None: in a fit, a validation or a test the current step, as Lightning's loggers count;
                afterwards one more than the last step of that name.

        What is logged in the sanity check is not recorded, as Lightning's loggers record nothing then. In a forked child, such
        as a worker of a DataLoader, nothing is recorded, and a warning says so once.

        Raises:
            TypeError, ValueError: name, value or step can't be taken; the message names the metric.
            RuntimeError: no fit, validation or test has begun.
        """
        number = to_float(check_name(name), value)
        at = None if step is None else check_step(name, step)
        recording = self._recording
        trainer = recording.trainer or recording.upcoming
        if recording.is_forked:
            recording.tell_forked(name)
        elif trainer is not None and trainer.sanity_checking:
            return
        elif recording.trainer is not None:
            stage = recording.trainer.state.stage
            recording.take(stage.value if stage is not None else "train", self._logged.step if at is None else at, (name,), [number])
        elif trainer is not None:
            self._early.append((name, number, at))  # between `setup` and the opening of the files
        elif recording.recorder is not None:
            recording.take_by_hand(name, at, number)
        elif not recording.stands_by:
            message = f"metric {name!r}: nothing is being recorded yet; log in a hook of a running fit, validation or test"
            raise RuntimeError(message)

    @property
    def goes_on_in(self) -> Path | None:
        """The folder of the run that a fit goes on with, from before it has begun; None before there is any."""
        run_id = self._restored.get("run_id") or self.run_id
        return self._options.root / run_id if run_id else None

    def has_begun(self, trainer: Trainer) -> bool:
        """Whether this trainer has done anything to record, on every rank alike: not where a resumed fit had nothing left to do."""
        return self._recording.trainer is trainer

    def begin(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Open the run, for those who want a fit recorded that trains nothing. All ranks must call this."""
        self._begin(trainer, pl_module)

    def watch(self, witness: Witness) -> None:
        """Tell somebody, in the fits to come, what is recorded on this rank, and on one that records nothing what would be."""
        if witness not in self._witnesses:
            self._witnesses = (*self._witnesses, witness)

    def flush(self) -> None:
        """Bring everything recorded so far to the disk."""
        if self.recorder is not None:
            self.recorder.flush()

    # Lightning's hooks, in the order of a fit

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Choose the run's id."""
        if getattr(trainer, "barebones", False):
            message = "MetricsCallback has nothing to record under Trainer(barebones=True), which turns self.log off; take one of them out"
            raise ValueError(message)
        if stage == "predict":
            return
        counts = self._accuracy is not None and (stage == "validate" or (stage == "fit" and trainer.enable_validation))
        some_leave_out = trainer.world_size > 1 and not all_validate(trainer)
        if counts and some_leave_out:
            message = (
                f"MetricsCallback(accuracy={self._accuracy!r}) counts the validation over all ranks, and with "
                "allow_zero_length_dataloader_with_multiple_devices a rank may leave it out: the others would wait for it without end. "
                "Turn that off, or log an accuracy of your own"
            )
            raise ValueError(message)
        if not self._recording.is_for(trainer, stage):
            self._renew()
        self._recording.choose(trainer)
        if some_leave_out and stage != "fit":
            self._begin(trainer, pl_module)  # a rank without any batch comes to none of the hooks below

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:  # noqa: ARG002
        """Listen to a LearningRateMonitor, before it asks for loggers."""
        self._rates.install(trainer)

    def on_sanity_check_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Open the run, so that a failure in the sanity check is on record.

        Not yet one that is there already: this fit may have nothing left to do, and then nothing of it changes.
        """
        self._may_begin = bool(self._recording.fitted or self._restored.get("run_id"))
        if not self._may_begin:
            self._begin(trainer, pl_module)

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Open the run."""
        self._begin(trainer, pl_module)

    def on_validation_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Open the run for a validation on its own; begin to count the accuracy."""
        if trainer.state.fn == "validate":
            self._begin(trainer, pl_module)
        self._outputs.start_pass()
        if not trainer.sanity_checking:
            self._logged.start_validation()
        self._evidence.start()

    def on_validation_batch_end(
        self,
        trainer: Trainer,
        pl_module: LightningModule,  # noqa: ARG002
        outputs: Any,  # noqa: ANN401
        batch: Any,  # noqa: ANN401
        batch_idx: int,  # noqa: ARG002
        dataloader_idx: int = 0,
    ) -> None:
        """Count the accuracy of one batch, and keep what stands behind the values of a fit."""
        if self._recording.trainer is None:
            return
        fitting = trainer.state.fn == "fit"
        if fitting and self.recorder is not None:
            self._recording.validation_set.take(trainer, batch, dataloader_idx)
        if trainer.sanity_checking:
            self._outputs.check(outputs)
            return
        self._outputs.add_to_pass(trainer, outputs, batch, dataloader_idx)
        if fitting and (self.recorder is not None or trainer.world_size > 1):  # rank 0 asks the others for theirs
            self._evidence.add(trainer, batch, dataloader_idx)

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:  # noqa: ARG002
        """Record the accuracy of the whole pass, over all ranks, unless the module logs its own."""
        self._logged.end_validation()
        if trainer.sanity_checking:
            self._validation_logs_loss |= LOSS in trainer.logged_metrics
            return
        if trainer.state.fn == "fit":
            self._evidence.end(trainer)
        counted = self._outputs.end_pass(trainer, self.names.get("validate", set()))
        if counted:
            self._recording.take("validate", self._logged.step, tuple(counted), list(counted.values()))

    def on_test_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Open the run for a test."""
        self._begin(trainer, pl_module)

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:  # noqa: ARG002
        """Bring everything to the disk: until `on_fit_end` Lightning gives up its handler of SIGTERM, and other callbacks may take their time."""
        self.flush()

    def on_fit_end(self, trainer: Trainer, pl_module: LightningModule) -> None:  # noqa: ARG002
        """The fit came to its end, unless a SIGTERM came in its last moments."""
        self.end_fit(trainer)

    def on_exception(self, trainer: Trainer, pl_module: LightningModule, exception: BaseException) -> None:  # noqa: ARG002
        """An error, Ctrl-C or SIGTERM: bring everything to the disk. `teardown` won't be called."""
        self.end_fit(trainer, exception)
        self._end(error=True)

    def end_fit(self, trainer: Trainer, exception: BaseException | None = None) -> Recorder | None:
        """Bring everything to the disk and write down how the fit ended; once, whoever asks first.

        Returns:
            The recorder, for those who judge; None where this process recorded nothing of this fit.
        """
        if self._recording.is_forked:
            return None  # a child that was forked amid the fit ends, and no fit does
        if exception is not None:
            self._begin_to_fail(trainer, exception)
        recorder = self.recorder
        if recorder is None or (exception is None and self._recording.trainer is None):
            return None
        recorder.flush()
        if exception is None and recorder.info.state == "running":  # once: whoever asks first
            self._recording.gather_lost(trainer)
            settle(recorder)
        self._recording.write_end(trainer, exception)
        return recorder

    def teardown(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:  # noqa: ARG002
        """Close the files. A test after the fit opens them anew."""
        self._recording.write_end(trainer, None)
        self._end()

    def state_dict(self) -> dict[str, Any]:
        """What travels in a checkpoint: which run and which attempt this is, and where its counters stand."""
        attempt = self.recorder.info.attempts[-1].number if self.recorder is not None else None
        logged = self._logged.state_dict()
        return {"run_id": self.run_id, "attempt": attempt, "logged": logged, "loss_is_apart": self._loss_is_apart}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Remember the run of the checkpoint; used if a fit goes on from it.

        Raises:
            StoreError: what it gives as the run's id is none.
        """
        if state_dict.get("run_id") is not None:
            check_run_id(state_dict["run_id"])
        self._restored = dict(state_dict)

    def __getstate__(self) -> dict[str, Any]:
        # A thread, open files and the trainer's own objects stay in this process; `log` and `log_dict`, which
        # the Trainer hangs on every callback, are the module's.
        state = {
            key: value
            for key, value in self.__dict__.items()
            if key
            not in ("_recording", "_written", "_logged", "_rates", "_outputs", "_evidence", "_early", "_witnesses", "log", "log_dict")
        }
        return {**state, "run_id": self.run_id}

    def __setstate__(self, state: dict[str, Any]) -> None:
        run_id = state.pop("run_id")
        self.__dict__.update(state)
        self._witnesses = ()
        self._renew(run_id)

    # Behind the hooks

    def _renew(self, run_id: str | None = None) -> None:
        self._recording = Recording(self._options, run_id=run_id)
        self._written = CheckpointsWritten()
        self._recording.on_new_names = self._keep_loss_apart
        self._early: list[tuple[str, float, int | None]] = []
        self._validation_logs_loss = self._loss_is_apart = False
        self._outputs = StepOutputs(self._accuracy)
        self._logged = LoggedValues(self._recording.take, self._outputs)
        self._rates = LearningRates(self._take_rates)
        self._evidence = ValidationEvidence(self._recording.take_batches, self.flush)

    def _take_rates(self, names: tuple[str, ...], values: list[Any]) -> None:
        self._recording.take("train", self._logged.coming_step, names, values)

    def _begin(self, trainer: Trainer, pl_module: LightningModule, *, alone: bool = False) -> None:
        self._may_begin = False
        if self._recording.trainer is trainer:
            return
        restored, self._restored = self._restored if trainer.state.fn == "fit" else {}, {}
        logged = restored.get("logged", {})
        self._recording.witnesses = self._witnesses if trainer.state.fn == "fit" else ()
        first_step = logged.get("next_step", trainer.global_step)
        self._recording.begin(trainer, pl_module, run_id=restored.get("run_id"), step=first_step, alone=alone)
        if restored.get("loss_is_apart"):
            self._loss_is_apart = True
            self._recording.tag_apart(LOSS, "train")
        if not trainer.is_global_zero:  # the rest, such as the epoch's sums, is rank 0's own
            logged = {key: logged[key] for key in ("eval_steps", "next_step", "validation_is_due") if key in logged}
        if self.recorder is not None or self._recording.witnesses:
            self._logged.install(trainer, logged)
        if self.recorder is not None and trainer.state.fn == "fit":
            self._written.install(trainer, self.recorder)
        self._take_early(trainer)

    def _take_early(self, trainer: Trainer) -> None:
        """Record what was logged by hand between `setup` and the opening of the files."""
        early, self._early = self._early, []
        stage = {"validate": "validate", "test": "test"}.get(str(trainer.state.fn), "train")
        for name, number, at in early:
            self._recording.take(stage, self._logged.step if at is None else at, (name,), [number])

    def _begin_to_fail(self, trainer: Trainer, exception: BaseException) -> None:
        """Open the run of a fit that failed before it was opened: in another callback's `setup`, or in a sanity check."""
        if self._may_begin:
            self._begin(trainer, trainer.lightning_module, alone=True)
        elif trainer.state.fn == "fit" and not only_waits(trainer) and not getattr(trainer, "barebones", False):
            if not self._recording.is_for(trainer, "fit"):
                self._renew()
            self._recording.write_failed_start(trainer, trainer.lightning_module, exception)
            self._take_early(trainer)

    def _keep_loss_apart(self) -> None:
        """The loss that is returned gets a tag of its own in TensorBoard where the module logs one by that name in validation.

        Lightning's own TensorBoardLogger would have that one alone. Known from the sanity check on, else from the first validation.
        """
        if not self._loss_is_apart and self._outputs.gave_loss:
            self._loss_is_apart = self._validation_logs_loss or LOSS in self.names.get("validate", ())
            if self._loss_is_apart:
                self._recording.tag_apart(LOSS, "train")

    def _end(self, *, error: bool = False) -> None:
        self._written.remove()
        self._rates.remove()
        self._logged.remove(error=error)
        self._outputs.drop()
        if self.recorder is None:
            self._logged.go_on(self._restored.get("logged", {}), error=error)
        self._recording.close(restored=self._restored.get("run_id"))
        self._restored, self._early, self._may_begin = {}, [], False


def _are_two_keys(keys: object) -> bool:
    return isinstance(keys, list | tuple) and len(keys) == 2 and all(isinstance(key, str) for key in keys)  # noqa: PLR2004
