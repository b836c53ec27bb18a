"""Measures the diagnosis by curves with known answers, and its forecasts by runs that went on.

`python benchmarks/diagnosis_table.py` trains all of them (seven minutes) and prints the tables of docs/diagnosis.md; `--write` puts
them there. The rules were made with seeds under 200 in view (`--develop` shows 0 to 4, run by run); the tables are of other seeds.
"""

from __future__ import annotations

import argparse
import itertools
import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from diagnosis_corpus import CASES, Case, Settings, train

from fitgate.diagnosis import RULES, Diagnosis, Evidence, Goal, diagnose_evidence

TABLE_SEEDS = range(200, 210)
FORECAST_SEEDS = range(200, 205)
FORECAST = (
    Settings(optimizer="adam", lr=5e-4),
    Settings(optimizer="adam", lr=2e-4),
    Settings(lr=0.02, momentum=0.0),
    Settings(lr=0.005),
    Settings(optimizer="adam", lr=1e-3, dropout=0.3),
    Settings(optimizer="adam", lr=1e-3, width=16),
)


def diagnoses(seeds: Iterable[int], cases: tuple[Case, ...] = CASES) -> Iterator[tuple[Case, int, Diagnosis]]:
    """Train and diagnose every case with every seed."""
    torch.set_num_threads(1)
    for case in cases:
        for seed in seeds:
            yield case, seed, diagnose_evidence(train(case.settings, seed))


@dataclass
class Tally:
    """Of one rule: in how many runs that have its fault it was found, and in how many that don't it was raised."""

    due: int = 0
    found: int = 0
    clean: int = 0
    false: int = 0


def table(seeds: Iterable[int] = TABLE_SEEDS, *, verbose: bool = False) -> str:
    """What each rule found, missed and falsely raised, in Markdown."""
    tallies = {rule.name: Tally() for rule in RULES}
    healthy = problems = 0
    for case, seed, diagnosis in diagnoses(seeds):
        raised = {f.rule: f.severity for f in diagnosis.findings}
        if not case.must:
            healthy += 1
            problems += "problem" in raised.values()
        for name, tally in tallies.items():
            due, clean = name in case.must, name not in case.must | case.may
            tally.due += due
            tally.found += due and name in raised
            tally.clean += clean
            tally.false += clean and name in raised
        if verbose:
            print(case.name, seed, raised, "missed:", case.must - set(raised), "false:", set(raised) - case.must - case.may)
    rows = [f"| {n.replace('_', ' ')} | {t.found} of {t.due} | {t.due - t.found} | {t.false} of {t.clean} |" for n, t in tallies.items()]
    head = ["| rule | found | missed | falsely raised |", "|---|---:|---:|---:|"]
    return "\n".join([*head, *rows, "", f'Healthy runs with a finding of severity "problem": {problems} of {healthy}.'])


def coverage(seeds: Iterable[int] = FORECAST_SEEDS) -> str:
    """How often a forecast holds: runs of 80 epochs are cut short, and thresholds just ahead of each cut asked for."""
    torch.set_num_threads(1)
    names = ("forecasts", "inside", "earlier", "later", "out of reach", "wrongly out of reach")
    counts = dict.fromkeys(names, 0)
    for settings in FORECAST:
        for seed in seeds:
            whole = train(replace(settings, epochs=80, val_samples=790), seed)
            for cut, goal in itertools.product((12, 16, 24, 32), range(80, 99)):
                _forecast(whole, cut, goal / 100, counts)
    unreachable = f"{counts['wrongly out of reach']} of {counts['out of reach']} times" if counts["out of reach"] else "never"
    return (
        f"Of {counts['forecasts']} forecasts, {counts['inside']} held the step at which the threshold was really reached, {counts['earlier']} were "
        f"too late and {counts['later']} too early. A threshold that was reached later on was {unreachable} called out of reach."
    )


def _forecast(whole: Evidence, cut: int, asked: float, counts: dict[str, int]) -> None:
    accuracy = whole.curves["validate", "val_acc"]
    best = float(accuracy.value[:cut].max())
    if not best < asked <= best + 0.06:
        return
    goal = Goal(metric="val_acc", better_high=True, required=asked, text=f"val_acc >= {asked}")
    curves = {key: curve.take(curve.epoch < cut) for key, curve in whole.curves.items()}
    found = {f.rule: f for f in diagnose_evidence(replace(whole, curves=curves, goals=(goal,), judged_step=None)).findings}
    reached = np.flatnonzero(accuracy.value >= asked)
    counts["out of reach"] += "out_of_reach" in found
    counts["wrongly out of reach"] += "out_of_reach" in found and len(reached) > 0
    if "within_reach" in found:
        low, high = (found["within_reach"].evidence[f"crossing_step_{end}"] for end in ("low", "high"))
        step = int(accuracy.global_step[reached[0]]) if len(reached) else math.inf
        if step == math.inf and high >= accuracy.global_step[-1]:
            return  # nobody knows: the run ended before the forecast did
        counts["forecasts"] += 1
        counts["earlier" if step < low else "later" if step > high else "inside"] += 1


def main() -> None:
    """Print the tables, or put them into the docs."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--write", action="store_true", help="replace the tables in docs/diagnosis.md")
    parser.add_argument("--develop", action="store_true", help="the seeds that rules may be made with, run by run")
    options = parser.parse_args()
    text = table(range(5), verbose=True) if options.develop else f"{table()}\n\n{coverage()}"
    print(text)
    if options.write:
        page = Path(__file__).parents[1] / "docs" / "diagnosis.md"
        before, _, rest = page.read_text().partition("<!-- measured -->")
        _, _, after = rest.partition("<!-- /measured -->")
        page.write_text(f"{before}<!-- measured -->\n{text}\n<!-- /measured -->{after}")


if __name__ == "__main__":
    main()
