"""`fitgate gate`: judge a run again, from its files."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from fitgate.cli._command import command
from fitgate.cli._common import Json, Root, RunArgument, find_run, print_json, terminal
from fitgate.errors import ThresholdError
from fitgate.summary import decision_part

if TYPE_CHECKING:
    from fitgate.registry import LiveValues

_IMPROVE = 1


@command('fitgate gate latest -t "val_acc >= 0.8" -t "val_loss <= 0.35"\nfitgate gate digits -t "val_acc >= 0.8" && ./deploy.sh')
def gate(
    run: RunArgument,
    threshold: Annotated[list[str], typer.Option("--threshold", "-t", metavar="TEXT", help='Such as "val_acc >= 0.8"; may be repeated.')],
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

    Exit codes: 0 deploy; 1 improve; 2 wrong use: no such run, or a threshold that can't be read.
    """
    from fitgate.gate import decision_as_dict, judge, parse_thresholds  # noqa: PLC0415 - only this command judges

    thresholds = parse_thresholds(threshold)
    live = _champion(champion) if champion else None
    if live is None and any(t.is_relative for t in thresholds):
        message = f"{next(str(t) for t in thresholds if t.is_relative)!r} needs --champion MODEL_DIR, such as --champion deploy/model"
        raise ThresholdError(message)
    found = find_run(root, run)
    try:
        decision = judge(
            found,
            thresholds,
            allow=allow or (),
            champion=live.metrics if live is not None else None,
            champion_validation=live.validation if live is not None else None,
        )
    except ValueError as error:
        raise typer.BadParameter(str(error), param_hint="--allow") from error
    content = decision_as_dict(decision, found.id)
    if json:
        print_json(content)
    else:
        console = terminal()
        console.print(decision_part(content, found.id, encoding=console.encoding), crop=False)
    raise typer.Exit(0 if decision.verdict == "deploy" else _IMPROVE)


def _champion(model_dir: str) -> LiveValues:
    from fitgate.registry import champion  # noqa: PLC0415 - only where a champion is asked for

    live = champion(Path(model_dir))
    if live is None:
        message = f"there is no live version at {model_dir!r}: no CURRENT in it"
        raise ThresholdError(message)
    return live
