"""Labels are what the judges say, joined by key; whatever they should not have read is refused by name."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from wsdm_arena.config import PseudoLabelConfig
from wsdm_arena.preferences.pair_ids import prompt_group
from wsdm_arena.schemas import PseudoLabels
from wsdm_arena.scoring.pseudo_labels import PseudoLabelError, PseudoLabelTables, pseudo_label

FIRST_A = {"ab": [0.9, 0.2, 0.55, 0.5]}
SECOND_A = {"ba": [0.7, 0.4, 0.35, 0.5]}
"""Probability that A wins, by order and pair, canonical."""


def key(number: int) -> str:
    return f"{number:032x}"


def unlabelled(num_pairs: int) -> pd.DataFrame:
    numbers = list(range(num_pairs))
    return pd.DataFrame(
        {
            "pair_id": pd.Series([key(number) for number in numbers], dtype="str"),
            "prompt_group": pd.Series([prompt_group(f"prompt {number}") for number in numbers], dtype="str"),
        }
    )


def predicted(by_order: dict[str, list[Any]], judge: str = "gemma", **columns: Any) -> pd.DataFrame:
    """Predictions of pairs 0, 1, ...: numbers are the probability of A, lists all classes; rows are shuffled."""
    rows = [
        {"pair_id": key(number), "order": order, "probabilities": np.asarray(_classes(value), dtype=np.float32)}
        for order, values in by_order.items()
        for number, value in enumerate(values)
    ]
    table = pd.DataFrame(rows, columns=["pair_id", "order", "probabilities"])
    table = table.assign(judge_fingerprint=f"{judge}-run", template_hash=f"{judge}-template", truncated=False)
    return table.assign(**columns).sample(frac=1, random_state=1)


def _classes(value: Any) -> list[float]:
    return value if isinstance(value, list) else [value, 1 - value]


def config(min_margin: float = 0.0, **judges: dict[str, Any]) -> PseudoLabelConfig:
    return PseudoLabelConfig.model_validate({"truncation": "per_field", "min_margin": min_margin, "judges": judges})


RECIPE = config(0.03, gemma={"weight": 3.2, "orders": ["ab"]}, llama={"orders": ["ba"]})


@pytest.fixture
def both() -> PseudoLabelTables:
    judges = {"gemma": predicted(FIRST_A), "llama": predicted(SECOND_A, "llama")}
    return pseudo_label(unlabelled(4).iloc[::-1], judges, RECIPE)


def test_labels_are_the_weighted_mean_of_canonical_probabilities(both: PseudoLabelTables) -> None:
    """3.2 : 1, the second judge read the pairs exchanged."""
    PseudoLabels.validate(both.labels)
    expected = {0: (3.2 * 0.9 + 0.7) / 4.2, 1: (3.2 * 0.2 + 0.4) / 4.2}  # pair 2: 0.5024, pair 3: 0.5
    assert both.labels["pair_id"].tolist() == [key(number) for number in expected]
    assert both.labels["prompt_group"].tolist() == [prompt_group(f"prompt {number}") for number in expected]
    np.testing.assert_allclose(both.labels["probability_a"], list(expected.values()), atol=1e-7)
    np.testing.assert_allclose(both.labels["probability_a"] + both.labels["probability_b"], 1.0, atol=1e-6)
    assert list(both.labels.columns) == ["pair_id", "prompt_group", "probability_a", "probability_b"]


def test_the_report_says_where_labels_come_from(both: PseudoLabelTables) -> None:
    report = json.loads(json.dumps(both.report, allow_nan=False))
    assert {name: report[name] for name in ("num_pairs", "num_kept", "num_dropped_by_margin", "min_margin")} == {
        "num_pairs": 4, "num_kept": 2, "num_dropped_by_margin": 2, "min_margin": 0.03,
    }  # fmt: skip
    gemma, llama = report["judges"]["gemma"], report["judges"]["llama"]
    assert (gemma["weight"], gemma["share"]) == (3.2, pytest.approx(3.2 / 4.2))
    assert (llama["weight"], llama["share"]) == (1.0, pytest.approx(1 / 4.2))
    assert (gemma["orders"], llama["orders"]) == (["ab"], ["ba"])
    assert (gemma["judge_fingerprint"], llama["template_hash"]) == ("gemma-run", "llama-template")
    assert gemma["mean_margin"] == pytest.approx((0.8 + 0.6 + 0.1 + 0.0) / 4)
    assert llama["mean_margin"] == pytest.approx((0.4 + 0.2 + 0.3 + 0.0) / 4)
    assert report["agreement"] == [{"judges": ["gemma", "llama"], "same_winner": 0.75}]
    assert report["labels"]["means"]["probability_a"] == pytest.approx(both.labels["probability_a"].mean())
    assert (report["labels"]["num_a_wins"], report["labels"]["num_b_wins"]) == (1, 1)
    assert report["labels"]["probability_a_histogram"] == [0, 0, 1, 0, 0, 0, 0, 0, 1, 0]
    assert report["margin_deciles"][0] == pytest.approx(0.0)
    assert report["margin_deciles"][-1] == pytest.approx(2 * (3.2 * 0.9 + 0.7) / 4.2 - 1)


def test_a_judge_that_reads_both_orders_is_averaged_over_them() -> None:
    table = predicted({"ab": [0.9, 0.1], "ba": [0.5, 0.4]}, truncated=[True, False, False, False])
    found = pseudo_label(unlabelled(2), {"gemma": table}, config(gemma={"orders": ["ba", "ab"]}))
    np.testing.assert_allclose(found.labels["probability_a"], [0.7, 0.25], atol=1e-7)
    assert found.report["judges"]["gemma"]["orders"] == ["ab", "ba"]
    assert found.report["judges"]["gemma"]["num_truncated"] == 1
    assert found.report["agreement"] == []


def test_a_judge_that_is_not_named_has_weight_one_and_reads_ab() -> None:
    judges = {name: predicted({"ab": [value]}, name) for name, value in (("a", 0.9), ("b", 0.6), ("c", 0.3))}
    found = pseudo_label(unlabelled(1), judges, config())
    np.testing.assert_allclose(found.labels["probability_a"], [0.6], atol=1e-7)
    assert [entry["judges"] for entry in found.report["agreement"]] == [["a", "b"], ["a", "c"], ["b", "c"]]
    assert [entry["same_winner"] for entry in found.report["agreement"]] == [1.0, 0.0, 0.0]


@pytest.mark.parametrize("margin", [0.0, 0.02, 0.03, 0.2, 0.5])
def test_a_margin_at_the_bound_is_dropped_and_one_above_is_kept(margin: float) -> None:
    """Also where float32 makes it a little more than the bound, as 0.2 with 0.6 and 0.4."""
    at, above = 0.5 + margin / 2, 0.5 + margin / 2 + 1e-5
    found = pseudo_label(unlabelled(4), {"gemma": predicted({"ab": [at, 1 - at, above, 1 - above]})}, config(margin))
    assert found.labels["pair_id"].tolist() == [key(2), key(3)]
    assert found.report["num_dropped_by_margin"] == 2


def test_ties_are_a_class_of_their_own_and_no_margin() -> None:
    judges = {
        "gemma": predicted({"ab": [[0.5, 0.1, 0.4], [0.02, 0.01, 0.97]]}),
        "llama": predicted({"ab": [[0.3, 0.3, 0.4], [0.02, 0.01, 0.97]]}, "llama"),
    }
    found = pseudo_label(unlabelled(2), judges, config(0.02), num_classes=3)
    PseudoLabels.validate(found.labels)
    assert found.labels["pair_id"].tolist() == [key(0)]  # the other is surely a tie: a and b are 0.01 apart
    np.testing.assert_allclose(
        found.labels[["probability_a", "probability_b", "probability_tie"]].to_numpy(), [[0.4, 0.2, 0.4]], atol=1e-7
    )


@pytest.mark.parametrize("num_classes", [2, 3])
def test_no_pairs_give_no_labels(num_classes: int, tmp_path: Path) -> None:
    judges = {"gemma": predicted({}), "llama": predicted({}, "llama")}
    found = pseudo_label(unlabelled(0), judges, RECIPE, num_classes=num_classes, forbidden_groups={"test pairs": {"x"}})
    PseudoLabels.validate(found.labels)
    names = ["probability_a", "probability_b", "probability_tie"][:num_classes]
    assert list(found.labels.columns) == ["pair_id", "prompt_group", *names]
    assert len(found.labels) == found.report["num_kept"] == found.report["num_pairs"] == 0
    json.dumps(found.report, allow_nan=False)
    found.labels.to_parquet(tmp_path / "labels.parquet")
    PseudoLabels.validate(pd.read_parquet(tmp_path / "labels.parquet"))


def test_tables_from_files_and_from_memory_join(tmp_path: Path) -> None:
    """Keys of a file are of another type than those of Python lists."""
    predicted(FIRST_A).to_parquet(tmp_path / "gemma.parquet")
    judges = {
        "gemma": pd.read_parquet(tmp_path / "gemma.parquet"),
        "llama": predicted(SECOND_A, "llama").astype({"pair_id": object, "order": object}),
    }
    for pairs in (unlabelled(4), unlabelled(4).astype(object)):
        assert pseudo_label(pairs, judges, RECIPE).report["num_kept"] == 2


@pytest.mark.parametrize(
    ("groups", "message"),
    [
        ({"held-out battles": ["prompt 1"], "test pairs": []}, "1 with a prompt of the held-out battles"),
        (
            {"held-out battles": ["prompt 0", "prompt 2"], "test pairs": ["prompt 3"]},
            rf"2 with a prompt of the held-out battles \(first pairs \['{key(0)}', '{key(2)}'\]\); "
            "1 with a prompt of the test pairs",
        ),
    ],
)
def test_no_held_out_and_no_test_prompt_is_ever_labelled(groups: dict[str, list[str]], message: str) -> None:
    forbidden = {name: {prompt_group(prompt) for prompt in prompts} for name, prompts in groups.items()}
    judges = {"gemma": predicted(FIRST_A), "llama": predicted(SECOND_A, "llama")}
    with pytest.raises(PseudoLabelError, match=message):
        pseudo_label(unlabelled(4), judges, RECIPE, forbidden_groups=forbidden)
    innocent = {"test pairs": {prompt_group("another prompt")}}
    assert len(pseudo_label(unlabelled(4), judges, RECIPE, forbidden_groups=innocent).labels) == 2


def refused(table: pd.DataFrame, message: str, *, num_pairs: int = 4, num_classes: int = 2, **options: Any) -> None:
    with pytest.raises(PseudoLabelError, match=message):
        pseudo_label(unlabelled(num_pairs), {"gemma": table}, config(**options), num_classes=num_classes)


def test_other_rows_than_the_pairs_are_refused() -> None:
    table = predicted(FIRST_A)
    refused(table[table["pair_id"] != key(1)], rf"1 are missing \[\('{key(1)}', 'ab'\)\], 0 are too many \[\]")
    refused(table, rf"0 are missing \[\], 2 are too many \[\('{key(2)}', 'ab'\), ", num_pairs=2)
    refused(table.iloc[:0], "4 are missing")
    half = table[table["pair_id"] != key(3)]
    both = pd.concat([half, table.assign(order="ba")])
    refused(both, rf"1 are missing \[\('{key(3)}', 'ab'\)\], 0 are", gemma={"orders": ["ab", "ba"]})


@pytest.mark.parametrize(("wanted", "read"), [(["ba"], ["ab"]), (["ab"], ["ab", "ba"]), (["ab", "ba"], ["ab"])])
def test_other_orders_than_configured_are_refused(wanted: list[str], read: list[str]) -> None:
    table = predicted(dict.fromkeys(read, FIRST_A["ab"]))
    refused(
        table,
        rf"gemma has read orders \['{read[0]}.*\], but its labels are made of \['{wanted[0]}'",
        gemma={"orders": wanted},
    )


def test_a_row_read_twice_is_refused() -> None:
    table = predicted(FIRST_A)
    refused(pd.concat([table, table.tail(1)]), "gemma: 1 rows stand there more than once")


@pytest.mark.parametrize("column", ["judge_fingerprint", "template_hash"])
def test_two_judges_in_one_table_are_refused(column: str) -> None:
    table = predicted(FIRST_A, **{column: ["x", "x", "x", "y"]})
    refused(table, rf"gemma: its predictions have 2 values of {column}, \['x', 'y'\]")


def test_different_numbers_of_classes_are_refused() -> None:
    three = predicted({"ab": [[0.5, 0.3, 0.2]] * 4})
    refused(three, "gemma tells 3 classes apart, not 2")
    refused(predicted(FIRST_A), "gemma tells 2 classes apart, not 3", num_classes=3)
    refused(predicted({"ab": [0.5, 0.6, [0.5, 0.3, 0.2], 0.1]}), r"rows have \[2, 3\] probabilities")
    with pytest.raises(PseudoLabelError, match="llama tells 3 classes apart, not 2"):
        pseudo_label(unlabelled(4), {"gemma": predicted(FIRST_A), "llama": three}, config())


@pytest.mark.parametrize("bad", [[float("nan"), 0.5], [0.9, 0.4], [1.5, -0.5]])
def test_what_is_no_probability_is_refused(bad: list[float]) -> None:
    refused(predicted({"ab": [0.5, bad, 0.1, 0.1]}), rf"1 rows have no probabilities.*'{key(1)}'")


def test_what_is_missing_or_repeated_is_named() -> None:
    refused(predicted(FIRST_A).drop(columns="template_hash"), r"columns \['template_hash'\] are missing")
    with pytest.raises(PseudoLabelError, match="at least one judge"):
        pseudo_label(unlabelled(4), {}, RECIPE)
    twice = pd.concat([unlabelled(4), unlabelled(1)])
    with pytest.raises(PseudoLabelError, match=rf"1 pairs stand twice in the table, first \['{key(0)}'\]"):
        pseudo_label(twice, {"gemma": predicted(FIRST_A)}, config())
