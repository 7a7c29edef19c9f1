import pandas as pd

from wsdm_arena.preflight.inputs import check_inputs, warn_of_absent_conversations

PAIRS = pd.DataFrame({"prompt": ["p"], "response_a": ["a"], "response_b": ["b"]})


def test_every_missing_input_is_named_with_the_command_that_makes_it(plan, tmp_path):
    nodes = ["teacher.gemma.train", "build_battles", "backbone.gemma", "collected_labels.combine"]
    *each, together = check_inputs(plan(nodes))
    assert together == "or all of it, in the right order: kedro run"
    lines = dict(line.split(":", 1) for line in each)
    paths = {name.split(" ")[0]: rest for name, rest in lines.items()}
    assert paths["test_pairs"] == " kedro run --pipelines data_processing"
    assert paths["teacher.gemma.tokens"] == " kedro run --pipelines teacher"
    assert paths["collected_labels.gemma.predictions"] == " kedro run --pipelines pseudo_labeling"
    assert "kedro run --pipelines simulated_arena" in paths["train_table"]
    assert "judges.gemma.backbone.source" in paths["raw_checkpoint.gemma"]
    assert f"test_pairs ({tmp_path}/03_primary/test_pairs.parquet)" in lines
    assert set(paths) == {
        "collected_labels.gemma.predictions",
        "collected_labels.gemma_large.predictions",
        "collected_labels.llama.predictions",
        "collected_pairs",
        "raw_checkpoint.gemma",
        "teacher.gemma.selection@path",
        "teacher.gemma.tokens",
        "test_pairs",
        "train_table",
    }


def test_what_is_there_and_what_nobody_insists_on_is_not_missing(plan, tmp_path):
    (tmp_path / "01_raw").mkdir()
    PAIRS.to_parquet(tmp_path / "01_raw" / "train.parquet")
    assert check_inputs(plan(["build_battles", "build_test_pairs"])) == []


def test_conversations_that_are_not_there_are_said_at_once(plan, tmp_path, caplog):
    assert warn_of_absent_conversations(plan(["generate_answers"], env="a100")) == []
    assert caplog.text == ""
    assert warn_of_absent_conversations(plan(["mine_prompts"], env="a100")) == []
    assert "no pairs will be generated: conversations:" in caplog.text
    assert "lmsys-chat-1m is on" in caplog.text
    caplog.clear()
    folder = tmp_path / "01_raw" / "conversations"
    folder.mkdir(parents=True)
    PAIRS.to_parquet(folder / "train-00000-of-00001.parquet")
    assert warn_of_absent_conversations(plan(["mine_prompts"], env="a100")) == []
    assert caplog.text == ""
