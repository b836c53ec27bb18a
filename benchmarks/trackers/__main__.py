"""`python -m benchmarks.trackers`: run the rounds and print the table."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.progress import Progress, TimeElapsedColumn

from benchmarks.trackers._all import choose, trackers_named
from benchmarks.trackers._builtin import BARE, JUDGED, REFERENCE
from benchmarks.trackers._figures import rows
from benchmarks.trackers._in_turns import IN_TURNS
from benchmarks.trackers._instructions import available, instructions_a_step
from benchmarks.trackers._measure import Sample
from benchmarks.trackers._table import machine, table

_QUICK_STEPS = 100


def bench(
    *,
    steps: Annotated[int, typer.Option(min=1, help="Steps of a fit, beyond those of the short one it is compared with.")] = 2_000,
    repeats: Annotated[int, typer.Option(min=1, help="Rounds. Fewer than 15 leave wide intervals.")] = 15,
    metrics: Annotated[list[int] | None, typer.Option(min=1, help="Values logged a step; may be given several times.")] = None,
    only: Annotated[list[str] | None, typer.Option(help="A part of a tracker's name; may be given several times.")] = None,
    instructions: Annotated[
        bool, typer.Option("--instructions", help="Count instructions of the training thread too, where valgrind is installed.")
    ] = False,
    in_turns: Annotated[
        bool, typer.Option("--in-turns", help="The sharpest comparison with CSVLogger: all fits in one process, two steps each in turn.")
    ] = False,
    quick: Annotated[bool, typer.Option("--quick", help="One short round of the trackers that need nothing installed.")] = False,
    markdown: Annotated[bool, typer.Option("--markdown", help="Print the table as Markdown.")] = False,
    json_file: Annotated[Path | None, typer.Option("--json", help="Write samples and figures there too.")] = None,
) -> None:
    """Measure what each tracker costs a training step, all in one run."""
    out, err = Console(width=None if sys.stdout.isatty() else 160), Console(stderr=True)
    try:
        trackers, missing = choose(only or ())
    except ValueError as error:
        raise typer.BadParameter(str(error), param_hint="--only") from error
    if quick:
        steps, repeats = min(steps, _QUICK_STEPS), 1
        trackers, missing = [tracker for tracker in trackers if tracker.builtin], []
    if in_turns:
        trackers, missing = trackers_named(IN_TURNS), []
    names, counts = [tracker.name for tracker in trackers], metrics or [2, 20]
    about = {**machine(), "steps": str(steps), "rounds": str(repeats)}
    with Progress(*Progress.get_default_columns(), TimeElapsedColumn(), console=err) as progress:
        task = progress.add_task("rounds", total=repeats * len(names) * len(counts))

        def advance(sample: Sample) -> None:
            progress.update(task, advance=1, description=f"{sample.tracker}, {sample.metrics} metrics")

        module = "_in_turns" if in_turns else "_round"
        rounds = [_round(module, names, counts, steps=steps, seed=seed, after_each=advance) for seed in range(repeats)]
    instructions = instructions and not quick
    counted = _instructions(names, counts) if instructions and available() else {}
    figures = sorted(rows(rounds, bare=BARE, reference=REFERENCE), key=lambda row: names.index(row.tracker))
    versions = {tracker.name: tracker.version for tracker in trackers}
    out.print(table(figures, versions=versions, judged=JUDGED, instructions=counted, markdown=markdown))
    out.print(", ".join(f"{name}: {value}" for name, value in about.items()), highlight=False)
    if missing:
        listed = ", ".join(tracker.name for tracker in missing)
        out.print(f"Not installed, so not measured: {listed} (see docs/benchmarks.md).", highlight=False)
    if instructions and not available():
        out.print("valgrind is not installed, so no instructions were counted.", highlight=False)
    if json_file is not None:
        record = {
            "about": about,
            "versions": versions,
            "figures": [asdict(row) for row in figures],
            "instructions": [{"tracker": name, "metrics": count, "a_step": value} for (name, count), value in counted.items()],
            "rounds": [[asdict(sample) for sample in samples] for samples in rounds],
        }
        json_file.write_text(json.dumps(record, indent=1))


def _instructions(names: Sequence[str], counts: Sequence[int]) -> dict[tuple[str, int], float]:
    """Of the trackers that are compared most closely; the count takes a minute or two for each."""
    wanted = [name for name in names if name in (BARE, REFERENCE, JUDGED)]
    return {(name, count): instructions_a_step(name, metrics=count) for count in counts for name in wanted}


def _round(
    module: str, names: Sequence[str], metrics: Sequence[int], *, steps: int, seed: int, after_each: Callable[[Sample], None]
) -> list[Sample]:
    """One fresh interpreter that measures every tracker once."""
    spec = json.dumps({"trackers": list(names), "metrics": list(metrics), "steps": steps, "seed": seed})
    root = str(Path(__file__).resolve().parents[2])
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, (root, os.environ.get("PYTHONPATH"))))}
    command = [sys.executable, "-m", f"benchmarks.trackers.{module}", spec]
    samples = []
    with subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as process:
        assert process.stdout is not None
        for line in process.stdout:
            samples.append(Sample(**json.loads(line)))
            after_each(samples[-1])
    if process.returncode:
        raise subprocess.CalledProcessError(process.returncode, command)
    return samples


if __name__ == "__main__":
    typer.run(bench)
