"""`fitgate gate`: judge a run again, from its files."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from fitgate.cli._command import command
from fitgate.cli._common import Json, Root, RunArgument, find_run, print_json, terminal
from fitgate.errors import FitgateError, StoreError, ThresholdError
from fitgate.summary import decision_part

if TYPE_CHECKING:
    from fitgate.gate import Decision, OnRecord, Threshold
    from fitgate.registry import LiveValues
    from fitgate.store import Run

_IMPROVE = 1


@command(
    "fitgate gate latest\n"
    'fitgate gate latest -t "val_acc >= 0.8" -t "val_loss <= 0.35"\n'
    'fitgate gate digits -t "val_acc >= 0.8 (95 % confidence)" && ./deploy.sh'
)
def gate(
    run: RunArgument,
    threshold: Annotated[
        list[str] | None,
        typer.Option(
            "--threshold",
            "-t",
            metavar="TEXT",
            help='Such as "val_acc >= 0.8" or, as a typed one is printed, "val_loss <= 0.3 (95 % confidence, mean)"; may be repeated. '
            "Without any: those of the run's own gate.json.",
        ),
    ] = None,
    root: Root = "runs",
    *,
    champion: Annotated[
        str | None, typer.Option(metavar="MODEL_DIR", help="Whose live version `champion` in a threshold means, such as deploy/digits.")
    ] = None,
    allow: Annotated[
        list[str] | None, typer.Option(metavar="RULE", help="Set an eligibility rule aside, such as limit_val_batches.")
    ] = None,
    json: Json = False,
) -> None:
    """Judge a run by thresholds, from its files alone.

    Nothing is written or exported. Judged are the values of the checkpoint that would ship: the best one's, not the last epoch's.
    Without -t the run is judged as in its fit: by the same thresholds, rules set aside and champion's values.

    Exit codes: 0 deploy; 1 improve; 2 wrong use: no such run, or a threshold that can't be read.
    """
    from fitgate.gate import decision_as_dict, parse_thresholds  # noqa: PLC0415 - only this command judges

    thresholds = parse_thresholds(threshold) if threshold else None
    found = find_run(root, run)
    live = _champion(champion) if champion else None
    try:
        if thresholds is not None:
            decision = _judge_by(found, thresholds, live, allow or ())
        else:
            decision = _judge_as_in_the_fit(found, live, allow or ())
    except ValueError as error:
        if isinstance(error, FitgateError):
            raise
        raise typer.BadParameter(str(error), param_hint="--allow") from error
    content = decision_as_dict(decision, found.id)
    if json:
        print_json(content)
    else:
        console = terminal()
        console.print(decision_part(content, found.id, encoding=console.encoding), crop=False)
    raise typer.Exit(0 if decision.verdict == "deploy" else _IMPROVE)


def _judge_by(run: Run, thresholds: Sequence[Threshold], live: LiveValues | None, allow: Sequence[str]) -> Decision:
    from fitgate.export import judge_by  # noqa: PLC0415 - as above
    from fitgate.gate import ARTIFACT  # noqa: PLC0415 - as above

    if live is None and any(t.is_relative for t in thresholds):
        message = f"{next(str(t) for t in thresholds if t.is_relative)!r} needs --champion MODEL_DIR, such as --champion deploy/model"
        raise ThresholdError(message)
    try:
        record = _record(run)
    except StoreError:
        if any(t.metric.startswith(ARTIFACT) for t in thresholds):
            raise
        record = None  # damaged, and nothing that is asked is in it
    return judge_by(run, thresholds, record, live, allow)


def _judge_as_in_the_fit(run: Run, live: LiveValues | None, allow: Sequence[str]) -> Decision:
    from fitgate.export import judge_again  # noqa: PLC0415 - as above

    record = _record(run)
    if record is None:
        message = f'{run.id} was never judged: it has no gate.json. Give a threshold, such as -t "val_acc >= 0.8"'
        raise ThresholdError(message)
    return judge_again(run, record, live, allow)


def _record(run: Run) -> OnRecord | None:
    from fitgate.gate import on_record  # noqa: PLC0415 - as above

    path = f"{run.path}/gate.json"
    return on_record(run.fs.cat_file(path), path) if run.fs.exists(path) else None


def _champion(model_dir: str) -> LiveValues:
    from fitgate.registry import champion  # noqa: PLC0415 - only where a champion is asked for

    live = champion(Path(model_dir))
    if live is None:
        message = f"there is no live version at {model_dir!r}: no CURRENT in it"
        raise ThresholdError(message)
    return live
