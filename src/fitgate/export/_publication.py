"""Publishing what was judged, unless the champion it was judged against is none any more and it fails against the new one."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

from fitgate.export._already import AlreadyLive
from fitgate.export._champion import Live, live
from fitgate.export._stage import Staged, publish
from fitgate.gate import Decision
from fitgate.registry import ChampionMovedError

__all__ = ["Prepared", "release"]


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


def release(prepared: Prepared | AlreadyLive, decision: Decision, *, why: str) -> tuple[Decision, int | None]:
    """Publish a sealed export, unless another version has gone live since it was judged and it fails against that one.

    Of weights that were live already nothing is published again.

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
        return decision, prepared.version
    model_dir = prepared.staged.model_dir
    against = prepared.against
    while True:

        def moved(against: Live | None = against) -> str | None:
            return None if against is None or live(model_dir) == against else "another version went live since it was judged"

        try:
            return decision, publish(prepared.staged, why=why, only_if=moved)
        except ChampionMovedError:
            against = live(model_dir)
            decision = _after_a_move(prepared.judge_again(), against)
        if decision.verdict != "deploy":
            prepared.drop()
            return decision, None
        prepared.seal(decision)


def _after_a_move(decision: Decision, live: Live) -> Decision:
    if decision.verdict == "deploy":
        return decision
    now = f"version {live.version}" if live.version is not None else "no readable version"
    said = f"it passed when it was judged, and before it was published another version went live: judged again, with {now} as the champion"
    return replace(decision, warnings=(*decision.warnings, said))
