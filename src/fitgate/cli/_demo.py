"""`fitgate demo`: the whole road, once, on real data."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import Annotated

import typer

from fitgate.cli._command import command
from fitgate.errors import FitgateError


@command("fitgate demo\nfitgate demo --strict")
def demo(
    *,
    strict: Annotated[bool, typer.Option("--strict", help="Ask for more than this net can reach: ends in the improve report.")] = False,
    runs: Annotated[Path, typer.Option(metavar="ROOT", help="Where the run is recorded.")] = Path("runs"),
    deploy: Annotated[Path, typer.Option(metavar="ROOT", help="Where the model is exported to.")] = Path("deploy"),
    epochs: Annotated[int, typer.Option(min=1, help="Passes through the training data.")] = 15,
    seed: Annotated[int, typer.Option(help="Of weights and batches.")] = 0,
) -> None:
    """Train on real data, judge, then export or explain: the whole road.

    A small convolutional net on scikit-learn's handwritten digits; nothing is downloaded, and it takes less than a minute.

    Exit codes: 0 when it ran as meant, whatever the verdict; 2 when something it needs is missing.
    """
    # Looked for first: torch and Lightning take seconds to load.
    if importlib.util.find_spec("sklearn") is None:
        message = "the demo trains on scikit-learn's digits, and scikit-learn is not installed: pip install scikit-learn"
        raise FitgateError(message)
    from fitgate_callbacks.demo import run_demo  # noqa: PLC0415 - only training loads torch and Lightning

    run_demo(strict=strict, runs=runs, deploy=deploy, epochs=epochs, seed=seed)
