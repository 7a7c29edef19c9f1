"""The card of a judge that was trained on one's own battles."""

import numpy as np
import pandas as pd
import pytest

from wsdm_arena.cli.train_card import write_own_card
from wsdm_arena.config import HeadConfig
from wsdm_arena.config.own_training import resolve_own_training
from wsdm_arena.modeling.checkpoint import save_judge
from wsdm_arena.modeling.judge import build_judge
from wsdm_arena.own_training.results import CardContents
from wsdm_arena.scoring.predictor import canonical_probabilities
from wsdm_arena.simulation.backbones import BACKBONES

NUM_BATTLES = 80
ROW = {"stage": "own", "judge": "mine", "dataset": "battles[fold 0]", "num_pairs": NUM_BATTLES, "accuracy": 0.75}
ROW |= {"accuracy_low": 0.5, "accuracy_high": 0.875, "flip_rate": 0.0, "seen_in_training": False}


def make_battles(num: int, *, longer: str) -> pd.DataFrame:
    """Held-out battles, alternately won by A and B; one side's answers are longer."""
    wins = np.arange(num) % 2.0
    return pd.DataFrame(
        {
            "pair_id": [f"{number:032x}" for number in range(num)],
            "battle_id": [f"{number:032x}" for number in range(num)],
            "fold": 0,
            "prompt_group": [f"p{number}" for number in range(num)],
            "language": "en",
            "source": "mine",
            "response_a": ["long" if (longer == "winner") == bool(win) else "x" for win in wins],
            "response_b": ["x" if (longer == "winner") == bool(win) else "long" for win in wins],
            "probability_a": wins,
            "probability_b": 1 - wins,
        }
    )


def predict(battles: pd.DataFrame) -> pd.DataFrame:
    """Predictions of a judge that is right in three of four battles, and always as sure."""
    right = np.where(np.arange(len(battles)) % 4 == 3, -1, 1)
    tables = []
    for order, sign in (("ab", 1), ("ba", -1)):
        margin = sign * right * (battles["probability_a"].to_numpy() * 2 - 1)
        logits = np.stack([margin, -margin], axis=1)
        probabilities = canonical_probabilities(logits, np.full(len(logits), order == "ba"))
        values = {"pair_id": battles["pair_id"], "order": order}
        tables.append(pd.DataFrame(values | {"logits": list(logits), "probabilities": list(probabilities)}))
    return pd.concat(tables, ignore_index=True)


@pytest.fixture(scope="module")
def write(tmp_path_factory):
    source = BACKBONES / "gemma"
    model = build_judge(source, head=HeadConfig(kind="linear"), num_classes=2)
    manifest = {"fingerprint": "f00d", "template_hash": "beef", "trained": {"seed": 3}}
    place = tmp_path_factory.mktemp("own") / "checkpoint"
    checkpoint = save_judge(model, place, tokenizer_dir=source, manifest=manifest)

    def call(battles: pd.DataFrame, *, confidence: float = 0.95, backbone: str = "owner/model") -> str:
        small = {"bootstrap_samples": 100, "confidence": confidence}
        options = {"name": "mine", "judge": {"backbone": {"source": backbone}}, "reporting": small}
        config = resolve_own_training({"test": options})
        selection = battles[["pair_id"]].assign(table="battles", split="train", phase=0)
        fit = {"temperature": 0.5, "num_pairs": 7, "log_loss_before": 0.5, "log_loss_after": 0.25, "note": ""}
        judge, predictions = config.resolve(system_role=False), predict(battles)
        return write_own_card(
            CardContents(checkpoint, judge, config, battles, selection, predictions, (ROW,), fit, {"fingerprint": "f"})
        )

    return call


def test_the_card_says_what_is_known(write):
    card = write(make_battles(NUM_BATTLES, longer="winner"), confidence=0.9)
    for line in (
        "base_model: owner/model",
        "`own.mine` agrees with people in\n75.0 % of the cases (90 % interval: 50.0 to 87.5). "
        "It was not trained on them.",
        "| own | 1 | `battles` | 80 | 80 | en 80 | mine 80 |",
        "Divide logits by **0.5000** for honest probabilities.",
        "A temperature fitted on one half of the prompts and judged on the other half:",
        "Of `own.mine`, both orders averaged unless said otherwise, with 90 % intervals in brackets:",
        "* How far the probability of A moves when the answers change places, on average: 0.000.",
        "* Accuracy where the longer answer won: 75.0 % (",
        "| training | `f00d` |",
        "| seed | `3` |",
    ):
        assert line in card, line
    assert "where the shorter answer won" not in card  # it never did
    assert "Its battles are simulated" not in card


def test_with_few_prompts_what_was_judged_is_not_to_be_relied_on(write):
    card = write(make_battles(3, longer="loser"))
    assert "These scores are not to be relied on: 3 prompts are too few to judge it" in card
    assert "judged on the other half" not in card
    assert "* Accuracy where the shorter answer won: 100.0 % (" in card
    assert "where the longer answer won" not in card


def test_a_backbone_from_a_directory_has_no_name_at_the_hub(write):
    card = write(make_battles(4, longer="winner"), backbone=str(BACKBONES / "gemma"))
    assert "base_model" not in card
    assert "The backbone's terms are not known" in card
