"""A model card says what was measured, marks what was trained on, and nothing can break it."""

import dataclasses
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pandas as pd
import pytest
import yaml
from huggingface_hub import ModelCard as HubCard
from markdown_it import MarkdownIt

from wsdm_arena.cards.licences import ANSWERS, Source, source_of_backbone, sources_of_answers, sources_of_table
from wsdm_arena.cards.model_card import Calibration, ModelCard, write_model_card
from wsdm_arena.cards.scores import Score, ScoreSummary
from wsdm_arena.cards.summaries import TrainingPart, describe_training
from wsdm_arena.config import (
    AnswerModelConfig,
    BackboneConfig,
    PackagedModelConfig,
    ProjectConfig,
    ResolvedJudge,
    TemplateConfig,
    TruncationConfig,
    deep_merge,
)
from wsdm_arena.config.fetching import SourcesConfig

EVIL = '"]}>\n---\n# owned\n| x | `y` [z](javascript:1) <img src=x onerror=1> {{ 7*7 }} : - \u202e \ud83d'
LICENCE = {"name": "Apache 2.0", "url": "https://example.org/licence"}
SOURCES = SourcesConfig.model_validate(
    {
        "inputs": {
            "train": {
                "what": "battles",
                "hub": "kaggle_competition",
                "handle": "contest",
                "files": {"train.parquet": {}},
                "licence": {"name": "rules", "url": "https://example.org/rules"},
            },
            "conversations": {"what": "chats", "hub": "huggingface_dataset", "handle": "a/b", "licence": LICENCE},
            "gemma": {
                "what": "a judge",
                "hub": "kaggle_dataset",
                "handle": "c/d",
                "judge": "gemma",
                "licence": LICENCE,
            },
        },
        "models": {"google/gemma": {"licence": {"name": "Gemma", "url": "https://example.org/gemma"}}},
    }
)


def row(stage: str, dataset: str, accuracy: float, **changes) -> dict:
    return {
        "stage": stage,
        "judge": "gemma",
        "dataset": dataset,
        "num_pairs": 200,
        "accuracy": accuracy,
        "accuracy_low": accuracy - 0.1,
        "accuracy_high": accuracy + 0.1,
        "log_loss": 0.5,
        "ece": 0.02,
        "brier": 0.3,
        "flip_rate": 0.17,
        "swap_gap": 0.125,
        "seen_in_training": False,
    } | changes


ROWS = [
    row("final", "battles[fold 0]", 0.9, seen_in_training=True),
    row("final", "battles[fold 0] language=en", 0.95, seen_in_training=True),
    row("final.start", "sample[fold 0]", 0.6),
    row("final_held_out", "battles[fold 0]", 0.8),
    row("final_held_out", "battles[fold 0] language=en", 0.85),
    row("final_held_out", "battles[fold 0] language=hi", 0.55, num_pairs=40),
    row("final_held_out", "battles[fold 0] length=B twice as long or more", 0.75),
    row("final_held_out", "battles[fold 0] source=train", 0.65),
    row("final_held_out", "battles[fold 0] length=alike", 0.55),
    row("final_held_out", "battles[fold 0] flaw=refusal vs none", 0.3),
    row("final_held_out.start", "sample[fold 0]", 0.6),
    row("baseline", "battles[fold 0]", 0.51, judge="longer_wins"),
    row("baseline", "test_pairs[new prompts]", 0.52, judge="longer_wins"),
]


def judge(**changes) -> ResolvedJudge:
    values = {"stage": "final", "judge": "gemma", "system_role": False, "attention": "auto", "training": {}}
    values |= {"sliding_window": False, "truncation": "shared_budget", "head": {}}
    return ResolvedJudge.model_validate(values | changes)


def card(**changes) -> ModelCard:
    template = dict.fromkeys(
        ("battle_start", "prompt_heading", "response_a_heading", "response_b_heading", "battle_end"), "#"
    )
    values = {
        "judge": judge(),
        "num_classes": 2,
        "num_parameters": 1_234_567,
        "model_type": "gemma2",
        "architecture": None,
        "has_softcap": True,
        "dtype": "bfloat16",
        "layouts": ["plain", "fused"],
        "template": TemplateConfig(instruction="Which?", verdict_prefix="[[", **template),
        "truncation": TruncationConfig(
            max_battle_tokens=4096,
            marker="\n...\n",
            per_field={"max_prompt_tokens": 1362, "max_response_tokens": 1342},
            shared_budget={"reserved_tokens": 13, "max_prompt_tokens": 1365},
        ),
        "calibration": Calibration(temperature=0.875, num_pairs=99, log_loss_before=0.5, log_loss_after=0.25),
        "backbone": Source("google/gemma", "backbone", "Gemma", "https://example.org/gemma", "https://example.org/g"),
        "base_model": "google/gemma",
        "training": [TrainingPart("final", 1, "battles", 1000, 900, {"en": 990, "hi": 10}, {"train": 1000})],
        "scores": ROWS,
        "sources": [Source("contest", "battles", "rules", "https://example.org/rules")],
    }
    return ModelCard(**(values | changes))


def parse(text: str) -> tuple[dict, str]:
    assert text.startswith("---\n")
    head, body = text[4:].split("\n---\n", 1)
    return yaml.safe_load(head), body


def test_the_front_matter_is_what_the_hub_asks_for():
    metadata, _ = parse(write_model_card(card()))
    assert metadata["license"] == "gemma"
    assert metadata["base_model"] == "google/gemma"
    assert metadata["pipeline_tag"] == "text-classification"
    assert metadata["library_name"] == "transformers"
    assert metadata["language"] == ["en", "hi"]
    assert "gemma2" in metadata["tags"]
    assert "model-index" not in metadata  # the judge itself was trained on the battles it was scored on


def test_an_honest_accuracy_is_told_to_the_hub():
    rows = [row("final", "battles[fold 0]", 0.8)]
    metadata, body = parse(write_model_card(card(scores=rows)))
    (entry,) = metadata["model-index"]
    assert entry["results"][0]["metrics"][0] == {"type": "accuracy", "value": 0.8}
    assert "It was not trained on them." in body


def test_an_unknown_licence_is_not_claimed():
    metadata, body = parse(write_model_card(card(backbone=None, base_model=None, sources=[])))
    assert not {"license", "license_name", "base_model"} & set(metadata)
    assert "The backbone's terms are not known" in body
    assert "The data's terms are not known" in body
    other = dataclasses.replace(card().backbone, licence="Odd", licence_url="https://example.org/odd")
    metadata, _ = parse(write_model_card(card(backbone=other)))
    assert (metadata["license"], metadata["license_name"]) == ("other", "Odd")
    assert metadata["license_link"] == "https://example.org/odd"


def test_what_was_trained_on_is_marked_and_never_the_headline():
    _, body = parse(write_model_card(card()))
    opening = body.partition("## How to use it")[0]
    assert "`final_held_out.gemma` agrees with people in\n80.0 % of the cases (95 % interval: 70.0 to 90.0)." in opening
    assert "the judge itself was" in opening
    seen = [line for line in body.splitlines() if line.startswith("| `final.gemma` |")]
    assert len(seen) == 1
    assert seen[0].endswith("| **yes** |")
    only_seen = write_model_card(card(scores=ROWS[:2]))
    assert "It was trained on these very battles" in only_seen
    assert "**which was trained on these battles**" in only_seen


def test_scores_are_sorted_for_the_reader():
    summary = ScoreSummary.of_rows(ROWS, "final.gemma")
    names = [(score.name, score.dataset) for score in summary.overall]
    assert names == [
        ("final_held_out.gemma", "battles[fold 0]"),
        ("final.gemma", "battles[fold 0]"),
        ("final.start.gemma", "sample[fold 0]"),
        ("baseline.longer_wins", "battles[fold 0]"),
    ]
    assert [score.language for score in summary.languages] == ["en", "hi"]
    assert summary.source == "final_held_out.gemma"
    assert not summary.is_seen
    assert [score.part for score in summary.others] == [
        "length=alike",
        "source=train",
        "length=B twice as long or more",
    ]
    assert [score.part for score in summary.flaws] == ["flaw=refusal vs none"]
    old = {name: value for name, value in ROWS[0].items() if name not in ("brier", "swap_gap")}
    assert Score.of_row(old).brier is None
    assert Score.of_row(row("x", "test_pairs[new prompts] language=en", 0.5)).part == "language=en"
    assert Score.of_row(row("x", "test_pairs", 0.5)).dataset == "test_pairs"


def test_the_rest_is_there():
    parts = {"before": {"log_loss": 0.5, "brier": 0.3, "ece": 0.0625}}
    share = {"value": 0.125, "low": 0.1, "high": 0.15, "num_battles": 7}
    swap = {"flip_rate": share, "gap": {"value": 0.1, "low": 0, "high": 1, "num_battles": 7}, "first_shown": share}
    length = dict.fromkeys(("names_longer", "longer_won", "accuracy_longer_won", "accuracy_shorter_won"), share)
    calibration = dataclasses.replace(card().calibration, judged=parts)
    text = write_model_card(card(swap=swap, length=length, calibration=calibration, analysed="final_held_out.gemma"))
    for expected in (
        "1,234,567 parameters",
        "| final | 1 | `battles` | 1,000 | 900 | en 990, hi 10 | train 1,000 |",
        "**0.8750**",
        "from 0.5000 to 0.2500 nats",
        "| before | 0.5000 | 0.3000 | 0.0625 |",
        "in 12.5 % (10.0 to 15.0) of the pairs (flip rate)",
        "| peak learning rate | 2.5e-06 |",
        "Languages with fewer than 100 rows in training: hi.",
        "measured on fewer than 100 battles: hi.",
        "python -m wsdm_arena judge --bundle",
        '`"\\n...\\n"`',
        "user:\n\n```text\nWhich?\n\n##{PROMPT}#{FIRST ANSWER}#{SECOND ANSWER}#\n```",
    ):
        assert expected in text, expected
    assert "\n\n\n" not in text.replace("\n\n\n@torch", "")


def test_a_verbalizer_says_what_it_set_out_from():
    started = "`start` is what the training set out from"
    asked = "`zero_shot` is the language model that the training set out from"
    random = write_model_card(card())
    assert started in random
    assert asked not in random
    rows = [row("student", "battles[fold 0]", 0.8), row("student.zero_shot", "sample[fold 0]", 0.55)]
    verbalizer = judge(stage="student", head={"kind": "verbalizer"})
    text = write_model_card(card(judge=verbalizer, scores=rows))
    assert "| head | verbalizer: linear, without bias. Before training its weights were those with which" in text
    assert 'writes "A" and "B" next' in text.replace("&quot;", '"').replace("\\", "")
    assert "| `student.zero_shot.gemma` | `sample[fold 0]` | 200 | 55.0 % (45.0 to 65.0) |" in text
    assert asked in text
    assert started not in text
    assert "| head | linear, without bias |" in write_model_card(card(judge=judge(head={"kind": "linear"})))
    summary = ScoreSummary.of_rows(rows, "student.gemma")
    assert summary.headline.name == "student.gemma"
    assert [score.is_zero_shot for score in summary.overall] == [False, True]


def section(text: str, heading: str) -> str:
    """What stands under a heading."""
    _, found, rest = text.partition(f"# {heading}\n")
    assert found, heading
    return rest.partition("\n#")[0].strip()


def test_a_judge_that_is_not_calibrated_is_said_to_be_that_and_no_more():
    note = "not calibrated: llama is not in roster.final_held_out, so all battles were trained on"
    text = write_model_card(card(calibration=Calibration(temperature=1.0, note=note)))
    assert section(text, "Calibration") == (
        "It is not calibrated: llama is not in roster.final_held_out, so all battles were trained on."
    )
    assert "divides logits" not in text
    assert "temperature = 1.0  # not calibrated\n" in text
    assert section(write_model_card(card(calibration=Calibration(temperature=1.0))), "Calibration") == (
        "It is not calibrated."
    )


def test_a_temperature_comes_with_what_it_was_fitted_on_and_with_doubts_of_it():
    assert section(write_model_card(card()), "Calibration") == (
        "Divide logits by **0.8750** for honest probabilities.\n"
        "Fitted on 99 held-out pairs: their log loss goes from 0.5000 to 0.2500 nats."
    )
    doubtful = dataclasses.replace(card().calibration, note="it lies at an end of what was tried")
    assert section(write_model_card(card(calibration=doubtful)), "Calibration") == (
        "Divide logits by **0.8750**.\n"
        "Fitted on 99 held-out pairs: their log loss goes from 0.5000 to 0.2500 nats.\n"
        "**Note:** it lies at an end of what was tried."
    )


def test_what_is_judged_on_the_prompts_it_was_fitted_on_is_said_to_be_so():
    judged = {"calibrated": {"log_loss": 0.5, "brier": 0.3, "ece": 0.0625}}
    table = "\n\n| | log loss | Brier | ECE |\n| --- | ---: | ---: | ---: |\n| calibrated | 0.5000 | 0.3000 | 0.0625 |"
    honest = dataclasses.replace(card().calibration, judged=judged)
    assert section(write_model_card(card(calibration=honest)), "Calibration").endswith(
        "\n\nA temperature fitted on one half of the prompts and judged on the other half:" + table
    )
    doubtful = dataclasses.replace(honest, judged_note="3 prompts are too few")
    text = write_model_card(card(calibration=doubtful))
    assert section(text, "Calibration").endswith(
        "\n\nThese scores are not to be relied on: 3 prompts are too few." + table
    )
    assert "the other half" not in text


def test_what_a_tie_counts_depends_on_whether_it_is_a_class():
    two, three = (write_model_card(card(num_classes=number)) for number in (2, 3))
    assert "other prompts of the same kind. Half of a tie counts as right." in two
    assert "Half of a tie" not in three
    assert "other prompts of the same kind. A tie is an outcome of its own, and right is whoever names it." in three


def test_weak_are_the_parts_whose_interval_lies_wholly_below_the_accuracy_of_all():
    assert section(write_model_card(card()), "Where it is weaker than elsewhere") == (
        "Of `final_held_out.gemma`: parts whose 95 % interval lies wholly below the accuracy on all battles, "
        "80.0 %.\n\n"
        "| part | battles | accuracy |\n"
        "| --- | ---: | --- |\n"
        "| length=alike | 200 | 55.0 % (45.0 to 65.0) |\n"
        "| source=train | 200 | 65.0 % (55.0 to 75.0) |"
    )
    touching = row("final_held_out", "battles[fold 0] length=alike", 0.5, accuracy_high=0.8)
    whole = [scored for scored in ROWS if "]" in scored["dataset"][-1]]
    assert section(write_model_card(card(scores=[*whole, touching])), "Where it is weaker than elsewhere") == (
        "Of `final_held_out.gemma`: of the parts by length (1) there is none whose 95 % interval lies wholly below "
        "the accuracy on all battles, 80.0 %."
    )
    assert "Where it is weaker" not in write_model_card(card(scores=whole))
    assert "Where it is weaker" not in write_model_card(card(scores=[touching]))  # than what?
    many = [row("final_held_out", f"battles[fold 0] source=s{number:02}", 0.2) for number in range(11)]
    shown = section(write_model_card(card(scores=[*whole, *many])), "Where it is weaker than elsewhere")
    assert shown.count("| source=") == 8
    assert shown.endswith("\n\n3 more, less weak, are left out.")


def test_flaws_are_told_apart_from_votes():
    assert section(write_model_card(card()), "Against a sound answer") == (
        "Of `final_held_out.gemma`: how often it prefers a sound answer to one with this flaw, whatever people "
        "voted.\n\n"
        "| flaw of the other answer | battles | prefers the sound one |\n"
        "| --- | ---: | --- |\n"
        "| refusal | 200 | 30.0 % (20.0 to 40.0) |"
    )
    assert "Against a sound answer" not in write_model_card(card(scores=ROWS[:6]))


@pytest.mark.parametrize(("confidence", "level"), [(0.95, "95 %"), (0.9, "90 %"), (0.995, "99.5 %")])
def test_intervals_say_their_level(confidence, level):
    text = write_model_card(card(confidence=confidence, swap=dict.fromkeys(SWAP, SHARE), analysed="final.gemma"))
    assert f"80.0 % of the cases ({level} interval: 70.0 to 90.0)." in text
    assert f"In brackets: the {level} interval, which" in text
    assert f"parts whose {level} interval lies" in text
    assert f", with {level} intervals in brackets:" in text


SWAP = ("flip_rate", "gap", "first_shown")
LENGTH = ("names_longer", "longer_won", "accuracy_longer_won", "accuracy_shorter_won")
SHARE = {"value": 0.125, "low": 0.1, "high": 0.15, "num_battles": 7}
NONE = {"value": 0.0, "low": 0.0, "high": 1.0, "num_battles": 0}
SHOWN = "12.5 % (10.0 to 15.0)"
LINES = {
    "flip_rate": f"* The winner depends on which answer is shown first in {SHOWN} of the pairs (flip rate).",
    "gap": "* How far the probability of A moves when the answers change places, on average: 0.125.",
    "first_shown": f"* The answer that is shown first is named in {SHOWN} of the readings; 50 % has no bias.",
    "names_longer": f"* Where it names a winner, that is the longer answer in {SHOWN} of the battles.",
    "longer_won": f"* Where people preferred an answer, that was the longer one in {SHOWN} of the battles.",
    "accuracy_longer_won": f"* Accuracy where the longer answer won: {SHOWN}.",
    "accuracy_shorter_won": f"* Accuracy where the shorter answer won: {SHOWN}.",
}


@pytest.mark.parametrize("without", [None, *LINES])
def test_of_what_no_battle_was_measured_on_there_is_no_line(without):
    parts = dict.fromkeys(LINES, SHARE) | ({without: NONE} if without else {})
    swap, length = ({name: parts[name] for name in names} for names in (SWAP, LENGTH))
    scores = [scored | {"flip_rate": 0.5, "swap_gap": 0.5} for scored in ROWS]
    text = write_model_card(card(swap=swap, length=length, analysed="final_held_out.gemma", scores=scores))
    lines = section(text, "Order and length of the answers").splitlines()
    expected = [line for name, line in LINES.items() if name != without]
    assert [line for line in lines[2:] if "final_held_out" not in line] == expected
    assert lines[0] == (
        "Of `final_held_out.gemma`, both orders averaged unless said otherwise, with 95 % intervals in brackets:"
    )


def test_without_an_analysis_the_scoreboard_is_asked_and_one_order_is_said_to_be_one():
    assert section(write_model_card(card()), "Order and length of the answers").splitlines() == [
        "* The winner that `final_held_out.gemma` names depends on which answer is shown first in 17.0 % of the pairs "
        "(flip rate).",
        "* How far the probability of A moves when the answers change places, on average: 0.125.",
    ]
    one_order = [scored | {"flip_rate": None, "swap_gap": None} for scored in ROWS]
    text = write_model_card(card(scores=one_order, length=dict.fromkeys(LENGTH, NONE), analysed="final.gemma"))
    assert section(text, "Order and length of the answers") == (
        "* What their order does was not measured: pairs were read in one order only."
    )
    assert section(write_model_card(card(scores=[])), "Order and length of the answers") == (
        "* What their order does was not measured."
    )


def test_layouts_and_systems_change_what_is_shown():
    fused = write_model_card(card(layouts=["fused"]))
    assert "which transformers does not read" in fused
    assert "AutoModel" not in fused
    assert "library_name" not in parse(fused)[0]
    system = write_model_card(card(judge=judge(system_role=True), architecture="Gemma2ForSequenceClassification"))
    assert "system:\n\n```text\nWhich?\n```" in system
    assert "reads this directory as `Gemma2ForSequenceClassification`" in system
    assert "and so is its tiny backbone" in write_model_card(card(is_simulated=True))
    pretrained = write_model_card(card(is_simulated=True, is_pretrained=True))
    assert "**Do not use its verdicts.** Its battles are simulated. It shows" in pretrained


def card_about(name: str) -> str:
    """A card in which a name stands wherever one may."""
    source = Source(name, name, name, f"https://example.org/){name}", "javascript:alert(1)", name)
    template = card().template.model_copy(update={"instruction": f"```\n# out\n{name}"})
    return write_model_card(
        card(
            model_type=name,
            backbone=source,
            base_model=name,
            sources=[source],
            training=[TrainingPart(name, 1, name, 1, None, {name: 1, "en": 2}, {name: 1})],
            scores=[*ROWS, row("final_held_out", f"battles[fold 0] language={name}", 0.5)],
            calibration=Calibration(temperature=1.0, note=name),
            template=template,
            versions={name: name},
            fingerprints={name + name: name},
        )
    )


def structure(body: str) -> Counter[str]:
    """What Markdown makes of a text, but for its words and names in the type of code."""
    reader = MarkdownIt("commonmark", {"html": True}).enable(["table", "strikethrough"])
    found: Counter[str] = Counter()
    for block in reader.parse(body):
        found[f"{block.type} {block.tag} {block.info}"] += 1
        for part in block.children or []:
            if part.type not in ("text", "softbreak", "code_inline", "text_special"):
                found[f"{part.type} {part.attrGet('href') or part.content}"] += 1
    return found


def test_names_cannot_break_the_card():
    text = card_about(EVIL)
    text.encode("utf-8")
    metadata, body = parse(text)
    usual, usual_body = parse(card_about("plain"))
    assert structure(body) == structure(usual_body)
    assert structure(body)["table_open table "] == 7
    assert set(metadata) == set(usual)
    assert metadata["base_model"] == EVIL
    assert "\u202e" not in body.partition("### From a battle to text")[2].partition("## What it was")[2]
    assert "{{ 7" in body  # nobody's names are templates


@pytest.mark.parametrize("scores", [ROWS, [row("final", "battles[fold 0]", 0.8)]])
def test_the_hub_s_own_reader_takes_the_card(scores):
    data = HubCard(write_model_card(card(scores=scores))).data
    assert (data.license, data.library_name) == ("gemma", "transformers")
    assert len(data.eval_results or []) == (2 if len(scores) == 1 else 0)


def test_equal_contents_give_equal_text():
    assert write_model_card(card()) == write_model_card(card())


def test_training_is_counted_by_key():
    selection = pd.DataFrame(
        {
            "table": ["battles", "battles", "battles", "collected_pairs", "battles"],
            "pair_id": ["p2", "p1", "p1", "c1", "p3"],
            "split": ["train", "train", "train", "train", "held_out"],
            "phase": [1, 0, 0, 0, 0],
        }
    )
    battles = pd.DataFrame(
        {
            "pair_id": ["p3", "p1", "p1", "p2"],
            "prompt_group": ["g3", "g1", "g1", "g2"],
            "language": ["fr", "en", "en", None],
            "source": "train",
        }
    )
    assert describe_training("final", selection, {"battles": battles}) == [
        TrainingPart("final", 1, "battles", 2, 1, {"en": 2}, {"train": 2}),
        TrainingPart("final", 1, "collected_pairs", 1, None, {}, {}),
        TrainingPart("final", 2, "battles", 1, 1, {}, {"train": 1}),
    ]


ANSWER_MODELS = {
    "gemma_9b": AnswerModelConfig(engine="vllm", model="google/gemma", revision="abc"),
    "other_8b": AnswerModelConfig(engine="transformers", model="someone/else"),
    "tiny": AnswerModelConfig(engine="vllm", model="package:tiny_1b"),
    "own": AnswerModelConfig(engine="vllm", model="/models/of/mine"),
    "served": AnswerModelConfig(engine="openai", model="google/gemma", base_url="http://localhost/v1"),
    "api": AnswerModelConfig(engine="openai", model="big-model", base_url="http://localhost/v1"),
    "concise": AnswerModelConfig(engine="simulator", model="concise"),
}
PACKAGE = PackagedModelConfig.model_validate(
    {
        "distributions": {"llm-tiny": "1.2"},
        "files": ["tiny.gguf"],
        "sha256": "0" * 64,
        "model_type": "llama",
        "title": "Tiny-1B",
        "licence": LICENCE,
    }
)


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("gemma_9b", ("google/gemma", "Gemma", "https://huggingface.co/google/gemma", "abc")),
        ("other_8b", ("someone/else", "", "https://huggingface.co/someone/else", "")),
        ("tiny", ("Tiny-1B", "Apache 2.0", "https://pypi.org/project/llm-tiny", "1.2")),
        ("own", ("own", "", "", "")),
        ("served", ("google/gemma", "Gemma", "https://huggingface.co/google/gemma", "")),
        ("api", ("api", "", "", "")),
        ("not there any more", ("not there any more", "", "", "")),
    ],
)
def test_answer_models_have_terms_of_their_own(name, expected):
    """The table shows the configuration's names, which are no hub names."""
    (source,) = sources_of_answers([name, name, "concise"], ANSWER_MODELS, {"tiny_1b": PACKAGE}, SOURCES)
    assert (source.name, source.licence, source.page, source.revision) == expected
    assert source.what == "answers of this model"


@pytest.mark.parametrize("env", ["base", "small_llm"])
def test_the_terms_of_every_answer_model_that_is_run_here_are_known(env):
    conf = Path(__file__).parents[2] / "conf"
    read = {
        name: yaml.safe_load((conf / env / f"{name}.yml").read_text())
        for name in ("parameters", "parameters_generation")
        if (conf / env / f"{name}.yml").exists()
    }
    base = [
        yaml.safe_load((conf / "base" / f"{name}.yml").read_text()) for name in ("parameters", "parameters_generation")
    ]
    project = ProjectConfig.model_validate(deep_merge(*base, *read.values()))
    sources = SourcesConfig.model_validate(yaml.safe_load((conf / "base" / "sources.yml").read_text()))
    models = project.generation.answer_models
    run_here = [name for name, model in models.items() if model.engine != "openai"]
    found = sources_of_answers(run_here, models, project.packaged_models, sources)
    assert len(found) >= 2
    assert [source.name for source in found if not (source.licence and source.licence_url and source.page)] == []


def test_sources_and_licences_come_from_sources_yml():
    assert [source.name for source in sources_of_table("battles", SOURCES)] == ["contest"]
    generated = sources_of_table("generated_pairs", SOURCES)
    assert [(source.name, source.hub_licence) for source in generated] == [("a/b", "apache-2.0")]
    assert sources_of_table("battles", None) == []
    named = source_of_backbone("llama", BackboneConfig(source="google/gemma", revision="abc"), {}, SOURCES)
    assert named is not None
    assert (named.licence, named.revision, named.page) == ("Gemma", "abc", "https://huggingface.co/google/gemma")
    checkpoint = source_of_backbone("gemma", BackboneConfig(), {}, SOURCES)
    assert checkpoint is not None
    assert (checkpoint.name, checkpoint.page) == ("c/d", "https://www.kaggle.com/datasets/c/d")
    assert source_of_backbone("llama", BackboneConfig(), {}, SOURCES) is None
    assert source_of_backbone("gemma", BackboneConfig(source="/models/mine"), {}, SOURCES) is None
    assert source_of_backbone("gemma", None, {}, SOURCES) is None


@pytest.mark.parametrize(
    ("one", "other", "expected"),
    [
        ("MIT", "MIT", True),
        ("MIT", "MIT; of the code", True),
        ("MIT", "Apache 2.0", False),
        ("Qwen", "Qwen", True),
        ("Qwen", "InternLM", False),
        ("Apache 2.0", "", False),
        ("", "", False),
    ],
)
def test_terms_are_the_same_only_if_they_are_known_to_be(one, other, expected):
    assert Source("a", "b", one).shares_terms_with(Source("c", "d", other)) is expected
    assert Source("c", "d", other).shares_terms_with(Source("a", "b", one)) is expected


def test_answers_under_other_terms_or_unknown_ones_make_the_licence_another():
    qwen = dataclasses.replace(card().backbone, licence="Qwen", licence_url="https://example.org/qwen")
    for answers in ("InternLM", ""):
        sources = [*card().sources, Source("x/y", ANSWERS, answers)]
        metadata, _ = parse(write_model_card(card(backbone=qwen, sources=sources)))
        assert metadata["license"] == "other"
        assert "license_name" not in metadata


@pytest.mark.parametrize(
    ("name", "hub"), [("MIT", "mit"), ("Gemma; see its page", "gemma"), ("x", "other"), ("", None)]
)
def test_the_hub_has_names_for_licences(name, hub):
    assert Source("a", "b", name).hub_licence == hub


def test_cards_need_no_torch():
    code = "import sys, wsdm_arena.cards.model_card, wsdm_arena.cards.data_card; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
