"""What a gate asks before anything is trained, so that no training ends in an error that was there from the start."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from fitgate._roots import probe
from fitgate.export import live
from fitgate.export.formats import all_formats
from fitgate.gate import ARTIFACT, Threshold, ineligible, nearest_names, nothing_stands
from fitgate.registry import tidy
from fitgate.store._run_file import FitFacts
from fitgate_callbacks._choice import direction_complaint, missing_complaint
from fitgate_callbacks._examples import ExampleInput
from fitgate_callbacks._lightning import LightningModule, Trainer, choose_checkpoint, shards_checkpoints, shards_weights
from fitgate_callbacks._ranks import on_rank_zero
from fitgate_callbacks._settings import GateSettings

__all__ = ["check_setup", "format_complaint", "sure_improve", "unknown_metrics"]


def check_setup(trainer: Trainer, module: LightningModule, settings: GateSettings, example: ExampleInput) -> bool:
    """One clear checkpoint, the one that the thresholds mean; an example where one is needed; a folder that can be written.

    Leftovers in the folder are cleaned up.

    Returns:
        Whether the weights at the end of fit will be judged, since nothing keeps checkpoints.

    Raises:
        ValueError: one of them is not there, each checkpoint will be a folder of shards, or no threshold says how good a first
            version must be.
        OSError: the folder can't be written; on every rank.
    """
    chosen = choose_checkpoint(trainer, settings.which)
    if chosen.path is not None and not chosen.by_path and shards_checkpoints(trainer):
        message = (
            f"GateCallback: {type(trainer.strategy).__name__} saves each checkpoint as a folder of shards, which can't be exported; have it "
            "save single files (FSDPStrategy(state_dict_type='full'), ModelParallelStrategy(save_distributed_checkpoint=False))"
        )
        raise ValueError(message)
    if settings.which != "last" and (opposed := direction_complaint(chosen, settings.thresholds)):
        message = f"GateCallback: {opposed}"
        raise ValueError(message)
    for what in settings.wants_example:
        if not example.possible(trainer, module):
            message = (
                f"GateCallback: {what} takes an example input, and there is none: give GateCallback(example_input=…), set "
                f"{type(module).__name__}.example_input_array, or validate"
            )
            raise ValueError(message)
    if misfit := example.misfit(module):
        message = f"GateCallback: {misfit}"
        raise ValueError(message)

    def prepare_folder() -> None:
        complaint = missing_complaint(trainer, str(chosen.path)) if chosen.by_path else None
        complaint = complaint or _too_little(settings.thresholds, settings.model_dir)
        if complaint:
            message = f"GateCallback: {complaint}"
            raise ValueError(message)
        probe(f"GateCallback: the deploy folder {settings.model_dir}", settings.model_dir)
        tidy(settings.model_dir)

    on_rank_zero(trainer, prepare_folder)
    return chosen.path is None


def sure_improve(trainer: Trainer, settings: GateSettings) -> str | None:
    """A warning where what this fit was told to do keeps it from being judged, whatever it comes to; of a trial of the code none is needed."""
    if getattr(trainer, "fast_dev_run", False):
        return None
    chosen = choose_checkpoint(trainer, settings.which)
    partly = ineligible(FitFacts(steps=1, limit_val_batches=trainer.limit_val_batches), allow=settings.allow)
    if chosen.for_good:
        why = f"{chosen.problem}; give save_top_k=1, or leave the ModelCheckpoint out"
    elif partly:
        why = f"{partly[0]}; to judge it all the same give GateCallback(allow=[{partly[0].partition('=')[0]!r}])"
    else:
        return None
    return f"this fit will be an improve, whatever it comes to: {why}"


def _too_little(thresholds: Sequence[Threshold], model_dir: Path) -> str | None:
    """Why no verdict could ever be a deploy; None where one could."""
    relative = [threshold for threshold in thresholds if threshold.is_relative]
    found = live(model_dir)
    champion = found.version is not None or found.problem is not None
    standing = [threshold for threshold in thresholds if champion or not threshold.is_relative]
    if not nothing_stands(standing, champion=champion, relative=bool(relative)):
        return None
    if not relative or champion:
        return f"every threshold only warns, so nothing decides: {_listed(thresholds)}; give one without warn=True"
    metric = next((t for t in relative if not t.metric.startswith(ARTIFACT)), None)
    example = f"{metric.metric} {metric.op} NUMBER" if metric is not None else "val_acc >= 0.8"
    return (
        f"nothing is live in {model_dir} yet, so what is relative to it is waived: {_listed(relative)}; "
        f'at least one absolute threshold on a recorded metric must stand: add one, such as "{example}"'
    )


def _listed(thresholds: Iterable[Threshold]) -> str:
    return ", ".join(repr(str(threshold)) for threshold in thresholds)


def format_complaint(trainer: Trainer, module: LightningModule, formats: Iterable[str]) -> str | None:
    """Why the complete module can't be written in one of the formats; None when it can in all."""
    for name in formats:
        complaint = all_formats()[name].complaint(module)
        if all_formats()[name].graph and shards_weights(trainer):
            complaint = f"the format {name!r} takes the whole module, and {type(trainer.strategy).__name__} spreads it over processes"
        if complaint:
            return complaint
    return None


def unknown_metrics(thresholds: Iterable[Threshold], names: Mapping[str, Iterable[str]]) -> list[str]:
    """A warning for each threshold on a metric that nobody has logged.

    Args:
        thresholds: all of them.
        names: what was logged so far, by stage.
    """
    known: set[str] = set().union(*names.values())
    warnings = []
    for threshold in thresholds:
        if threshold.metric not in known and not threshold.metric.startswith(ARTIFACT):
            near = nearest_names(threshold.metric, known)
            hint = f"did you mean {' or '.join(near)}?" if near else f"logged so far: {', '.join(sorted(known))}"
            warnings.append(f"nobody has logged {threshold.metric!r}, so {str(threshold)!r} can't pass; {hint}")
    return warnings
