"""What a person finds in a real TensorBoard, in a real browser, on the store that the demo leaves.

Slow, and it needs Chromium: `make test-browser`. It leaves the README's pictures of TensorBoard in its temporary folder, taken as
`make pictures` takes them.
"""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

pytest.importorskip("playwright", reason='needs the extra "browser"')

from PIL import Image
from playwright.sync_api import BrowserContext, Page

import fitgate
from docs.make_pictures import PICTURES, browser_of, pictures_of_tensorboard, run_fitgate, settle, tensorboard_on

_DEEP_TEXT = """root => {
    const found = [];
    const walk = node => {
        if (node.nodeType === Node.TEXT_NODE) found.push(node.textContent);
        if (node.tagName === "STYLE" || node.tagName === "SCRIPT") return;
        if (node.shadowRoot) node.shadowRoot.childNodes.forEach(walk);
        node.childNodes.forEach(walk);
    };
    walk(root);
    return found.join("\\n");
}"""

pytestmark = [pytest.mark.browser, pytest.mark.timeout(600)]


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The demo, once deployed and once not."""
    work = tmp_path_factory.mktemp("work")
    run_fitgate(work, "demo")
    run_fitgate(work, "demo", "--strict", "--seed", "1")
    return work / "runs"


@pytest.fixture(scope="module")
def address(store: Path) -> Iterator[str]:
    """A TensorBoard that `fitgate tensorboard` started on it."""
    with tensorboard_on(store) as address:
        yield address


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[BrowserContext]:
    """A headless Chromium with an empty profile."""
    with browser_of(tmp_path_factory.mktemp("profile")) as browser:
        yield browser


@pytest.fixture
def page(browser: BrowserContext, tmp_path: Path) -> Iterator[Page]:
    """A new tab; what it showed last lies in the test's folder."""
    page = browser.new_page()
    page.set_viewport_size({"width": 1280, "height": 900})
    page.set_default_timeout(60_000)
    yield page
    page.screenshot(path=tmp_path / "last.png")
    page.close()


def test_the_curves_are_there_and_no_empty_run(page: Page, address: str, store: Path) -> None:
    """Time series: every recorded metric has a card; the runs listed are the store's, and no others."""
    page.goto(f"{address}/#timeseries")
    page.wait_for_selector("scalar-card line-chart")
    settle(page)
    text = page.inner_text("body")
    for name in ("val_acc", "val_loss", "train_acc", "train_loss", "loss"):
        assert name in text
    runs = json.loads(page.request.get(f"{address}/data/runs").text())
    assert sorted(runs) == sorted(run.id for run in fitgate.Store(str(store)).runs())


def test_hyperparameters_compare_runs(page: Page, address: str, store: Path) -> None:
    """HParams: the table has a row a run with its final metrics; the parallel coordinates draw a line for each."""
    page.goto(f"{address}/#hparams")
    page.get_by_text("TABLE VIEW").click()
    rows = page.locator("tf-hparams-table-view vaadin-grid")
    rows.wait_for()
    settle(page)
    shown = _text(page, "tf-hparams-table-view")
    for heading in ("dropout", "lr", "width", "gate/judged val_acc"):
        assert heading in shown
    for run in fitgate.Store(str(store)).runs():
        (judged,) = {check["value"] for check in _gate(store, run.id)["checks"] if check["metric"] == "val_acc"}
        assert f"{judged:.5g}" in shown
    page.get_by_text("PARALLEL COORDINATES VIEW").click()
    lines = page.locator("tf-hparams-parallel-coords-plot svg g.foreground path")
    lines.first.wait_for()
    assert sum(bool(line.get_attribute("d")) for line in lines.all()) == 2


def test_the_verdict_and_the_report_can_be_read(page: Page, address: str) -> None:
    """Text: what was decided, check by check, and of the run that failed what to try, without traces of its markup."""
    page.goto(f"{address}/#text")
    page.get_by_text("tag: gate/verdict").first.wait_for()
    settle(page)
    text = _text(page, "tf-text-dashboard")
    assert "deploy" in text
    assert "Improve: digits" in text
    assert "What the curves show" in text
    assert "\\" not in text
    assert "**" not in text
    assert "val_loss <= 0.001" in text


def test_thresholds_are_drawn_with_their_metrics(page: Page, address: str) -> None:
    """Custom scalars: one chart a gated metric, with both runs' bounds and the judged step in it."""
    page.goto(f"{address}/#custom_scalars")
    page.get_by_text("Gate: metrics and their thresholds").wait_for()
    settle(page)
    charts = page.locator("tf-custom-scalar-multi-line-chart-card")
    assert charts.count() == 2
    charts.first.get_by_text("Matches (6)").click()
    matches = str(charts.first.evaluate(_DEEP_TEXT))
    for series in ("val_acc", "gate/needed val_acc", "gate/judged val_acc"):
        assert matches.count(series) >= 2


def _text(page: Page, selector: str) -> str:
    """All text of an element, that of TensorBoard's web components included."""
    return str(page.locator(selector).first.evaluate(_DEEP_TEXT))


def _gate(store: Path, run_id: str) -> dict[str, list[dict[str, object]]]:
    gate: dict[str, list[dict[str, object]]] = json.loads((store / run_id / "gate.json").read_bytes())
    return gate


def test_the_readmes_pictures_can_be_taken_again(browser: BrowserContext, address: str, tmp_path: Path) -> None:
    """Of the same size as those that the README shows, and not of one colour."""
    pictures_of_tensorboard(browser, address, tmp_path)
    taken = sorted(tmp_path.glob("*.png"))
    assert [path.stem for path in taken] == ["hparams", "tensorboard", "text", "thresholds"]
    readme = (PICTURES.parents[1] / "README.md").read_text()
    for path in taken:
        assert f"docs/pictures/{path.name}" in readme
        with Image.open(path) as now, Image.open(PICTURES / path.name) as shown:
            assert now.size == shown.size
            assert len(now.convert("RGB").getcolors(maxcolors=2**24) or []) > 100
