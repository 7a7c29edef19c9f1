"""``kedro viz`` shows the project: stages and judges that unfold, data in layers, tables and plots on the nodes."""

import importlib.util
import json
import os
import shutil
import urllib.request
from pathlib import Path
from types import ModuleType
from urllib.parse import urlsplit

import psutil
import pytest

PROJECT = Path(__file__).parents[2]
FONTS = {"fonts.googleapis.com", "fonts.gstatic.com"}

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def screenshots() -> ModuleType:
    """The script that takes the documentation's pictures: it starts the server and the browser here, too."""
    spec = importlib.util.spec_from_file_location("screenshots", PROJECT / "scripts" / "screenshots.py")
    script = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(script)
    return script


@pytest.fixture(scope="module")
def address(finished, screenshots):
    """Of a server that shows a finished run; nothing of it is left afterwards."""
    with screenshots.serve_viz(finished.data_root) as address:
        family = psutil.Process().children(recursive=True)
        yield address
    assert [process for process in family if process.is_running() and process.status() != psutil.STATUS_ZOMBIE] == []


@pytest.fixture(scope="module")
def graph(address) -> dict:
    """What the flowchart is drawn from."""
    with urllib.request.urlopen(f"{address}api/main", timeout=60) as answer:
        return json.load(answer)


@pytest.fixture(scope="module")
def browser(screenshots):
    """A Chromium without head."""
    missing = [
        what
        for what, is_there in {
            "playwright": importlib.util.find_spec("playwright"),
            "chromium": shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome"),
        }.items()
        if not is_there
    ]
    if missing and os.environ.get("WSDM_ARENA_REQUIRE_BROWSER") == "1":
        pytest.fail(f"WSDM_ARENA_REQUIRE_BROWSER=1, but there is no {' and no '.join(missing)}")
    if missing:
        pytest.skip(f"there is no {' and no '.join(missing)}")
    with screenshots.chromium() as browser:
        yield browser


@pytest.fixture
def open_tab(browser, address, screenshots):
    """Open the page at a query; at the end, nothing may have failed in it."""
    tabs, faults, foreign = [], [], set()

    def note(message):
        if message.type == "error" and message.location["url"].startswith(address):
            faults.append(message.text)

    def open_tab(query=""):
        context = browser.new_context()
        context.on("console", note)
        context.on("weberror", lambda error: faults.append(str(error.error)))
        context.on("request", lambda request: foreign.add(urlsplit(request.url).hostname))
        tabs.append(context)
        return screenshots.open_viz(context, address, query)

    yield open_tab
    for tab in tabs:
        tab.close()
    assert faults == []
    assert foreign <= {"127.0.0.1", None, *FONTS}  # and these are blocked: no telemetry is even tried


def _names(tab) -> list[str]:
    return tab.locator(".pipeline-node").evaluate_all("nodes => nodes.map((node) => node.dataset.nodeFullname)")


def test_every_judge_and_layer_is_in_the_graph(graph):
    names = {node["name"] for node in graph["nodes"]}
    assert {"battles", "scoreboard", "train_table", "report.accuracy_plot", "teacher.gemma.reliability_plot"} <= names
    judges = {node["id"] for node in graph["nodes"] if node["type"] == "modularPipeline"}
    assert {"teacher", "teacher.gemma", "teacher.gemma_large", "teacher.llama", "report"} <= judges
    assert {"student.llama", "pretraining.gemma", "final.llama", "final_held_out.gemma", "submission.final"} <= judges
    layers = {layer: number for number, layer in enumerate(graph["layers"])}
    path = ["raw", "primary", "teacher", "collected_labels", "student", "generated_labels", "pretraining", "final"]
    path += ["export", "submission", "reporting", "report"]
    assert sorted(path, key=layers.__getitem__) == path
    assert layers["primary"] < layers["generated_pairs"] < layers["generated_labels"]


def test_all_data_lies_in_a_layer_and_no_node_stands_alone(graph):
    data = [node for node in graph["nodes"] if node["type"] == "data" and not node["name"].startswith("params:")]
    assert [node["name"] for node in data if node["layer"] is None] == []
    linked = {end for edge in graph["edges"] for end in (edge["source"], edge["target"])}
    assert [node["name"] for node in graph["nodes"] if node["id"] not in linked] == []


def test_every_plot_table_and_document_of_a_run_has_a_preview(graph, address):
    without = {}
    kinds = {}
    for node in graph["nodes"]:
        if node["type"] == "data" and not node["name"].startswith("params:"):
            with urllib.request.urlopen(f"{address}api/nodes/{node['id']}", timeout=60) as answer:
                shown = json.load(answer)
            kinds[node["name"]] = shown.get("preview_type")
            if shown.get("preview") is None:
                without[node["name"]] = node["layer"]
    transcoded = {name for name in without if name.endswith(".selection")} | {"mined_prompts"}  # Kedro-Viz shows none
    folders = {name for name in without if name.startswith("raw_checkpoint.")}
    stores = {name for name, layer in without.items() if layer == "workspace"}
    assert set(without) - transcoded - folders - stores == {"report.page"}
    assert {kinds[name] for name in kinds if name.endswith("_plot")} == {"PlotlyPreview"}
    assert {kinds["battles"], kinds["scoreboard"], kinds["comparisons"]} == {"TablePreview"}
    assert (kinds["scoreboard_table"], kinds["report.judges"]) == ("TextPreview", "JSONPreview")


@pytest.mark.browser
def test_the_flowchart_is_drawn(open_tab):
    names = _names(open_tab())
    assert {"battles", "teacher", "scoreboard", "report"} <= set(names)
    assert not [name for name in names if name.startswith("params:")]
    recipe = _names(open_tab("types=nodes"))
    assert 15 < len(recipe) < 40  # readable at a glance
    assert {"teacher", "student", "pretraining", "final", "submission", "report"} <= set(recipe)


@pytest.mark.browser
def test_a_stage_and_a_judge_unfold(open_tab, screenshots):
    tab = open_tab("pid=teacher")
    assert "teacher.gemma" not in _names(tab)
    screenshots.click_node(tab, "teacher", then=screenshots.node("teacher.gemma"))
    assert {"teacher.gemma", "teacher.gemma_large", "teacher.llama"} <= set(_names(tab))
    screenshots.click_node(tab, "teacher.gemma", then=screenshots.node("teacher.gemma.tokens"))
    tab.locator(screenshots.node("teacher.gemma")).wait_for(state="detached")  # it fades away
    assert "teacher.llama" in _names(tab)


@pytest.mark.browser
@pytest.mark.parametrize(("entry", "rows"), [("battles", 20), ("scoreboard", 100), ("train_table", 20)])
def test_a_table_opens(open_tab, entry, rows):
    tab = open_tab(f"sn={entry}")
    tab.get_by_text("Expand preview").click()
    lines = tab.locator(".pipeline-metadata-modal__preview .preview-table__row")
    lines.first.wait_for()
    assert lines.count() == rows
    assert "null" not in lines.first.inner_text()


@pytest.mark.browser
@pytest.mark.parametrize("entry", ["teacher.gemma.reliability_plot", "report.accuracy_plot"])
def test_a_plot_opens(open_tab, entry):
    tab = open_tab(f"sn={entry}")
    tab.locator(".pipeline-metadata .main-svg .trace").first.wait_for()
    tab.get_by_text("Expand preview").click()
    modal = tab.locator(".pipeline-metadata-modal .main-svg .trace")
    modal.first.wait_for()
    assert modal.count() > 0


@pytest.mark.browser
@pytest.mark.parametrize(("entry", "text"), [("scoreboard_table", "accuracy"), ("report.battles_card", "battles")])
def test_a_text_opens(open_tab, entry, text):
    tab = open_tab(f"sn={entry}")
    shown = tab.locator(".pipeline-text-renderer__content")
    shown.first.wait_for()
    assert text in shown.first.inner_text()
