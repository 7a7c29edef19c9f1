"""Where a data folder keeps what is not only read through the catalog; conf/base/catalog*.yml says the same.

The ledger's place is :data:`wsdm_arena.runs.ledger.LEDGER_NAME`.
"""

RAW = "01_raw"
"""What a person put there, or the simulated arena."""
MODELS = "06_models"
"""Layer in which versions that are directories have manifests."""
VERSIONED_LAYERS = "0[2-8]_*"
"""Pattern of the layers that may hold versions: raw data have none, and are not ours to look at."""

SCOREBOARD = "08_reporting/scoreboard.json"

ANSWER_STORE = "02_intermediate/answer_store"
TOKEN_STORE = "05_model_input/tokens"
TRAINING_RUNS = f"{MODELS}/.runs"
BACKBONE_STORE = f"{MODELS}/.backbones"
BUNDLE_STORE = f"{MODELS}/.bundles"
SCORING_RUNS = "07_model_output/.runs"

COMPLETE = "complete.json"
"""Written last into the directory of a training or a scoring; names its files."""
