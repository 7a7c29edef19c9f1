"""Take the pictures of docs/images, with the Chromium of the system (``apt install chromium``).

Examples:
    python scripts/screenshots.py report                        # docs/images/report.png
    python scripts/screenshots.py report --parts /tmp/report    # and all of the page in parts, on a phone, as a PDF
    python scripts/screenshots.py report --page data/mine/08_reporting/report.html --out mine.png
"""

import argparse
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

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
    return parser


def main() -> None:
    """Read the command line and take the picture."""
    given = _parser().parse_args()
    given.run(given)


if __name__ == "__main__":
    main()
