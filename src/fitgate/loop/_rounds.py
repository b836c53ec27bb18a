"""What a loop did: one record a round."""

from __future__ import annotations

import reprlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from fitgate.gate import Decision

__all__ = ["Ended", "Round", "Rounds"]

Ended = Literal["deployed", "max_rounds", "failed", "interrupted"]


@dataclass(frozen=True, kw_only=True, repr=False)
class Round:
    """One fit of the loop.

    Attributes:
        number: from 0.
        run_id: the run that recorded it; None when it failed before it was recorded.
        decision: the judgement; None when it failed before it was judged.
        version: the version it was published as; None when it wasn't.
        report: the content of report.json of an improve; None otherwise.
        hparams: the module's hyperparameters, as recorded.
        seconds: how long building and fitting took.
        error: what ended it, in words; None when it came to its end.
        interrupted: Ctrl-C ended it.
    """

    number: int
    run_id: str | None = None
    decision: Decision | None = None
    version: int | None = None
    report: Mapping[str, Any] | None = None
    hparams: Mapping[str, Any] = field(default_factory=dict)
    seconds: float = 0.0
    error: str | None = None
    interrupted: bool = False

    def __repr__(self) -> str:
        # Without the report and every check: a round is printed at a prompt.
        published = f", version={self.version}" if self.version is not None else ""
        return f"Round({self.number}, {self.run_id!r}, {self.verdict!r}{published})"

    @property
    def verdict(self) -> str:
        """The verdict of a round that came to its end; else `interrupted` or `failed`."""
        if self.interrupted:
            return "interrupted"
        return self.decision.verdict if self.decision is not None and self.error is None else "failed"


@dataclass(frozen=True, kw_only=True, repr=False)
class Rounds:
    """All rounds of a loop, and why it ended.

    Attributes:
        rounds: in order.
        ended: `"deployed"`, `"max_rounds"`, `"failed"` (a round raised) or `"interrupted"`.
        error: what a round raised; None otherwise.
    """

    rounds: tuple[Round, ...]
    ended: Ended
    error: BaseException | None = None

    def __repr__(self) -> str:
        raised = f", error={reprlib.repr(self.error)}" if self.error is not None else ""
        return f"Rounds(ended={self.ended!r}, rounds=({', '.join(map(repr, self.rounds))}){raised})"

    @property
    def deployed(self) -> bool:
        """Whether the last round was published."""
        return self.ended == "deployed"

    @property
    def version(self) -> int | None:
        """The version that was published; None when none was."""
        return self.rounds[-1].version if self.deployed else None
