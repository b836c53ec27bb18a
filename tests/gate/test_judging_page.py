"""docs/judging.md: its figures are the true ones, its commands run."""

import bisect
import shlex
from pathlib import Path

import pytest
from markdown_it import MarkdownIt
from scipy.stats import binom
from typer.testing import CliRunner

import fitgate
from fitgate import Threshold, evaluate
from fitgate._files import encode_json
from fitgate.cli import app
from fitgate.gate import Samples, decision_as_dict

PAGE = (Path(__file__).parents[2] / "docs" / "judging.md").read_text()


def _table() -> list[tuple[int, float, str]]:
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in PAGE.splitlines() if line.startswith("|")]
    truths = [float(cell) for cell in rows[0][1:]]
    return [(int(n.replace(",", "")), truth, cell) for n, *cells in rows[2:] for truth, cell in zip(truths, cells, strict=True)]


@pytest.mark.parametrize(("n", "truth", "shown"), _table())
def test_how_often_a_model_at_the_threshold_passes_is_as_documented(n: int, truth: float, shown: str) -> None:
    """By the binomial distribution, exactly: Wilson's bound keeps its 5 % on average over n only."""
    threshold = Threshold("acc", ">=", truth, confidence=0.95)

    def deployed(hits: int) -> int:
        return evaluate([threshold], {"acc": hits / n}, samples={"acc": Samples(n=n)}).verdict == "deploy"

    least = bisect.bisect_left(range(n + 1), 1, key=deployed)
    passes = 100 * float(binom.sf(least - 1, n, truth))
    assert shown == (f"{passes:.1f} %" if passes else "0 %")


def test_its_commands_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each ends in a verdict, on a run that was judged before."""
    monkeypatch.chdir(tmp_path)
    with fitgate.start_run("runs") as run:
        run.log_metrics({"val_acc": 0.9, "val_loss": 0.2}, step=1)
    decision = evaluate(["val_acc >= 0.8"], {}, ineligible=["it was not to be"])
    Path("runs", run.id, "gate.json").write_bytes(encode_json(decision_as_dict(decision, run.id)))
    (commands,) = [token.content for token in MarkdownIt().parse(PAGE) if token.type == "fence"]
    for line in commands.splitlines():
        program, *arguments = shlex.split(line)
        assert program == "fitgate"
        done = CliRunner().invoke(app, arguments)
        assert done.exit_code in (0, 1), done.output
        assert ("IMPROVE" if done.exit_code else "DEPLOY") in done.output
