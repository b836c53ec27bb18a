"""The sentences and cells of a comparison that the terminal, the page and Markdown share."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from fitgate.compare._baseline import BaselineCheck
from fitgate.compare._difference import CONFIDENCE
from fitgate.compare._model import Comparison, Difference, Group, MetricChoice, Row
from fitgate.compare._words import counted, number, undated
from fitgate.diagnosis._names import on_validation_data

__all__ = ["difference_text", "differences_text", "groups_cells", "groups_head", "headline", "metric_text", "unranked_text"]

MOST_LINES = 5
MOST_PAIRS = 10
groups_head = ("", "group", "seeds", "mean", "sd", "lowest", "highest")


def metric_text(metric: MetricChoice) -> tuple[str, ...]:
    """What is compared, then why that and why in this direction."""
    better = "higher" if metric.mode == "max" else "lower"
    where = "" if on_validation_data(metric.name, "train") else f" in {metric.stage}"
    why = [f"metric: {metric.why}"] if metric.why else []
    return (f"{metric.name}{where}, {better} is better", *why, f"direction: {metric.mode_why}")


def headline(comparison: Comparison, check: BaselineCheck | None = None) -> str:
    """The outcome in one sentence."""
    if check is not None:
        return check.reason.replace(check.run, undated(check.run)).replace(check.baseline, undated(check.baseline))
    best = [row for row in comparison.rows if row.rank == 1]
    metric = comparison.metric.name
    if not best or best[0].best is None:
        return f"No run has a finite {metric}"
    value = f"{number(best[0].best.value)} at step {best[0].best.global_step}"
    if len(best) > 1:
        return f"{counted(len(best), 'run')} share the best {metric}, {number(best[0].best.value)}"
    return f"{undated(best[0].facts.id)} is best: {metric} {value}"


def unranked_text(rows: Sequence[Row], most: int = MOST_LINES) -> tuple[str, ...]:
    """A line for each run that has no rank, with why; many of one kind in one line."""
    unranked = [row for row in rows if row.rank is None]
    lines = [f"no rank: {row.facts.id} {_was(row)}{row.problem}" for row in unranked[:most]]
    return (*lines, *([f"no rank: {counted(len(unranked) - most, 'more run')}"] if len(unranked) > most else []))


def groups_cells(comparison: Comparison, most: int | None = None) -> tuple[tuple[str, ...], ...]:
    """The seed groups as a table, its head first; of many, the best ones."""
    return (groups_head, *(_group_cells(group) for group in comparison.groups[:most]))


def differences_text(comparison: Comparison) -> tuple[tuple[str, str], ...]:
    """A mark and a sentence for each pair of groups: `≠` where they differ, `?` where that can't be told. Of many pairs, a summary."""
    every = comparison.differences
    lines = _pair_lines(every) if len(every) <= MOST_PAIRS else _summary_lines(comparison.groups[0].letter, every)
    tested = sum(d.low is not None for d in every)
    if tested:
        shared = ", shared over all pairs of groups" if tested > 1 else ""
        lines.append((" ", f"{CONFIDENCE:.0%} bootstrap intervals of the difference of means{shared}"))
    return tuple(lines)


def difference_text(difference: Difference) -> str:
    """Whether two groups differ, in one sentence.

    Example:
        >>> difference_text(Difference(first="A", second="B", difference=0.04, low=0.02, high=0.06, confidence=0.95, better="A", reason=""))
        'A is better than B by 0.04 (0.02 to 0.06)'
    """
    if difference.better is None or difference.difference is None or difference.low is None or difference.high is None:
        return f"{difference.first} and {difference.second}: can't tell; {difference.reason}"
    other = difference.second if difference.better == difference.first else difference.first
    low, high = sorted((abs(difference.low), abs(difference.high)))
    return f"{difference.better} is better than {other} by {abs(difference.difference):.4g} ({low:.4g} to {high:.4g})"


def _pair_lines(differences: Sequence[Difference]) -> list[tuple[str, str]]:
    """What several pairs can't be told by for one reason is said once."""
    untested = Counter(d.reason for d in differences if d.low is None)
    sentences = {
        f"can't tell: {d.reason}" if untested[d.reason] > 1 else difference_text(d): "?" if d.better is None else "≠" for d in differences
    }
    return [(mark, sentence) for sentence, mark in sentences.items()]


def _summary_lines(best: str, differences: Sequence[Difference]) -> list[tuple[str, str]]:
    told = sum(d.better is not None for d in differences)
    alike = [d.second for d in differences if d.better is None]
    more = f" and {len(alike) - MOST_PAIRS} more" if len(alike) > MOST_PAIRS else ""
    lines = [("≠", f"{best} is better than {told} of {counted(len(differences), 'other group')}")] if told else []
    return lines + ([("?", f"can't tell {best} from {', '.join(alike[:MOST_PAIRS])}{more}; --json has the intervals")] if alike else [])


def _group_cells(group: Group) -> tuple[str, ...]:
    seeds = str(len(group.values)) if len(group.values) == len(group.run_ids) else f"{len(group.values)} of {len(group.run_ids)}"
    spread = "–" if group.sd is None else f"±{group.sd:.2g}"
    low, high = (number(value) for value in (min(group.values, default=None), max(group.values, default=None)))
    return (group.letter, group.label, seeds, number(group.mean), spread, low, high)


def _was(row: Row) -> str:
    return "" if row.points.problem or row.series is None else "has no finite value: "
