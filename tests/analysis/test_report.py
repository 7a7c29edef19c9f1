"""The report on one page: complete, escaped, the same every time, and drawn by a browser that is offline."""

import html
import importlib.util
import json
import os
import re
import shutil

import pytest

from tests.analysis.report_cases import HOSTILE, analysis, everything, row
from wsdm_arena.analysis.report import build_report

QUESTIONS = [
    "How good?",
    "For whom?",
    "Can its probabilities be trusted?",
    "Does the order matter?",
    "Does it like long answers?",
    "When should it abstain?",
    "What does a second judge buy?",
    "Which differences are real?",
    "How did training go?",
    "What was it trained on?",
]


def words(page: str) -> str:
    """The page without plotly and the figures."""
    return re.sub(r"<script.*?</script>", "", page, flags=re.DOTALL)


@pytest.fixture(scope="module")
def page() -> str:
    return build_report(**everything())


def test_every_question_is_asked_and_answered(page):
    text = words(page)
    assert [html.unescape(found) for found in re.findall("<h2>(.*?)</h2>", text)] == ["Scoreboard", *QUESTIONS]
    assert len(re.findall('<p class="finding">[^<]{20,}</p>', text)) == len(QUESTIONS)
    assert len(re.findall('<p class="reading">', text)) == len(QUESTIONS) + 1
    figures = json.loads(re.search('id="figures">(.*?)</script>', page, re.DOTALL).group(1))
    assert {f"plot-{anchor}" for anchor in figures} == set(re.findall('id="(plot-[a-z]+)"', text))
    assert len(figures) == len(QUESTIONS) - 1


def test_the_head_is_about_the_best_judge_that_has_not_seen_the_battles(page):
    lead = re.search('<p class="lead">(.*?)</p>', page).group(1)
    assert "student.llama" in lead
    assert "80.0%" in lead
    assert "99.0%" not in lead
    assert "tfidf" in lead


def test_the_scoreboard_has_every_row_of_a_whole_dataset(page):
    table = re.search('<table class="scoreboard">.*?</table>', page, re.DOTALL).group()
    lines = re.findall('<th scope="row">(.*?)</th>', table)
    assert len(lines) == 7  # three judges, one that has seen the battles, a cascade, two rules
    assert [line for line in lines if "seen" in line] == ['final.llama <span class="badge">seen</span>']
    assert sum("best honest" in line for line in lines) == 1
    assert "99.0%" in table


def test_what_trainings_began_with_is_told_and_marked_where_a_model_was_only_asked(page):
    arguments = everything()
    (started,) = (scored for scored in arguments["rows"] if scored["stage"] == "student.start")
    started |= {"stage": "student.zero_shot", "accuracy": 0.5625}
    asked = build_report(**arguments)
    assert "zero-shot" not in words(page)
    (table,) = re.findall("<details>.*?</details>", words(asked), re.DOTALL)
    lines = re.findall('<th scope="row">([^<]*)</th><td class="number">(.*?)</td>', table)
    assert lines == [
        ("teacher.gemma", "50.0%"),
        ("teacher.odd", "50.0%"),
        ("student.llama", '<span class="badge">zero-shot</span> 56.2%'),
    ]
    assert len(re.findall("56.2%", words(asked))) == 1  # in no table of what was trained


def test_names_are_text(page):
    hostile = build_report(**everything(hostile=True))
    assert "<img" not in hostile
    assert "onerror=alert(1)&gt;" in words(hostile)
    assert hostile.count("</script>") == page.count("</script>") == 3
    hostile.encode("utf-8")
    assert "\x00" not in hostile


def test_the_same_numbers_give_the_same_bytes(page):
    assert build_report(**everything()) == page


def test_nothing_on_the_page_is_fetched(page):
    assert not re.search(r"(src|href)\s*=\s*[\"']?(https?:)?//", words(page))
    assert "@import" not in words(page)
    assert "default-src 'none'" in page


def test_a_report_of_nothing_says_so():
    text = words(build_report(title="nothing", rows=[], analyses=[]))
    assert "No judge has been scored on battles that it has not seen" in text
    assert "The scoreboard is empty." in text


def test_judges_that_have_all_seen_the_battles_win_nothing():
    seen = {"seen_in_training": True}
    page = build_report(title="t", rows=[row("final", "gemma", **seen)], analyses=[analysis("final", "gemma", **seen)])
    assert '<span class="badge good">' not in words(page)
    assert '<div class="tile">' not in words(page)


@pytest.fixture(scope="module")
def browser():
    """A Chromium without head; WSDM_ARENA_REQUIRE_BROWSER=1 makes its absence a failure."""
    path = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if path is None or importlib.util.find_spec("playwright") is None:
        (pytest.fail if os.environ.get("WSDM_ARENA_REQUIRE_BROWSER") == "1" else pytest.skip)("there is no Chromium")
    from playwright.sync_api import sync_playwright

    quiet = ["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking"]
    quiet += ["--disable-component-update", "--disable-sync"]
    with sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=path, args=quiet)
        yield chromium
        chromium.close()


@pytest.mark.browser
@pytest.mark.parametrize(("hostile", "width"), [(False, 1400), (True, 1400), (False, 390)])
def test_a_browser_that_is_offline_draws_every_figure(browser, tmp_path, hostile, width):
    file = tmp_path / "report.html"
    file.write_text(build_report(**everything(hostile=hostile)), encoding="utf-8")
    context = browser.new_context(offline=True, viewport={"width": width, "height": 900})
    tab, faults, requests = context.new_page(), [], []
    tab.on("console", lambda said: faults.append(said.text) if said.type in ("error", "warning") else None)
    tab.on("pageerror", lambda error: faults.append(str(error)))
    tab.on("dialog", lambda dialog: (faults.append(dialog.message), dialog.dismiss()))
    tab.on("request", lambda request: requests.append(request.url))
    tab.goto(file.as_uri())
    tab.wait_for_function("[...document.querySelectorAll('.plot')].every((plot) => plot.dataset.drawn)")
    assert tab.locator(".plot").count() == len(QUESTIONS) - 1
    assert tab.evaluate("[...document.querySelectorAll('.plot')].filter((p) => !p.querySelector('.trace')).length") == 0
    assert tab.evaluate("document.documentElement.scrollWidth") == width  # nothing sticks out of the page
    assert tab.locator("img").count() == 0
    if not hostile:
        _choose(tab, "slices", "by pair of models")
        assert "odd vs b" in tab.locator("#plot-slices .yaxislayer-above").text_content()
    assert faults == []
    assert [url for url in requests if not url.startswith("data:")] == [file.as_uri()]
    context.close()


def _choose(tab, anchor: str, choice: str) -> None:
    tab.locator(f"#plot-{anchor} .updatemenu-header").click()
    tab.locator(f"#plot-{anchor} .updatemenu-dropdown-button", has_text=choice).click()
    tab.wait_for_timeout(300)


def test_hostile_names_are_hostile():
    assert "</script>" in HOSTILE
    assert "\ud800" in HOSTILE
