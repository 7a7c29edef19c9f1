"""Take the pictures of docs/images, with the Chromium of the system (``apt install chromium``).

Examples:
    python scripts/screenshots.py report                        # docs/images/report.png
    python scripts/screenshots.py report --parts /tmp/report    # and all of the page in parts, on a phone, as a PDF
    python scripts/screenshots.py report --page data/mine/08_reporting/report.html --out mine.png
    python scripts/screenshots.py viz                           # docs/images/viz_overview.png and viz_stage.png
"""

import argparse
import json
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from playwright.sync_api import Browser, BrowserContext, Page

PROJECT = Path(__file__).resolve().parents[1]
QUIET = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--hide-scrollbars",
]
"""Arguments of a Chromium that asks nobody anything."""

VIZ_SETTINGS = {
    "theme": "light",
    "showFeatureHints": False,
    "visible": {"code": False, "graph": True, "miniMap": False, "sidebar": False, "slicing": False, "traceback": False},
}
"""What Kedro-Viz keeps in the browser: no tour, no side bar, no map, no hints at slicing."""
VIZ_PORTS = range(41_410, 49_000)  # Kedro-Viz refuses those that the system hands out
VIZ_SECONDS = 180
HIDE_NEWS = ".update-reminder-unexpanded { display: none }"
"""Without network Kedro-Viz announces version "None" of itself."""


@contextmanager
def chromium() -> Iterator["Browser"]:
    """Start Chromium, headless; it is gone after the block.

    Raises:
        SystemExit: There is no Chromium.
    """
    from playwright.sync_api import sync_playwright

    path = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if path is None:
        raise SystemExit("there is no Chromium: apt install chromium")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=QUIET)
        try:
            yield browser
        finally:
            browser.close()


def open_report(browser: "Browser", page: Path, *, width: int, height: int) -> "Page":
    """Open a report and wait until all its figures are drawn."""
    tab = browser.new_page(viewport={"width": width, "height": height})
    tab.goto(page.resolve().as_uri())
    tab.wait_for_function("[...document.querySelectorAll('.plot')].every((plot) => plot.dataset.drawn)")
    return tab


def shoot_report(page: Path, out: Path, parts: Path | None) -> None:
    """Take the head of the report with its scoreboard; and, into ``parts``, all of it at two widths."""
    out.parent.mkdir(parents=True, exist_ok=True)
    with chromium() as browser:
        open_report(browser, page, width=1400, height=1500).screenshot(path=out)
        if parts is not None:
            _shoot_parts(browser, page, parts)


def _shoot_parts(browser: "Browser", page: Path, parts: Path) -> None:
    parts.mkdir(parents=True, exist_ok=True)
    for name, width, height in (("wide", 1400, 1300), ("phone", 390, 2200)):
        tab = open_report(browser, page, width=width, height=height)
        total = tab.evaluate("document.documentElement.scrollHeight")
        for number, top in enumerate(range(0, total, height)):
            clip = {"x": 0, "y": top, "width": width, "height": min(height, total - top)}
            tab.screenshot(path=parts / f"{name}-{number:02}.png", full_page=True, clip=clip)
    tab.emulate_media(media="print")
    tab.pdf(path=parts / "print.pdf", format="A4", margin=dict.fromkeys(("top", "bottom", "left", "right"), "14mm"))


@contextmanager
def serve_viz(data_root: Path) -> Iterator[str]:
    """Run ``kedro viz`` on a free port; the command and its server are gone after the block.

    Args:
        data_root: What the nodes show.

    Yields:
        Address of the page.

    Raises:
        SystemExit: The server does not come up; what it printed is in the message.
    """
    port = next(port for port in VIZ_PORTS if _is_free(port))
    command = [sys.executable, "-m", "kedro", "viz", "run", "--include-hooks", "--no-browser"]
    command += ["--host", "127.0.0.1", "--port", str(port), "--params", f"data_root={data_root}"]
    with tempfile.TemporaryFile("w+") as log:
        server = subprocess.Popen(
            command,
            cwd=PROJECT,
            env=os.environ | {"KEDRO_DISABLE_TELEMETRY": "1"},
            stdout=log,
            stderr=subprocess.STDOUT,
        )
        try:
            address = f"http://127.0.0.1:{port}/"
            if not _answers(f"{address}api/main", server):
                log.seek(0)
                raise SystemExit(f"Kedro-Viz did not come up:\n{log.read()}")
            yield address
        finally:
            _stop_family(server)


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) != 0


def _answers(address: str, server: "subprocess.Popen[bytes]") -> bool:
    deadline = time.monotonic() + VIZ_SECONDS
    while time.monotonic() < deadline and server.poll() is None:
        try:
            with urllib.request.urlopen(address, timeout=30):
                return True
        except (urllib.error.URLError, OSError):
            time.sleep(0.3)
    return False


def _stop_family(server: "subprocess.Popen[bytes]") -> None:
    """The server is a child of the command, and outlives it."""
    import psutil

    family = psutil.Process(server.pid).children(recursive=True) if server.poll() is None else []
    server.terminate()
    for process in family:
        process.terminate()
    server.wait(20)
    for process in psutil.wait_procs(family, timeout=20)[1]:
        process.kill()


def open_viz(browser: "Browser | BrowserContext", address: str, query: str = "", *, width: int = 1600) -> "Page":
    """Open Kedro-Viz, cut off from every other host, and wait until the flowchart is drawn.

    Args:
        browser: A Chromium, or one profile of it.
        address: Of :func:`serve_viz`.
        query: What Kedro-Viz reads from its address: ``pid`` (pipeline), ``types`` (what is drawn), ``sn`` (the
            selected node).
        width: Of the window, in pixels.
    """
    tab = browser.new_page()
    tab.set_viewport_size({"width": width, "height": 1000})
    tab.route(lambda url: not url.startswith((address, "data:", "blob:")), lambda route: route.abort())
    settings = json.dumps(json.dumps(VIZ_SETTINGS))
    tab.add_init_script(f"localStorage.KedroViz ??= {settings}")
    tab.goto(f"{address}?{query}")
    tab.locator(".pipeline-node").first.wait_for()
    tab.add_style_tag(content=HIDE_NEWS)
    return tab


def click_node(tab: "Page", name: str, then: str) -> None:
    """Click a node of the flowchart and wait for what that shows.

    Args:
        tab: Of :func:`open_viz`.
        name: As it is drawn.
        then: Selector of what appears.
    """
    tab.locator(".pipeline-node", has=tab.get_by_text(name, exact=True)).first.click()
    tab.locator(then).first.wait_for()


def node(fullname: str) -> str:
    """Selector of a node by its whole name."""
    return f'.pipeline-node[data-node-fullname="{fullname}"]'


def shoot_viz(data_root: Path, folder: Path) -> None:
    """Take the whole recipe without its data, and one stage with a judge unfolded and a plot open."""
    folder.mkdir(parents=True, exist_ok=True)
    with serve_viz(data_root) as address, chromium() as browser:
        overview = open_viz(browser, address, "types=nodes", width=1200)
        _rest(overview)
        overview.screenshot(path=folder / "viz_overview.png")
        stage = open_viz(browser, address, "pid=student")
        click_node(stage, "student", then=node("student.llama.checkpoint"))
        _rest(stage)
        click_node(stage, "student.gemma", then=node("student.gemma.tokens"))
        _rest(stage)
        click_node(stage, "student.gemma.reliability_plot", then=".pipeline-metadata .main-svg .scatterlayer .trace")
        stage.get_by_label("Reset zoom").click()
        _rest(stage)
        stage.screenshot(path=folder / "viz_stage.png")


def _rest(tab: "Page") -> None:
    """Move the mouse away and wait until nothing moves any more."""
    tab.mouse.move(800, 2)
    tab.wait_for_function(
        """() => {
            const now = [...document.querySelectorAll('.pipeline-flowchart__graph, .pipeline-wrapper, .pipeline-node')]
                .map((part) => JSON.stringify(part.getBoundingClientRect()) + getComputedStyle(part).opacity).join();
            const still = window.lastSeen === now ? (window.stillFor ?? 0) + 1 : 0;
            [window.lastSeen, window.stillFor] = [now, still];
            return still > 10;
        }""",
        polling=50,
    )
    tab.evaluate("window.stillFor = 0")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(required=True, metavar="WHAT")
    report = commands.add_parser("report", help="the HTML report of a finished run")
    report.add_argument(
        "--page",
        type=Path,
        default=PROJECT / "data/sample/08_reporting/report.html",
        help="the report; default: %(default)s",
    )
    report.add_argument(
        "--out", type=Path, default=PROJECT / "docs/images/report.png", help="the picture; default: %(default)s"
    )
    report.add_argument("--parts", type=Path, help="a folder for the whole page: in parts, as on a phone, and as a PDF")
    report.set_defaults(run=lambda given: shoot_report(given.page, given.out, given.parts))
    viz = commands.add_parser("viz", help="Kedro-Viz with what a finished run made")
    viz.add_argument(
        "--data-root",
        type=Path,
        default=PROJECT / "data/sample",
        help="data folder of the run; default: %(default)s",
    )
    viz.add_argument(
        "--out", type=Path, default=PROJECT / "docs/images", help="folder of the pictures; default: %(default)s"
    )
    viz.set_defaults(run=lambda given: shoot_viz(given.data_root.resolve(), given.out))
    return parser


def main() -> None:
    """Read the command line and take the picture."""
    given = _parser().parse_args()
    given.run(given)


if __name__ == "__main__":
    main()
