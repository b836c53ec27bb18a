"""A comparison as people see it: in terminals of any width, as a page, as Markdown, as data."""

import io
import json
import math
import re
from collections.abc import Callable
from html.parser import HTMLParser

import pytest
from markdown_it import MarkdownIt
from rich.cells import cell_len
from rich.console import Console

import fitgate
from fitgate._files import encode_json
from fitgate.compare import Comparison, check_baseline, compare, comparison_as_dict, print_comparison, render_html, render_markdown
from fitgate.compare._chart import finish_of

MakeRun = Callable[..., fitgate.Run]
VOID = {"meta", "link", "br", "img", "hr", "input"}


@pytest.fixture
def comparison(make_run: MakeRun) -> Comparison:
    """Two groups of seeds that differ, a diverged run, one without the metric, one that goes on."""
    runs = [
        make_run(
            f"{name}-20261123-08400{seed}-quiet-otter",
            {"val_acc": [0.1 * i + seed / 100 + lr for i in range(6)]},
            hparams={"lr": lr, "net": {"width": 64}, "seed": seed, "note": "a|b <b>*c*</b>" if lr > 0.05 else "plain"},
        )
        for name, lr in (("wide", 0.1), ("narrow", 0.01))
        for seed in range(4)
    ]
    runs.append(make_run("gone", {"val_acc": [math.nan, math.nan]}, hparams={"lr": 9.0}))
    runs.append(make_run("other", {"val_loss": [0.5]}, hparams={"lr": 9.1}))
    runs.append(make_run("live", {"val_acc": [0.2, 0.3]}, hparams={"lr": 9.2}, state="running"))
    return compare(runs, "val_acc", baseline=runs[0])


def printed(comparison: Comparison, width: int, *, encoding: str = "utf-8", most_rows: int = 30) -> str:
    """What a terminal of that width and encoding gets."""
    stream = io.TextIOWrapper(io.BytesIO(), encoding=encoding, errors="strict")
    print_comparison(comparison, Console(file=stream, width=width, color_system=None), most_rows=most_rows)
    stream.flush()
    return stream.buffer.getvalue().decode(encoding)


@pytest.mark.parametrize("width", [44, 60, 80, 100, 120, 160, 250])
def test_the_leaderboard_fits_any_width(comparison: Comparison, width: int) -> None:
    """No row is wrapped or cut; rank, run and best value are always there, the best run is marked; what has no room is named."""
    lines = printed(comparison, width).splitlines()
    head = next(i for i, line in enumerate(lines) if re.match(r" +#  run", line))
    rows = lines[head : head + 10]
    assert all(cell_len(line.rstrip()) <= width for line in rows)
    assert [line.split()[0] for line in rows[1:]] == ["★", *"23456789"]
    assert all("otter" in line or "live" in line for line in rows[1:])
    best = [row.best.value for row in comparison.rows if row.best]
    assert all(f"{value:.5g}" in line for value, line in zip(best, rows[1:], strict=True))
    columns = {"at", "change", "curve", "state", "last", "group", "lr", "steps", "epochs", "time", "note"}
    shown = columns & set(lines[head].split())
    left_out = next((line for line in lines if line.startswith(f"left out in {width} columns: ")), "")
    assert shown | (columns & set(re.split(r"[ ,;]+", left_out))) == columns
    assert shown == columns if width >= 160 else left_out


@pytest.mark.parametrize("width", [44, 50, 60])
def test_a_narrow_terminal_breaks_no_word(comparison: Comparison, width: int) -> None:
    """Lines of text are wrapped between words there; in a file, a line stays a line."""
    stream = io.StringIO()
    print_comparison(comparison, Console(file=stream, width=width, force_terminal=True, color_system=None))
    lines = stream.getvalue().splitlines()
    assert all(cell_len(line.rstrip()) <= width for line in lines)
    words = set(" ".join(lines).split())
    assert set(comparison.metric.mode_why.split()) <= words
    assert f"direction: {comparison.metric.mode_why}" in printed(comparison, width).splitlines()


def test_a_narrow_terminal_keeps_what_matters(comparison: Comparison) -> None:
    """At 80 columns with shortened ids: best, its step, the change from the baseline, the curve and the state."""
    head = next(line for line in printed(comparison, 80).splitlines() if re.match(r" +#  run", line))
    assert {"#", "run", "best", "change", "at", "step", "curve", "state"} <= set(head.split())
    assert "wide…quiet-otter" in printed(comparison, 80)
    assert "wide-20261123-084003-quiet-otter" in printed(comparison, 250)


def test_a_terminal_without_unicode_gets_ascii(comparison: Comparison) -> None:
    """Signs are replaced, nothing raises."""
    text = printed(comparison, 120, encoding="ascii")
    assert text.isascii()
    assert "\n*  " in text
    assert "!=" in text


def test_everything_that_is_to_be_known_is_said(comparison: Comparison) -> None:
    """Metric, direction and why; runs without a rank and why; groups and whether they differ; running runs; rows not shown."""
    text = printed(comparison, 250, most_rows=3)
    assert "val_acc, higher is better" in text
    assert 'direction: by its name: low for "loss" and "error", else high' in text
    assert "no rank: gone has no finite value: all 2 values are NaN or infinite" in text
    assert "no rank: other never recorded val_acc" in text
    assert "A is better than B by 0.09" in text
    assert "95% bootstrap intervals" in text
    assert "1 run still running" in text
    assert "6 more with a value are not shown; --top 9 shows all" in text


def test_many_groups_are_summed_up(make_run: MakeRun) -> None:
    """Of a dozen groups one line says which can't be told from the best, and the tables stop at ten."""
    runs = [
        make_run(f"{g:02d}-{s}", {"val_acc": [(0.9 if g < 3 else 0.1 + g / 1000) + s / 1000]}, hparams={"width": g, "seed": s})
        for g in range(13)
        for s in range(4)
    ]
    comparison = compare(runs, "val_acc")
    text = printed(comparison, 120)
    assert "A is better than 10 of 12 other groups" in text
    assert "can't tell A from B, C; --json has the intervals" in text
    assert "3 more groups; --json has all" in text
    assert "3 more groups are not shown" in render_markdown(comparison)
    assert len(comparison.differences) == 12


class Page(HTMLParser):
    """Collects the tags of a page, and whether they close in order."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Remember it."""
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        """It closes the last one open."""
        if tag not in VOID and self.open.pop() != tag:
            raise AssertionError(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Opened and closed at once, as in SVG."""
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        """Text, styles included."""
        self.text += data


def test_the_page_needs_nothing_from_outside(comparison: Comparison) -> None:
    """No script, no address, every tag closed, colours the page's own, text of users escaped; the same twice."""
    html = render_html(comparison)
    page = Page(html)
    assert page.open == []
    names = [tag for tag, _ in page.tags]
    assert "script" not in names
    assert names.count("svg") >= 3
    assert not re.search(r"(?:https?:)?//(?!\*)", html)
    assert not any(value and value.startswith(("http", "//")) for _, attrs in page.tags for value in attrs.values())
    svg = "".join(re.findall(r"<svg.*?</svg>", html, re.DOTALL))
    assert not re.search(r"#[0-9a-f]{6}", svg)
    assert "<b>*c*</b>" not in html
    assert "a|b <b>*c*</b>" in page.text
    assert html == render_html(comparison)
    assert len(html) < 300_000


def test_the_page_holds_the_whole_comparison(comparison: Comparison) -> None:
    """Every run with its best value, the hyperparameters that differ, the groups and their difference."""
    text = " ".join(Page(render_html(comparison)).text.split())
    for row in comparison.rows:
        assert row.facts.id in text
        assert row.best is None or f"{row.best.value:.5g}" in text
    for needed in (
        "is best: val_acc",
        "Hyperparameters that differ",
        "lr=0.1, note=a|b",
        "A is better than B by",
        "never recorded val_acc",
    ):
        assert needed in text
    assert "net.width" in text  # the runs outside the groups have none


def test_the_page_says_how_the_baseline_fared(comparison: Comparison, make_run: MakeRun) -> None:
    """In its head."""
    runs = [make_run("base", {"val_acc": [0.9]}), make_run("new", {"val_acc": [0.5]})]
    against = compare(runs, "val_acc", baseline=runs[0])
    text = " ".join(Page(render_html(against, check_baseline(against, 0.1))).text.split())
    assert "Worse than the baseline new is worse by 0.4 than the baseline base (val_acc 0.5 against 0.9): more than the 0.1 allowed" in text
    assert "Comparison" in Page(render_html(comparison)).text


def test_many_runs_make_a_page_that_still_opens(make_run: MakeRun) -> None:
    """Of 70 runs the best ones are drawn, and the page says so; all are in the tables."""
    runs = [make_run(f"r{i:02d}", {"val_loss": [1.0 / (1 + s * i) for s in range(1, 20)]}) for i in range(70)]
    html = render_html(compare(runs, "val_loss"))
    assert "Drawn are the 60 best of 70 runs." in html
    assert "r00" in html


@pytest.mark.parametrize("thinned", [False, True])
def test_a_closer_look_holds_every_point_of_the_half_that_it_shows(make_run: MakeRun, thinned: bool) -> None:  # noqa: FBT001
    """The lowest value above all, which is the one that won; also where the line that stands for many points passes it by."""
    count = 8000 if thinned else 20
    others = [5.0] * (count // 4) + [1.0 + 0.001 * i / count for i in range(count - count // 4)]
    winner = [*others[:-2], 0.5, 1.0]
    runs = [make_run("winner", {"val_loss": winner}), *(make_run(f"run-{i}", {"val_loss": others}) for i in range(1 if thinned else 5))]
    comparison = compare(runs, "val_loss")
    best = comparison.rows[0].best
    assert best is not None
    assert (comparison.rows[0].facts.id, best.value) == ("winner", 0.5)
    curves = [row.series.curve for row in comparison.rows if row.series is not None]
    assert (min(curves[0].values) > 0.5) == thinned, "a mean stands for the best point and its neighbours"
    limits = finish_of(curves, best)
    assert limits is not None
    (left, right), (low, high) = limits
    assert left < best.global_step < right
    assert low < best.value
    late = [value for curve in curves for step, value in zip(curve.steps, curve.values, strict=True) if step >= 0.5 * curve.steps[-1]]
    assert low < min(late) <= max(late) < high
    assert "the second half, closer" in render_html(comparison)


def test_a_comparison_without_any_value_is_still_a_page(make_run: MakeRun) -> None:
    """Nothing to draw is no error."""
    comparison = compare([make_run("gone", {"val_acc": [math.nan]})], "val_acc")
    assert "No run has a finite val_acc" in render_html(comparison)
    assert "gone has no finite value" in render_markdown(comparison)
    assert "gone has no finite value" in printed(comparison, 80)


def test_markdown_is_tables_for_a_pull_request(comparison: Comparison) -> None:
    """As a Markdown library reads it: every row has every cell, text of users stays text."""
    html = MarkdownIt("commonmark").enable("table").render(render_markdown(comparison))
    tables = re.findall(r"<table>.*?</table>", html, re.DOTALL)
    assert len(tables) == 2
    for table in tables:
        widths = {len(re.findall(r"<t[hd]\b", row)) for row in re.findall(r"<tr>.*?</tr>", table, re.DOTALL)}
        assert len(widths) == 1
    assert "<strong>wide-20261123-084003-quiet-otter</strong>" in tables[0]
    assert "<em>" not in html
    assert "<b>" not in html
    assert "A is better than B by" in html


def test_as_data_it_is_json(comparison: Comparison, make_run: MakeRun) -> None:
    """Everything that the terminal says, with null where a value is not finite."""
    data = json.loads(encode_json(comparison_as_dict(comparison)))
    assert (data["metric"], data["stage"], data["mode"], data["baseline"]) == ("val_acc", "validate", "max", comparison.baseline)
    assert [run["id"] for run in data["runs"]] == [row.facts.id for row in comparison.rows]
    first = data["runs"][0]
    assert first["best"] == {"step": 60, "global_step": 60, "value": pytest.approx(0.63)}
    assert first["hparams"] == {"lr": 0.1, "note": "a|b <b>*c*</b>", "net.width": 64, "seed": 3}
    gone = next(run for run in data["runs"] if run["id"] == "gone")
    assert (gone["rank"], gone["best"], gone["last"], gone["non_finite"]) == (None, None, {"step": 20, "global_step": 20, "value": None}, 2)
    assert [group["seeds"] for group in data["groups"]] == [4, 4]
    assert data["differences"][0]["verdict"] == "A is better"
    runs = [make_run("base", {"val_acc": [0.9]}), make_run("new", {"val_acc": [0.5]})]
    against = compare(runs, "val_acc", baseline=runs[0])
    check = json.loads(encode_json(comparison_as_dict(against, check_baseline(against, 0.1))))["baseline_check"]
    assert (check["worse"], check["run"], check["worse_by"]) == (True, "new", pytest.approx(0.4))


@pytest.mark.parametrize("metric", ["val_$x$", "cost_$", r"a$\undefined{b}$"])
def test_a_dollar_in_a_name_is_a_dollar(make_run: MakeRun, metric: str) -> None:
    """No formula is made of it, which not every text is."""
    runs = [make_run(f"r{seed}", {metric: [0.1, 0.2 + seed / 10]}, hparams={"seed": seed, "lr": 0.1}) for seed in range(3)]
    assert f"best {metric}" in render_html(compare(runs, metric))
