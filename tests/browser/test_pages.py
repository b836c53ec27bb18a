"""Report and comparison in a real browser, at a desk and on a phone: nothing covers anything, nothing is cut.

Slow, and it needs Chromium: `make test-browser`.
"""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("playwright", reason='needs the extra "browser"')

from playwright.sync_api import BrowserContext, Page

import fitgate
from docs.make_pictures import browser_of
from fitgate.compare import compare
from fitgate.compare import render_html as comparison_page
from fitgate.diagnosis import Diagnosis, Finding
from fitgate.gate import decision_as_dict, judge
from fitgate.report import Mark, build_report
from fitgate.report import render_html as report_page
from fitgate.store._run_file import CheckpointRef, FitFacts, write_run_info

pytestmark = [pytest.mark.browser, pytest.mark.timeout(300)]

DESK, PHONE = (1000, 900), (390, 800)
_BOXES = """svg => {
    const box = e => { const r = e.getBoundingClientRect(); return [r.left, r.top, r.right, r.bottom]; };
    const styled = (selector, colour) => [...svg.querySelectorAll(selector)].filter(e => (e.getAttribute("style") || "").includes(`var(--${colour})`));
    return {
        texts: styled("text", "goal").map(box),
        others: [...styled("path", "validation"), ...styled("path", "problem"), ...styled("use", "judged")].map(box),
        frame: box(svg),
    };
}"""
_CUT = """() => {
    const wide = document.documentElement.clientWidth, said = [];
    for (const e of document.body.querySelectorAll("*")) {
        const style = getComputedStyle(e), box = e.getBoundingClientRect();
        if (!box.width || style.visibility === "hidden") continue;
        const name = e.tagName + "." + (e.getAttribute("class") || "") + ": " + e.textContent.trim().slice(0, 40);
        if (box.left < -1 || box.right > wide + 1) said.push("beyond the paper: " + name);
        if (!(e instanceof SVGElement) && style.overflowX !== "visible" && e.scrollWidth > e.clientWidth + 1) said.push("cut: " + name);
        if (style.textOverflow === "ellipsis" && e.scrollWidth > e.clientWidth) said.push("shortened: " + name);
    }
    return said;
}"""
"""What reaches over the page's side or is cut by a box that can't be scrolled on paper."""
_COLOURS = """() => {
    const light = colour => colour.match(/[\\d.]+/g).slice(0, 3).reduce((sum, part) => sum + Number(part), 0) / 765;
    return {
        ground: light(getComputedStyle(document.body).backgroundColor),
        text: light(getComputedStyle(document.querySelector("h1")).color),
        label: light(getComputedStyle(document.querySelector("figure svg text")).fill),
    };
}"""
"""How light they are, 0 to 1."""
NOTE = "training values are taken with dropout=0.4 on"
PAPER = (718, 1047)
"""A4 at 96 pixels an inch, within margins of 10 mm."""


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[BrowserContext]:
    """A headless Chromium with an empty profile."""
    with browser_of(tmp_path_factory.mktemp("profile")) as browser:
        yield browser


@pytest.fixture
def page(browser: BrowserContext) -> Iterator[Page]:
    """A new tab."""
    page = browser.new_page()
    yield page
    page.close()


def _run(root: Path, name: str, *, seed: int, best: float, **more: int) -> fitgate.Run:
    values = best - 0.6 * np.exp(-np.arange(20) / 3)
    with fitgate.start_run(root, name=name, tensorboard=False, hparams={"seed": seed, "lr": 0.1, "a_long_name": name, **more}) as run:
        for step, value in enumerate(values, 1):
            run.log_metrics({"val_acc": float(value), "val_loss": float(2 - value)}, 10 * step)
    stored = fitgate.Store(str(root)).run(run.id)
    fit = FitFacts(
        global_step=200, epoch=20, steps=200, checkpoint=CheckpointRef(path="best.ckpt", global_step=200, monitor="val_acc", mode="max")
    )
    write_run_info(run.path, replace(stored.info, fit=fit))
    return fitgate.Store(str(root)).run(run.id)


def _overlap(one: list[float], other: list[float]) -> bool:
    return one[0] < other[2] and other[0] < one[2] and one[1] < other[3] and other[1] < one[3]


@pytest.mark.parametrize("size", [DESK, PHONE])
def test_a_thresholds_text_covers_nothing(page: Page, tmp_path: Path, size: tuple[int, int]) -> None:
    """Where the judged point lies on the threshold, at the end of the curve, under the bars of findings; nor another threshold's."""
    run = _run(tmp_path, "net", seed=0, best=0.8)
    gate = decision_as_dict(judge(run, ["val_acc >= 0.8", "val_acc >= 0.805", "val_acc >= 0.79 (95 % confidence)"]), run.id)
    report = build_report(run, gate)
    marks = tuple(Mark(number=n, first=10, last=200, severity="problem") for n in (1, 2, 3))
    findings = tuple(Finding(rule="overfit", severity="problem", steps=(10, 200), evidence={}, summary="") for _ in marks)
    charts = tuple(replace(chart, marks=marks) for chart in report.charts)
    target = tmp_path / "report.html"
    target.write_text(report_page(replace(report, charts=charts, diagnosis=Diagnosis(findings=findings))))
    page.set_viewport_size({"width": size[0], "height": size[1]})
    page.goto(target.as_uri())
    pictures = [figure.evaluate(_BOXES) for figure in page.locator("figure svg").all()]
    assert sorted(bool(found["texts"]) for found in pictures) == [False, True], "val_acc has thresholds, val_loss none"
    for found in pictures:
        assert found["others"]
        for number, text in enumerate(found["texts"]):
            assert text[2] <= found["frame"][2] + 1, "whole"
            assert not any(_overlap(text, other) for other in found["others"] + found["texts"][number + 1 :])
    assert page.evaluate("document.documentElement.scrollWidth") <= size[0]


def test_on_a_phone_a_run_can_be_read(page: Page, tmp_path: Path) -> None:
    """A comparison's first column keeps a width of some words, and stays while the others are scrolled."""
    runs = [
        _run(tmp_path, f"a-rather-long-name-{name}", seed=seed, best=0.8 + seed / 100) for name in ("wide", "narrow") for seed in range(3)
    ]
    target = tmp_path / "compare.html"
    target.write_text(comparison_page(compare(runs, "val_acc", baseline=runs[0])))
    page.set_viewport_size({"width": PHONE[0], "height": PHONE[1]})
    page.goto(target.as_uri())
    assert page.evaluate("document.documentElement.scrollWidth") <= PHONE[0]
    for table in page.locator(".scroll").all():
        before = table.locator("td").first.bounding_box()
        table.evaluate("e => e.scrollLeft = 80")
        after = table.locator("td").first.bounding_box()
        assert before is not None
        assert after is not None
        assert before["width"] >= 150
        assert after["x"] == pytest.approx(before["x"], abs=1)


def _pages(folder: Path) -> dict[str, Path]:
    """A report with checks, a finding and curves, and a comparison of six runs with long names in two groups, which differ in a dozen hyperparameters."""
    runs = [
        _run(folder / "runs", f"a-rather-long-name-{name}", seed=seed, best=0.8 + seed / 100, **{f"width_{n}": size for n in range(12)})
        for size, name in enumerate(("wide", "narrow"))
        for seed in range(3)
    ]
    report = build_report(runs[0], decision_as_dict(judge(runs[0], ["val_acc >= 0.95", "val_loss <= 0.5"]), runs[0].id))
    finding = Finding(rule="overfit", severity="problem", steps=(10, 200), evidence={"note": NOTE}, summary="It does.", try_=("Less.",))
    pages = {
        "report.html": report_page(replace(report, diagnosis=Diagnosis(findings=(finding,)))),
        "compare.html": comparison_page(compare(runs, "val_acc", baseline=runs[0])),
    }
    for name, content in pages.items():
        (folder / name).write_text(content)
    return {name: folder / name for name in pages}


@pytest.mark.parametrize("name", ["report.html", "compare.html"])
def test_on_paper_nothing_is_cut(page: Page, tmp_path: Path, name: str) -> None:
    """As printed on A4: all within its sides, no box that would have to be scrolled, every picture whole, on white."""
    page.set_viewport_size({"width": PAPER[0], "height": PAPER[1]})
    page.goto(_pages(tmp_path)[name].as_uri())
    page.emulate_media(media="print", color_scheme="dark")
    assert page.evaluate(_CUT) == []
    assert page.evaluate("document.documentElement.scrollWidth") <= PAPER[0]
    assert page.locator("figure svg").count() >= 2
    for picture in page.locator("figure svg").all():
        box = picture.bounding_box()
        assert box is not None
        assert min(box["width"], box["height"]) > 50
    assert page.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(255, 255, 255)"
    if name == "report.html":
        assert page.get_by_text(NOTE).is_visible()


@pytest.mark.parametrize("name", ["report.html", "compare.html"])
def test_a_dark_page_is_dark(page: Page, tmp_path: Path, name: str) -> None:
    """Where the system asks for it: light ink on a dark ground, and the other way round; pictures take the ground's side too."""
    page.goto(_pages(tmp_path)[name].as_uri())
    seen = {}
    for scheme in ("light", "dark"):
        page.emulate_media(color_scheme=scheme)
        seen[scheme] = page.evaluate(_COLOURS)
    for part in ("text", "label"):
        assert seen["light"][part] < 0.5 < seen["light"]["ground"]
        assert seen["dark"]["ground"] < 0.5 < seen["dark"][part]
