"""`compare`: read runs side by side, in the background of each other, and rank them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Protocol, TypeVar

from fitgate.compare._errors import ComparisonError
from fitgate.compare._facts import read_facts
from fitgate.compare._leaderboard import rank
from fitgate.compare._metric import choose_metric, choose_mode, choose_stage, no_such_metric
from fitgate.compare._model import Comparison, MetricChoice
from fitgate.compare._points import read_names, read_points
from fitgate.compare._record import RunPoints
from fitgate.store import Run

__all__ = ["Progress", "compare"]

T = TypeVar("T")


class Progress(Protocol):
    """Told of every run that was read; such as a progress bar."""

    def __call__(self, what: str, done: int, total: int) -> None:
        """`done` of `total` runs are through the step called `what`."""


def compare(
    runs: Iterable[Run],
    metric: str | None = None,
    mode: str = "auto",
    *,
    stage: str | None = None,
    baseline: Run | None = None,
    progress: Progress | None = None,
) -> Comparison:
    """Compare runs by one metric.

    Of each run only the columns and the row groups of that metric are read, several runs at a time.

    Args:
        runs: of any store; a run that comes twice counts once.
        metric: a recorded name; None takes the one that most runs are gated on, else what most checkpoints
            monitor, else a validation accuracy, else the most common validation metric.
        mode: `"min"`, `"max"`, or `"auto"`: from the runs' thresholds on that metric or their checkpoint's monitor, else
            names with "loss" or "error" are better low, all others high.
        stage: `"train"`, `"validate"` or `"test"`; None takes the first of validate, test and train that any run has.
        baseline: the run that the others' changes are counted from; compared too.
        progress: called after every run that was read.

    Returns:
        The leaderboard, the hyperparameters that differ, the seed groups and their differences.

    Raises:
        ComparisonError: there is no run, none has the metric, or the direction can't be told.

    Example:
        >>> import tempfile, fitgate
        >>> root = tempfile.mkdtemp()
        >>> for lr in (0.1, 0.2):
        ...     with fitgate.start_run(root, name="by-hand", hparams={"lr": lr}) as run:
        ...         run.log_metric("val_acc", 0.5 + lr)
        >>> comparison = compare(fitgate.Store(root).runs(), "val_acc")
        >>> [(row.rank, row.best.value, row.facts.hparams) for row in comparison.rows]
        [(1, 0.7, {'lr': 0.2}), (2, 0.6, {'lr': 0.1})]
        >>> comparison.metric.mode, comparison.differing
        ('max', ('lr',))
    """
    chosen = list({run.path: run for run in [*runs, *([baseline] if baseline is not None else [])]}.values())
    if not chosen:
        message = "there is no run to compare"
        raise ComparisonError(message)
    tell = progress or _silent
    facts = _read(chosen, read_facts, "facts", tell)

    def names() -> Sequence[set[tuple[str, str]]]:
        return _read(chosen, read_names, "names", tell)

    name, why = (metric, None) if metric is not None else choose_metric(facts, names)
    direction, mode_why = choose_mode(name, facts, mode)
    points = _read(chosen, lambda run: read_points(run, name), "points", tell)
    found = {s for p in points for s in p.series}
    if not found:
        raise _nothing_found(name, points, names)
    if stage is not None and stage not in found:
        message = f"no run has recorded {name!r} in stage {stage!r}; it is in {' and '.join(sorted(found))}"
        raise ComparisonError(message)
    choice = MetricChoice(name=name, stage=stage or choose_stage(found), mode=direction, why=why, mode_why=mode_why)
    return rank(facts, points, choice, baseline=baseline.id if baseline is not None else None)


def _read(runs: Sequence[Run], read: Callable[[Run], T], what: str, tell: Progress) -> list[T]:
    """Read all runs, several at a time: pyarrow decodes without the interpreter's lock, and remote files wait for the network."""
    results: list[T] = []
    with ThreadPoolExecutor(thread_name_prefix="fitgate-compare") as pool:
        try:
            for result in pool.map(read, runs):
                results.append(result)
                tell(what, len(results), len(runs))
        except BaseException:
            pool.shutdown(cancel_futures=True)  # Ctrl-C must not wait for a thousand runs
            raise
    return results


def _nothing_found(metric: str, points: Sequence[RunPoints], names: Callable[[], Sequence[set[tuple[str, str]]]]) -> ComparisonError:
    problems = [p.problem for p in points if p.problem]
    if problems and len(problems) == len(points):
        return ComparisonError(f"no run can be read; the first one {problems[0]}")
    return no_such_metric(metric, names())


def _silent(what: str, done: int, total: int) -> None:
    """Nobody listens."""
