"""The pictures of the README, from a real demo in a real browser.

    make pictures

Runs the demo twice in a temporary folder, starts TensorBoard on it, and takes each picture in a headless Chromium
(`chromium` on PATH). Needs playwright: pip install ".[browser]". Takes about a minute.
"""

from __future__ import annotations

import io
import json
import os
import re
import shutil
import socket
import subprocess
import sys
import sysconfig
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from PIL import Image
from playwright.sync_api import BrowserContext, Page, sync_playwright
from rich.console import Console
from rich.terminal_theme import TerminalTheme
from rich.text import Text

PICTURES = Path(__file__).parent / "pictures"
COLUMNS = 88
BROWSER_OPTIONS = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)
_CONTROLS = re.compile(r"\x1b\[[0-9;?]*[A-LN-Za-ln-z]|\r")
"""What moves the cursor; colours end in `m` and stay."""
_BRAILLE = re.compile(r"[\u2800-\u28ff]")
THEME = TerminalTheme(
    (22, 25, 31),
    (214, 219, 228),
    [(22, 25, 31), (240, 113, 120), (126, 199, 117), (229, 192, 100), (97, 164, 239), (198, 132, 226), (86, 190, 202), (171, 178, 191)],
    [(92, 99, 112), (240, 113, 120), (126, 199, 117), (229, 192, 100), (97, 164, 239), (198, 132, 226), (86, 190, 202), (255, 255, 255)],
)
TERMINAL_PAGE = """<!doctype html><meta charset="utf-8"><style>
body {{ margin: 0; background: {background}; }}
pre {{ display: inline-block; margin: 0; padding: 18px 26px 22px; color: {foreground};
  font: 16px/1.165 "DejaVu Sans Mono", Menlo, Consolas, monospace; }}
i {{ display: inline-block; width: 1ch; font-style: normal; font-weight: bold; transform: scaleX(0.823); transform-origin: left; }}
</style><body><pre>{code}</pre></body>"""


def main() -> None:
    PICTURES.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory() as folder, browser_of(Path(folder, "profile")) as browser:
        work = Path(folder, "work")
        work.mkdir()
        _terminal(browser, "fitgate demo", run_fitgate(work, "demo"), "summary.png")
        _terminal(browser, "fitgate show latest", run_fitgate(work, "show", "latest"), "show.png")
        run_fitgate(work, "demo", "--strict", "--seed", "1")
        (report,) = work.glob("runs/*/improve/report.html")
        _report(browser, report)
        with tensorboard_on(work / "runs") as address:
            pictures_of_tensorboard(browser, address, PICTURES)
    for picture in sorted(PICTURES.glob("*.png")):
        Image.open(picture).quantize(128).save(picture, optimize=True)
        print(f"{picture.name}: {picture.stat().st_size // 1024} kB")


def pictures_of_tensorboard(browser: BrowserContext, address: str, folder: Path) -> None:
    """Each of the pages that the README shows, as a picture in the folder."""
    for take in (_curves, _hparams, _thresholds, _text):
        take(browser, address, folder)


def run_fitgate(work: Path, *arguments: str) -> str:
    """What a terminal of `COLUMNS` columns shows at the end, with its colours."""
    scripts = sysconfig.get_path("scripts")
    environment = {
        **os.environ,
        "PATH": f"{scripts}{os.pathsep}{os.environ['PATH']}",
        "FORCE_COLOR": "1",
        "COLUMNS": str(COLUMNS),
        "TERM": "xterm-256color",
    }
    command = [sys.executable, "-m", "fitgate", *arguments]
    done = subprocess.run(command, cwd=work, env=environment, capture_output=True, text=True, check=True)
    lines: list[str] = []
    for line in _CONTROLS.sub("", done.stdout).splitlines():
        # Progress bars overwrite themselves, in a place that they cleared before: of their lines, the last one stands.
        if "it/s" in line:
            while lines and ("it/s" in lines[-1] or not Text.from_ansi(lines[-1]).plain.strip()):
                lines.pop()
            lines.append("")
        lines.append(line)
    return "\n".join(lines)


def _terminal(browser: BrowserContext, command: str, output: str, name: str) -> None:
    console = Console(record=True, width=COLUMNS, file=io.StringIO(), force_terminal=True, color_system="truecolor")
    console.print(Text.assemble(("$ ", "bold green"), (command, "bold")))
    console.print(Text.from_ansi(output.rstrip()))
    code = console.export_html(theme=THEME, inline_styles=True, code_format="{code}")
    # A browser takes braille from a font with wider letters; in a terminal each has one cell.
    code = _BRAILLE.sub(lambda match: f"<i>{match[0]}</i>", code)
    # Rich leaves reversed letters in the colour of the text; a terminal gives them that of its ground.
    code = code.replace('style="background-color', f'style="color: {THEME.background_color.hex}; background-color')
    colours = {"background": THEME.background_color.hex, "foreground": THEME.foreground_color.hex}
    page = browser.new_page()
    page.set_content(TERMINAL_PAGE.format(code=code, **colours))
    page.locator("pre").screenshot(path=PICTURES / name)
    page.close()


def _report(browser: BrowserContext, report: Path) -> None:
    with _page(browser, report.as_uri(), width=1000, height=1250) as page:
        end = page.get_by_role("heading", name="What changed").bounding_box()
        assert end is not None
        page.screenshot(path=PICTURES / "report.png", full_page=True, clip={"x": 0, "y": 0, "width": 1000, "height": end["y"] - 24})


def _curves(browser: BrowserContext, address: str, folder: Path) -> None:
    with _page(browser, f"{address}/#timeseries", width=1280, height=850) as page:
        page.wait_for_selector("scalar-card line-chart", timeout=60_000)
        page.get_by_text("Enable step selection and data table").click()
        page.get_by_role("button", name="Settings").first.click()
        page.get_by_role("combobox", name="Filter tags (regex)").fill("^val_|^train_")  # all that match stand in one grid
        page.keyboard.press("Escape")
        page.get_by_text("Tags matching filter").click()
        settle(page)
        page.screenshot(path=folder / "tensorboard.png")


def _hparams(browser: BrowserContext, address: str, folder: Path) -> None:
    with _page(browser, f"{address}/#hparams", width=1280, height=700) as page:
        page.get_by_text("PARALLEL COORDINATES VIEW").click()
        page.locator("tf-hparams-parallel-coords-plot svg").first.wait_for()
        settle(page)
        page.screenshot(path=folder / "hparams.png")


def _thresholds(browser: BrowserContext, address: str, folder: Path) -> None:
    with _page(browser, f"{address}/#custom_scalars", width=1280, height=560) as page:
        page.get_by_text("Gate: metrics and their thresholds").wait_for()
        settle(page)
        page.screenshot(path=folder / "thresholds.png")


def _text(browser: BrowserContext, address: str, folder: Path) -> None:
    with _page(browser, f"{address}/#text", width=1280, height=700) as page:
        page.get_by_text("Improve: digits").first.wait_for()
        settle(page)
        page.screenshot(path=folder / "text.png")


@contextmanager
def _page(browser: BrowserContext, address: str, *, width: int, height: int) -> Iterator[Page]:
    page = browser.new_page()
    page.set_viewport_size({"width": width, "height": height})
    page.goto(address)
    yield page
    page.close()


def settle(page: Page) -> None:
    page.wait_for_load_state("networkidle")
    page.wait_for_timeout(2_000)  # the charts' own animation


@contextmanager
def browser_of(profile: Path) -> Iterator[BrowserContext]:
    chromium = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if chromium is None:
        sys.exit("make_pictures: no chromium on PATH")
    with sync_playwright() as playwright:
        context = playwright.chromium.launch_persistent_context(
            profile, executable_path=chromium, args=BROWSER_OPTIONS, device_scale_factor=1.5
        )
        try:
            yield context
        finally:
            context.close()


@contextmanager
def tensorboard_on(runs: Path) -> Iterator[str]:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [sys.executable, "-m", "fitgate", "tensorboard", str(runs), "--port", str(port), "--host", "127.0.0.1"]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        address = f"http://127.0.0.1:{port}"
        _wait_for_runs(address, process)
        yield address
    finally:
        process.terminate()
        process.wait()


def _wait_for_runs(address: str, process: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline and process.poll() is None:
        try:
            with urllib.request.urlopen(f"{address}/data/runs", timeout=10) as answer:
                if len(json.load(answer)) > 1:
                    return
        except OSError:
            pass
        time.sleep(0.3)
    sys.exit("make_pictures: TensorBoard did not come up")


if __name__ == "__main__":
    main()
