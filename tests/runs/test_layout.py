from fnmatch import fnmatchcase
from pathlib import Path

import pytest
import yaml

from wsdm_arena.runs import layout
from wsdm_arena.runs.ledger import LEDGER_NAME

CONF = Path(__file__).parents[2] / "conf" / "base"
ROOT = "${globals:data_root}/"
ENTRIES = {
    name: entry
    for path in sorted(CONF.glob("catalog*.yml"))
    for name, entry in yaml.safe_load(path.read_text(encoding="utf-8")).items()
    if isinstance(entry, dict)
}


@pytest.mark.parametrize(
    ("entry", "place"),
    [
        ("ledger", LEDGER_NAME),
        ("scoreboard", layout.SCOREBOARD),
        ("answer_store", layout.ANSWER_STORE),
        ("token_store", layout.TOKEN_STORE),
        ("training_runs", layout.TRAINING_RUNS),
        ("backbone_store", layout.BACKBONE_STORE),
        ("bundle_store", layout.BUNDLE_STORE),
        ("scoring_runs", layout.SCORING_RUNS),
    ],
)
def test_the_catalog_says_the_same(entry, place):
    assert ENTRIES[entry]["filepath"] == ROOT + place


def test_entries_with_versions_lie_in_layers_in_which_versions_are_looked_for():
    versioned = [entry["filepath"].removeprefix(ROOT) for entry in ENTRIES.values() if entry.get("versioned")]
    assert len(versioned) > 10
    layers = {place.partition("/")[0] for place in versioned}
    assert all(fnmatchcase(layer, layout.VERSIONED_LAYERS) for layer in layers)
    assert not fnmatchcase(layout.RAW, layout.VERSIONED_LAYERS)


def test_all_checkpoints_with_versions_lie_in_the_layer_of_models():
    kind = "wsdm_arena.io.directory.CheckpointDataset"
    places = [entry["filepath"] for entry in ENTRIES.values() if entry.get("type") == kind and entry.get("versioned")]
    assert places
    assert all(place.startswith(f"{ROOT}{layout.MODELS}/") for place in places)
