"""The run that a Trainer records in, as one process sees it: chosen, opened, ended."""

from __future__ import annotations

import contextlib
import logging
import time
import weakref
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, Literal

import pyarrow.compute as pc
import torch

from fitgate._roots import probe
from fitgate.errors import StoreError
from fitgate.store import Store
from fitgate.store._at_exit import at_exit, not_at_exit
from fitgate.store._forked import RecordingProcess
from fitgate.store._hparams import plain_hparams
from fitgate.store._open import new_run_folder, open_recorder
from fitgate.store._recorder import Recorder
from fitgate.store._resume import Standing
from fitgate.store._run_file import RUN_FILE
from fitgate.store._schema import BATCHES, Record
from fitgate.store._values import check_encodable
from fitgate_callbacks._internals import position_of
from fitgate_callbacks._lightning import LightningModule, Trainer, fit_facts, versions
from fitgate_callbacks._ranks import failing_alike, gathered, on_rank_zero
from fitgate_callbacks._validation import ValidationSetSeen
from fitgate_callbacks._values import fetch_values

__all__ = ["Ranks", "Recording", "RecordingOptions", "Witness"]

_log = logging.getLogger("fitgate")
_NOT_SHARED = (
    "MetricsCallback: rank %d doesn't find run.json in %s, which rank 0 has written: they share no folder, so that its points lie here alone, "
    "and no reader knows whose they are; give a dirpath that all machines share"
)
Ranks = Literal["zero", "all"]
Witness = Callable[[Trainer, str, tuple[str, ...], Sequence[Any]], None]
"""Takes (trainer, stage, names, values)."""


@dataclass(frozen=True, kw_only=True)
class RecordingOptions:
    """Where and how to record; see `MetricsCallback`. `tags`: TensorBoard tags for names that two stages share."""

    root: Path
    run_name: str | None
    tensorboard: bool
    flush_every_s: float
    ranks: Ranks
    tags: dict[tuple[str, str], str] | None


class Recording:
    """Takes points while a trainer runs.

    A Trainer has one run: fitted again, it goes on in it, and what it validates or tests belongs to it. Another
    Trainer that fits begins another run, and so does a forked process, unless a checkpoint says which run to go on with.

    Attributes:
        run_id: after `choose`.
        recorder: what writes; None before `begin`, and in a process that only stands by.
        trainer: the one that runs now, or None; also in a process that only stands by.
        stands_by: this process records nothing, since its rank is not asked for.
        names: recorded so far in this process, by stage.
        validation_set: which data the fit is validated on, for run.json.
        witnesses: told what is recorded, and on ranks that stand by what would be.
        on_new_names: called when other names come than a moment ago.
    """

    def __init__(self, options: RecordingOptions, *, run_id: str | None = None) -> None:
        self._options = options
        self.run_id = run_id
        self.recorder: Recorder | None = None
        self.trainer: Trainer | None = None
        self.stands_by = False
        self.names: dict[str, set[str]] = {}
        self.validation_set = ValidationSetSeen()
        self.witnesses: tuple[Witness, ...] = ()
        self.on_new_names: Callable[[], None] = lambda: None
        self._is_chosen = False
        self._process = RecordingProcess()
        self._chosen_for: Callable[[], Trainer | None] = lambda: None
        self._fits = 0
        self._in_fit = False
        self._position: Callable[[], tuple[int, int]] = lambda: (0, 0)
        self._start_step = self._rank = 0
        self._last_names: tuple[str, ...] = ()
        self._standing: Standing | None = None
        self._by_hand: dict[str, int] = {}
        self._tags = dict(options.tags or {})

    def is_for(self, trainer: Trainer, stage: str) -> bool:
        """Whether what this trainer does next belongs to this run."""
        return not self.is_forked and (stage != "fit" or self._chosen_for() is trainer)

    @property
    def is_forked(self) -> bool:
        """Whether this is a child of the process that records."""
        return self._process.is_forked

    @property
    def upcoming(self) -> Trainer | None:
        """The trainer that the run was chosen for, as long as its files are not open yet."""
        return self._chosen_for() if self._is_chosen else None

    def tell_forked(self, name: str) -> None:
        """Say once that a forked child records nothing."""
        self._process.tell(name, str(self.run_id))

    @property
    def fitted(self) -> bool:
        """Whether a fit was recorded in it before."""
        return self._fits > 0

    def choose(self, trainer: Trainer) -> None:
        """Choose the run's id, the same on all ranks. The folder is made at once, so that nobody else gets the id."""
        self._chosen_for = weakref.ref(trainer)
        self._in_fit = False
        self._is_chosen = True
        if self.run_id is None:
            self.run_id = on_rank_zero(trainer, self._new_run)

    def _new_run(self) -> str:
        probe(f"MetricsCallback: the store {self._options.root}", self._options.root)
        return new_run_folder(self._options.root, self._options.run_name)[0]

    def begin(
        self, trainer: Trainer, module: LightningModule, *, run_id: str | None = None, step: int | None = None, alone: bool = False
    ) -> None:
        """Open the files, lazily: only now is it known whether this fit goes on from a checkpoint.

        Args:
            trainer: what runs.
            module: its hyperparameters go into run.json.
            run_id: the run of the checkpoint that the fit goes on from.
            step: the first step that it will give its loggers.
            alone: this rank may be the only one to come here. Otherwise all must, and an error of one is raised on each.

        Raises:
            StoreError: the run that it goes on with can't be read.
            OSError: the run's folder can't be written.
        """
        open_here = partial(self._begin_here, trainer, module, run_id=run_id, step=step, alone=alone)
        if alone:
            open_here()
        else:
            failing_alike(trainer, open_here)

    def _begin_here(self, trainer: Trainer, module: LightningModule, *, run_id: str | None, step: int | None, alone: bool) -> None:
        fitting = trainer.state.fn == "fit"
        self._is_chosen = False
        self._by_hand.clear()  # this fit may record the same names
        if run_id not in (None, self.run_id):
            self._drop_unused()
            self.run_id, self.recorder, self._fits = run_id, None, 0
        self.stands_by = self._options.ranks == "zero" and not trainer.is_global_zero
        if self.stands_by:
            self.trainer, self._in_fit = trainer, fitting
            self._fits += fitting
            return
        self._start_step, self._rank = trainer.global_step, trainer.global_rank
        self._position = position_of(trainer)
        if self.recorder is None or (fitting and (self._fits or self.recorder.superseded)):
            self._open(trainer, module, first_step=step if run_id else None, alone=alone)
        elif fitting:
            self.recorder.go_on(state="running", fit=None)
        self.trainer, self._in_fit = trainer, fitting
        self._fits += fitting
        at_exit(self._at_exit)

    def take(self, stage: str, step: Any, names: tuple[str, ...], values: Sequence[Any], *, epoch: int | None = None) -> None:  # noqa: ANN401 - may wait on a device
        """Record what was logged together at one instant. The only call in the training loop."""
        trainer, recorder = self.trainer, self.recorder
        if trainer is None:
            return
        for witness in self.witnesses:
            witness(trainer, stage, names, values)
        if recorder is None:
            self._note(stage, names)
            return
        if self._standing is not None:
            names, values = self._not_standing(self._standing, stage, step, names, values)
            if not names:
                return
            if self._standing is not None and epoch is not None:  # a checkpoint held it
                self._standing.add(stage, step, names, values)
        if names is not self._last_names:
            self._last_names = names
            self._note(stage, names)
        global_step, current_epoch = self._position()
        instant = (stage, step, global_step, current_epoch if epoch is None else epoch, time.time_ns() // 1000, names, values)
        recorder.record(tuple.__new__(Record, instant))  # as Record(…) does, with one call less

    def _note(self, stage: str, names: tuple[str, ...]) -> None:
        known = self.names.setdefault(stage, set())
        for name in names:
            if name not in known:
                check_encodable(name)  # one that no file can hold would take all points with it
                known.add(name)
        self.on_new_names()

    def tag_apart(self, name: str, stage: str) -> None:
        """In TensorBoard this name gets a tag of its own in this stage, from now on; in Parquet the stage is a column."""
        tag = f"{name}/{stage}"
        if tag not in set().union(*self.names.values()):
            self._tags[stage, name] = tag

    def take_batches(self, step: int, names: tuple[str, ...], values: Sequence[Any]) -> None:
        """Record the running sums of a validation pass, which are evidence and no metrics."""
        trainer, recorder = self.trainer, self.recorder
        if trainer is not None and recorder is not None:
            recorder.record(Record(BATCHES, step, trainer.global_step, trainer.current_epoch, time.time_ns() // 1000, names, values))

    def take_by_hand(self, name: str, step: int | None, value: float) -> None:
        """Record one value outside of a fit. Without `step`: one more than the last step of that name."""
        assert self.recorder is not None
        if step is None:
            step = 1 + (self._by_hand[name] if name in self._by_hand else self._last_step(name))
        self._by_hand[name] = step
        self.recorder.record(Record("train", step, step, 0, time.time_ns() // 1000, (name,), [value]))

    def write_end(self, trainer: Trainer, exception: BaseException | None) -> None:
        """Write down how it ended: once, save that an error after the end of a fit makes it a failed one."""
        recorder = self.recorder
        failed_late = exception is not None and self._in_fit and trainer.state.fn == "fit"
        if recorder is None or not (recorder.info.state == "running" or (recorder.info.state == "completed" and failed_late)):
            return
        facts = replace(fit_facts(trainer, start_step=self._start_step, exception=exception), validation=self.validation_set.facts)
        state = "interrupted" if facts.interrupted else "failed" if facts.failed else "completed"
        if not self._in_fit:
            recorder.update(state=state)
            return
        *earlier, own = recorder.info.attempts
        recorder.update(state=state, fit=facts, attempts=(*earlier, replace(own, ended=facts.ended)))

    def gather_lost(self, trainer: Trainer) -> None:
        """Rank 0 writes down what all ranks have lost. At the end of a fit that nothing cut short: every rank calls this."""
        recorder = self.recorder
        if self._options.ranks == "zero" or trainer.world_size == 1 or recorder is None:
            return
        lost = gathered(trainer, torch.tensor(recorder.lost))
        if trainer.is_global_zero:
            recorder.count_lost_elsewhere(int(lost[1:].sum()))

    def write_failed_start(self, trainer: Trainer, module: LightningModule, exception: BaseException) -> None:
        """A fit's error before anything began: a line in the store too, unless the fit is known by now to go on from a checkpoint.

        That may be another run's. In `setup` Lightning tells nobody of it: an error there is a run of its own.
        """
        if self._in_fit or self._fits or not trainer.is_global_zero or trainer.ckpt_path:
            return
        with contextlib.suppress(OSError):  # a store that can't be written: the error that is on its way says more
            self._chosen_for = weakref.ref(trainer)
            self.run_id = self.run_id or self._new_run()
            if self.recorder is None:
                self._open(trainer, module, alone=True)
            else:  # it has validated before
                self.recorder.update(state="running", fit=None)
            self.trainer, self._in_fit = trainer, True
            self._position = position_of(trainer)
            self.write_end(trainer, exception)

    def close(self, *, restored: str | None = None) -> None:
        """Give files back; what comes later opens them anew.

        Args:
            restored: the run of the checkpoint, where a fit was resumed that had nothing left to do.
        """
        self.trainer = None
        self._is_chosen = False
        not_at_exit(self._at_exit)
        if self.recorder is not None:
            self.recorder.close()
        elif not self.stands_by:
            self._drop_unused()
            self.run_id = restored

    def _open(self, trainer: Trainer, module: LightningModule, *, first_step: int | None = None, alone: bool = False) -> None:
        options, run_dir = self._options, self._options.root / str(self.run_id)
        standing = self._standing = None if first_step is None else _standing(run_dir, trainer, first_step, mirrored=options.tensorboard)

        def opened(attempt: int | None = None) -> Recorder:
            return open_recorder(
                run_dir,
                name=options.run_name,
                rank=trainer.global_rank,
                attempt=attempt,
                # A validation or a test goes on from nowhere: it must not mask what is there.
                resumed_step=trainer.global_step if trainer.state.fn == "fit" else None,
                fitting=trainer.state.fn == "fit",
                purge_from=first_step if standing is None else standing.purge_from,
                mirror_again=() if standing is None else standing.ahead,
                hparams=plain_hparams(getattr(module, "hparams", {})),
                versions=versions(),
                tensorboard=options.tensorboard,
                tags=self._tags,
                flush_every_s=options.flush_every_s,
                fetch=self._fetch,
            )

        def opened_first() -> int:
            self.recorder = opened()
            return self.recorder.info.attempts[-1].number

        if options.ranks == "zero" or alone:
            opened_first()
        else:
            attempt = on_rank_zero(trainer, opened_first)
            if not trainer.is_global_zero:
                probe(f"MetricsCallback: the store {options.root} of rank {trainer.global_rank}", options.root)
                self.recorder = opened(attempt)
                if not (run_dir / RUN_FILE).exists():
                    _log.warning(_NOT_SHARED, trainer.global_rank, run_dir)

    def _fetch(self, records: list[Record]) -> list[Record]:
        """In the background."""
        self.validation_set.settle()
        return fetch_values(records)

    def _not_standing(
        self,
        standing: Standing,
        stage: str,
        step: Any,  # noqa: ANN401 - may wait on a device
        names: tuple[str, ...],
        values: Sequence[Any],
    ) -> tuple[tuple[str, ...], Sequence[Any]]:
        """What a resumed fit gives before its first optimizer step, less what was recorded before."""
        if self.trainer is None or self.trainer.global_step != self._start_step:
            self._standing = None
            return names, values
        new = [(name, value) for name, value in zip(names, values, strict=True) if not standing.has(stage, name, step, value)]
        return tuple(name for name, _ in new), [value for _, value in new]

    def _drop_unused(self) -> None:
        """The folder that `choose` made before it was known that nothing would be recorded in it."""
        folder = self._options.root / str(self.run_id)
        if self.run_id and not (folder / RUN_FILE).exists():
            with contextlib.suppress(OSError):  # somebody has put something into it, or it is gone
                folder.rmdir()

    def _last_step(self, name: str) -> int:
        assert self.recorder is not None
        self.recorder.flush()
        steps = Store(str(self._options.root)).run(str(self.run_id)).metrics([name], rank=self._rank)["step"]
        return int(pc.max(steps).as_py() or 0) if len(steps) else -1

    def _at_exit(self) -> None:
        """The process ends and nobody has told how the fit did, as when another callback's `on_exception` raises."""
        if self.recorder is not None and self.recorder.info.state == "running" and not self.is_forked and self.trainer is not None:
            facts = fit_facts(self.trainer, start_step=self._start_step, exception=None)
            facts = replace(facts, failed=None if facts.interrupted else "the process ended before the fit did")
            self.recorder.close(state="interrupted" if facts.interrupted else "failed", fit=facts)


def _standing(run_dir: Path, trainer: Trainer, first_step: int, *, mirrored: bool) -> Standing | None:
    """Without it some points stand twice in TensorBoard, or not at all: no reason to keep a fit from going on."""
    mirrored = mirrored and trainer.is_global_zero
    try:
        return Standing(run_dir, rank=trainer.global_rank, resumed_step=trainer.global_step, first_step=first_step, mirrored=mirrored)
    except (OSError, StoreError) as error:
        _log.warning("MetricsCallback: TensorBoard may not show all of %s, since %s", run_dir, error)
        return None
