"""Publishing what was judged, unless the champion it was judged against is none any more and it fails against the new one."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path

from fitgate.export._champion import Live, live
from fitgate.export._stage import Staged, publish
from fitgate.gate import Decision
from fitgate.registry import ChampionMovedError, promote

__all__ = ["AlreadyLive", "Prepared", "release"]


@dataclass(frozen=True, kw_only=True)
class Prepared:
    """A sealed export, and what it takes to judge it again when another version has gone live meanwhile.

    Attributes:
        staged: the export.
        against: `CURRENT` when it was judged; None where no threshold is relative to the champion.
        judge_again: the decision of the same run and export against the version that is live now.
        seal: write the decision into the export.
    """

    staged: Staged
    against: Live | None
    judge_again: Callable[[], Decision]
    seal: Callable[[Decision], None]

    def drop(self) -> None:
        """It will not be published: remove it."""
        self.staged.drop()


@dataclass(frozen=True, kw_only=True)
class AlreadyLive:
    """A live version that holds the judged weights, and what it takes to judge them again when another has gone live meanwhile.

    Attributes:
        version: its number.
        model_dir: the model's folder.
        judge_again: the decision of the same run and version against the version that is live now.
    """

    version: int
    model_dir: Path
    judge_again: Callable[[], Decision]

    def drop(self) -> None:
        """Nothing was staged."""


def release(prepared: Prepared | AlreadyLive, decision: Decision, *, why: str) -> tuple[Decision, int | None]:
    """Publish a sealed export, unless another version has gone live since it was judged and it fails against that one.

    Of weights that were live already nothing is published again: at most their version is made live again.

    Args:
        prepared: what `prepare` gave.
        decision: likewise.
        why: for history.jsonl, in words.

    Returns:
        The decision, against the version that was live at the last, and the version that holds the weights; None when it is
        `improve` now.

    Raises:
        RegistryError: a file is not what the manifest says.
    """
    if isinstance(prepared, AlreadyLive):
        return _keep_live(prepared, decision, why=why)
    model_dir = prepared.staged.model_dir
    against = prepared.against
    while True:
        try:
            return decision, publish(prepared.staged, why=why, only_if=_unmoved(model_dir, against))
        except ChampionMovedError:
            against = live(model_dir)
            decision = _after_a_move(prepared.judge_again(), against)
        if decision.verdict != "deploy":
            prepared.drop()
            return decision, None
        prepared.seal(decision)


def _keep_live(same: AlreadyLive, decision: Decision, *, why: str) -> tuple[Decision, int | None]:
    while (now := live(same.model_dir)).version != same.version:
        decision = _after_a_move(same.judge_again(), now)
        if decision.verdict != "deploy":
            return decision, None
        with suppress(ChampionMovedError):
            promote(same.model_dir, same.version, why=why, only_if=_unmoved(same.model_dir, now))
    return decision, same.version


def _unmoved(model_dir: Path, against: Live | None) -> Callable[[], str | None]:
    """For whoever holds the model's lock: None while the version that it was judged against is live, or where that does not matter."""
    return lambda: None if against is None or live(model_dir) == against else "another version went live since it was judged"


def _after_a_move(decision: Decision, live: Live) -> Decision:
    if decision.verdict == "deploy":
        return decision
    now = f"version {live.version}" if live.version is not None else "no readable version"
    said = f"it passed when it was judged, and before it was published another version went live: judged again, with {now} as the champion"
    return replace(decision, warnings=(*decision.warnings, said))
