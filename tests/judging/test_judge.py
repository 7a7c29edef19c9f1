"""A judge says what the pipeline says, whatever the batch, and nothing where it should not."""

import dataclasses
import json
import shutil
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

import wsdm_arena
from tests.judging.tiny_bundles import ODD_TEXTS, TEMPERATURE, TEMPLATE, TRUNCATION, odd_pairs
from wsdm_arena import Judge, Verdict
from wsdm_arena.cli.judge import judge as judge_command
from wsdm_arena.distributed import DeviceError
from wsdm_arena.judging import judge as judge_module
from wsdm_arena.judging.bundle import BundleError
from wsdm_arena.judging.cascade import run_cascade
from wsdm_arena.judging.exported import ExportedJudge, JudgeError
from wsdm_arena.judging.reading import Budget, CascadeJudge, read_orders
from wsdm_arena.modeling.checkpoint import load_judge
from wsdm_arena.preferences.raw_tables import RawTableError
from wsdm_arena.preferences.test_pairs import build_test_pairs
from wsdm_arena.prompts.store import TokenStore, build_token_store
from wsdm_arena.runs.files import describe_file
from wsdm_arena.scoring.cascade import CascadeError
from wsdm_arena.scoring.ensemble import average_judges, average_orders, probabilities_by_row, select_order
from wsdm_arena.scoring.predictor import TokenizedPairs, canonical_probabilities, score_pairs

TWO = ["probability_a", "probability_b"]
THREE = [*TWO, "probability_tie"]
WEIGHTS = {"gemma": 2.5, "llama": 1.0}


class Pipeline:
    """What the pipeline makes of the odd pairs, with other batches than a Judge's."""

    def __init__(self, bundles: Path, folder: Path) -> None:
        self.bundles, self.folder = bundles, folder
        self.pairs = build_test_pairs(odd_pairs()).test_pairs
        self.keys = self.pairs["pair_id"].unique().tolist()

    def store(self, name: str) -> TokenStore:
        options = {"template": TEMPLATE, "system_role": False, "truncation": TRUNCATION, "policy": "shared_budget"}
        path = build_token_store(self.pairs, table=name, tokenizer_dir=self.bundles / name, root=self.folder, **options)
        return TokenStore.open(path)

    def predictions(self, name: str) -> pd.DataFrame:
        tokens = TokenizedPairs.look_up(self.keys, [name] * len(self.keys), {name: self.store(name)})
        judge = load_judge(self.bundles / f"{name}.checkpoint").eval()
        table = score_pairs(judge, tokens, max_tokens=700, device="cpu")
        assert table is not None
        return table


@pytest.fixture(scope="module")
def pipeline(bundles, tmp_path_factory) -> Pipeline:
    return Pipeline(bundles, tmp_path_factory.mktemp("tokens"))


@pytest.fixture(scope="module")
def predictions(pipeline) -> dict[str, pd.DataFrame]:
    return {name: pipeline.predictions(name) for name in ("gemma", "llama", "tied")}


@pytest.fixture(scope="module")
def gemma(bundles):
    with Judge.load(bundles / "gemma", calibrated=False) as judge:
        yield judge


def by_row(pipeline: Pipeline, means: pd.DataFrame) -> np.ndarray:
    return means.loc[pipeline.pairs["pair_id"]].to_numpy()


@pytest.mark.parametrize("name", ["gemma", "tied"])
@pytest.mark.parametrize("max_tokens", [1, 600, 100_000])
def test_many_pairs_get_the_pipelines_numbers_whatever_the_batch(name, max_tokens, pipeline, predictions, bundles):
    with Judge.load(bundles / name, calibrated=False, max_tokens_per_batch=max_tokens) as judge:
        table = judge.compare_many(odd_pairs())
    rows = probabilities_by_row(predictions[name])
    columns = THREE if name == "tied" else TWO
    np.testing.assert_allclose(table[columns], by_row(pipeline, average_orders(rows)), rtol=0, atol=1e-6)
    ab, ba = (by_row(pipeline, select_order(rows, order))[:, 0] for order in ("ab", "ba"))
    np.testing.assert_allclose(table["swap_gap"], np.abs(ab - ba), rtol=0, atol=1e-6)
    truncated = predictions[name].groupby("pair_id")["truncated"].first().loc[pipeline.pairs["pair_id"]]
    assert table["truncated"].tolist() == truncated.tolist()
    assert 0 < truncated.sum() < len(truncated)
    assert table["probability_a"].std() > 0.01


def test_one_pair_at_a_time_gets_the_same_numbers(gemma, pipeline, predictions):
    expected = by_row(pipeline, average_orders(probabilities_by_row(predictions["gemma"])))
    for (_, *texts), (a, b) in zip(odd_pairs().itertuples(index=False), expected.tolist(), strict=True):
        verdict = gemma.compare(*texts)
        assert verdict.probability_a == pytest.approx(a, abs=1e-6)
        assert verdict.probability_b == pytest.approx(b, abs=1e-6)
        assert verdict.probability_tie is None
        assert verdict.winner == ("model_a" if verdict.probability_a >= verdict.probability_b else "model_b")
        assert verdict.judges == {}


@pytest.mark.parametrize("order", ["ab", "ba"])
def test_one_order_is_read_alone(order, pipeline, predictions, bundles):
    with Judge.load(bundles / "gemma", calibrated=False, orders=(order,)) as judge:
        table = judge.compare_many(odd_pairs())
        assert judge.compare("p", "a", "b").swap_gap is None
    rows = select_order(probabilities_by_row(predictions["gemma"]), order)
    np.testing.assert_allclose(table[TWO], by_row(pipeline, rows), rtol=0, atol=1e-6)
    assert table["swap_gap"].isna().all()


def calibrated(predictions: pd.DataFrame) -> pd.DataFrame:
    logits = np.stack(predictions["logits"]).astype(np.float64) / TEMPERATURE
    cooled = canonical_probabilities(logits, (predictions["order"] == "ba").to_numpy())
    return average_orders(probabilities_by_row(predictions.assign(probabilities=list(cooled))))


def test_probabilities_are_at_the_bundles_temperature_by_default(pipeline, predictions, bundles, gemma):
    with Judge.load(bundles / "gemma") as judge:
        table = judge.compare_many(odd_pairs())
    expected = by_row(pipeline, calibrated(predictions["gemma"]))
    np.testing.assert_allclose(table[TWO], expected, rtol=0, atol=1e-6)
    raw = gemma.compare_many(odd_pairs())
    assert table["winner"].tolist() == raw["winner"].tolist()
    assert (table["probability_a"] - raw["probability_a"]).abs().max() > 0.01


@pytest.mark.parametrize("weights", [WEIGHTS, [2.5, 1], {"gemma": 2.5}])
def test_several_judges_are_averaged_by_weight(weights, pipeline, predictions, bundles):
    with Judge.load(bundles / "gemma", bundles / "llama", weights=weights) as judge:
        table = judge.compare_many(odd_pairs())
        verdict = judge.compare(*odd_pairs().iloc[3][1:])
    means = {name: calibrated(predictions[name]) for name in WEIGHTS}
    np.testing.assert_allclose(table[TWO], by_row(pipeline, average_judges(means, WEIGHTS)), rtol=0, atol=1e-6)
    for name, mean in means.items():
        own = table[[f"{column}.{name}" for column in TWO]]
        np.testing.assert_allclose(own, by_row(pipeline, mean), rtol=0, atol=1e-6)
        assert verdict.judges[name] == pytest.approx(tuple(own.iloc[3]), abs=1e-6)
    assert set(table["decided_by"]) == {"gemma+llama"}


@pytest.mark.parametrize("threshold", [None, 0.05, 1.0])
def test_a_cascade_is_that_of_the_pipeline(threshold, pipeline, bundles):
    judges = [
        CascadeJudge.from_store(
            name, lambda name=name: load_judge(bundles / f"{name}.checkpoint"), pipeline.store(name), devices=("cpu",)
        )
        for name in WEIGHTS
    ]
    expected = run_cascade(judges, pipeline.pairs, weights=WEIGHTS, threshold=threshold, max_tokens_per_batch=700)
    with Judge.load(bundles / "gemma", bundles / "llama", weights=WEIGHTS, cascade=True, threshold=threshold) as judge:
        assert not judge.is_calibrated
        table = judge.compare_many(odd_pairs())
    for column in ("winner", "decided_by"):
        assert table[column].tolist() == expected.verdicts[column].tolist()
    np.testing.assert_allclose(table[TWO], expected.verdicts[TWO], rtol=0, atol=1e-6)
    lead = table["probability_a.llama"] - table["probability_b.llama"]
    np.testing.assert_allclose(lead, expected.verdicts["difference_second"], rtol=0, atol=1e-6)
    counts = table["decided_by"].value_counts()
    assert counts.get("both", 0) == expected.report.summary.num_read_twice
    assert counts.get("both", 0) > 0


def test_ties_have_a_probability_of_their_own_also_in_cascades(bundles):
    with Judge.load(bundles / "tied") as judge:
        verdict = judge.compare("p", "a", "b")
    assert verdict.probability_a + verdict.probability_b + verdict.probability_tie == pytest.approx(1)
    probabilities = dict(zip(("model_a", "model_b", "tie"), dataclasses.astuple(verdict)[1:4], strict=True))
    assert verdict.winner == max(probabilities, key=probabilities.get)
    with Judge.load(bundles / "tied", bundles / "tied", cascade=True) as judge:
        assert judge.names == ("final.tied.1", "final.tied.2")
        row = judge.compare_many([("p", "a", "b")]).iloc[0]
    assert row[THREE].sum() == pytest.approx(1)
    assert row[["probability_a.final.tied.1", "probability_b.final.tied.1", "probability_tie.final.tied.1"]].sum() == (
        pytest.approx(1)
    )


def test_a_cascade_decides_between_the_answers_however_likely_a_tie_and_says_so(bundles):
    with Judge.load(bundles / "tied", bundles / "tied", cascade=True) as judge:
        for reader in judge._readers.values():
            reader.judge.head.output.bias.data[2] = 50.0
        verdict = judge.compare("p", "a", "b")
    assert verdict.probability_tie > 0.99
    assert verdict.winner in ("model_a", "model_b")
    assert "never says ``tie``" in Verdict.__doc__
    assert "never ``tie``" in Judge.load.__doc__
    assert "never a tie" in next(option.help for option in judge_command.params if option.name == "cascade")


@pytest.mark.parametrize("text", ODD_TEXTS, ids=[repr(text)[:20] for text in ODD_TEXTS])
def test_exchanged_answers_get_the_mirrored_verdict(text, gemma):
    verdict, mirrored = gemma.compare(text, text, "other"), gemma.compare(text, "other", text)
    assert verdict.probability_a == pytest.approx(mirrored.probability_b, abs=1e-6)
    assert verdict.swap_gap == pytest.approx(mirrored.swap_gap, abs=1e-6)
    assert verdict.winner != mirrored.winner or verdict.probability_a == pytest.approx(0.5, abs=1e-6)


def nested(depth: int) -> list:
    value: list = []
    for _ in range(depth):
        value = [value]
    return value


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (10**5_000, f"1{'0' * 5_000}"),
        (nested(5_000), "\ufffd"),
        ({(1, 2): 3}, '{"(1, 2)": 3}'),
        ([{1: -(10**5_000), "b": True}], f'[{{"1": "-1{"0" * 5_000}", "b": true}}]'),
        ({"a": {3}}, '{"a": "{3}"}'),
        (b"\xff", "\ufffd"),
        (float("nan"), None),
    ],
    ids=["digits", "deep", "pair as a key", "digits within", "set", "bytes", "nan"],
)
def test_whatever_is_no_text_is_made_one(value, text, gemma):
    assert gemma.compare(value, "a", "b") == gemma.compare(text, "a", "b")
    assert gemma.compare("p", value, value) == gemma.compare("p", text, text)


def test_other_columns_of_a_table_may_be_called_as_they_like(gemma):
    texts = odd_pairs()[["prompt", "response_a", "response_b"]].iloc[5:9]
    table = gemma.compare_many(texts)
    odd = texts.assign(_row=["x", None, 1.5, []], _file=None, _fault="f", id=[10**5_000] * 4)
    odd = pd.concat([odd, odd[["id"]]], axis=1)
    pd.testing.assert_frame_equal(gemma.compare_many(odd), table)
    with pytest.raises(RawTableError, match="2 columns are called 'prompt'; rename all but one"):
        gemma.compare_many(pd.concat([texts, texts[["prompt"]]], axis=1))


def test_asking_again_gives_the_very_same(gemma):
    pd.testing.assert_frame_equal(gemma.compare_many(odd_pairs()), gemma.compare_many(odd_pairs()))
    assert gemma.compare("p", "a", "b") == gemma.compare("p", "a", "b")


def test_pairs_come_as_a_table_as_mappings_or_as_triples(gemma):
    texts = odd_pairs()[["prompt", "response_a", "response_b"]].iloc[5:12]
    table = gemma.compare_many(texts)
    assert table.index.tolist() == list(range(5, 12))
    for other in (
        texts.to_dict("records"),
        list(texts.itertuples(index=False, name=None)),
        iter(texts.to_numpy().tolist()),
    ):
        pd.testing.assert_frame_equal(gemma.compare_many(other), table.reset_index(drop=True))
    assert list(table) == ["winner", *TWO, "swap_gap", "truncated"]


def test_no_pairs_give_no_verdicts(gemma, bundles):
    for pairs in ([], odd_pairs().iloc[:0]):
        table = gemma.compare_many(pairs)
        assert len(table) == 0
        assert list(table) == ["winner", *TWO, "swap_gap", "truncated"]
    with Judge.load(bundles / "gemma", bundles / "llama", cascade=True) as judge:
        assert len(judge.compare_many([])) == 0


def test_a_pair_that_stands_there_again_is_read_once(gemma):
    seen = []
    gemma.compare_many(odd_pairs(), progress=lambda done, total: seen.append((done, total)))
    assert seen[-1] == (70, 70)  # 36 rows, one of them a repetition, in two orders


def test_what_the_clock_leaves_unread_has_no_verdict(gemma):
    table = gemma.compare_many(odd_pairs(), time_budget_s=1e-9)
    assert table["winner"].isna().all()
    assert table[TWO].isna().to_numpy().all()
    assert not table["truncated"].any()


@pytest.mark.parametrize(
    ("pairs", "error", "message"),
    [
        (pd.DataFrame({"prompt": ["p"], "respons_a": ["a"], "response_b": ["b"]}), RawTableError, "'respons_a' meant"),
        ([{"prompt": "p", "response_a": "a"}], TypeError, r"lacks \['response_b'\]"),
        ([("p", "a")], TypeError, r"a pair is \(prompt"),
        (["abc"], TypeError, r"a pair is \(prompt"),
    ],
)
def test_what_is_no_pair_is_refused(pairs, error, message, gemma):
    with pytest.raises(error, match=message):
        gemma.compare_many(pairs)


@pytest.mark.parametrize(
    ("names", "options", "error", "message"),
    [
        ([], {}, JudgeError, "name a bundle"),
        (["gemma", "tied"], {}, JudgeError, r"gemma tells 2 classes apart, .*tied tells 3 classes apart"),
        (["gemma"], {"orders": ("ab", "ab")}, JudgeError, "orders="),
        (["gemma"], {"orders": "ab"}, JudgeError, "orders='ab'"),
        (["gemma"], {"threshold": 0.5}, JudgeError, "only a cascade has a threshold"),
        (["gemma"], {"cascade": True}, JudgeError, "a cascade needs two bundles"),
        (["gemma", "llama"], {"cascade": True, "orders": ("ab",)}, JudgeError, "first judge reads 'ab'"),
        (["gemma"], {"cascade": True, "orders": ("ab",)}, JudgeError, "needs two bundles.*first judge reads 'ab'"),
        (["gemma"], {"devices": ("gpu",)}, DeviceError, "device 'gpu': there is no such kind; name it cpu, cuda or"),
        (["gemma", "llama"], {"cascade": True, "threshold": -1}, CascadeError, "threshold=-1"),
        (["gemma", "llama"], {"weights": {"lama": 2}}, JudgeError, r"name \['lama'\], but the judges are"),
        (["gemma", "llama"], {"weights": [1]}, JudgeError, "1 weight for 2 judges"),
        (["gemma", "llama"], {"weights": [1, 0]}, JudgeError, "the weight of llama is 0"),
        (["nowhere"], {}, BundleError, "no complete bundle"),
    ],
)
def test_what_does_not_go_together_is_refused_before_weights_are_read(
    names, options, error, message, bundles, monkeypatch
):
    monkeypatch.setattr("wsdm_arena.judging.bundle.Bundle.load_judge", None)
    with pytest.raises(error, match=message):
        Judge.load(*(bundles / name for name in names), **options)


def test_weights_may_be_given_by_path(bundles):
    with Judge.load(bundles / "gemma", bundles / "llama", weights={str(bundles / "llama"): 3}) as judge:
        assert judge.weights == {"gemma": 1.0, "llama": 3.0}


def test_weights_may_be_given_by_any_path_to_the_bundle(bundles, tmp_path, monkeypatch):
    entry = tmp_path / "llama"
    shutil.copytree(bundles / "llama", entry / "2026-01-01" / "llama")
    (tmp_path / "link").symlink_to(bundles / "gemma")
    monkeypatch.chdir(tmp_path)
    for path in ("llama", "./llama/", entry, "llama/2026-01-01/llama"):
        with Judge.load("link", "llama", weights={path: 3, f"{bundles}/gemma/": 2}, keep_loaded=False) as judge:
            assert judge.weights == {"gemma": 2.0, "llama": 3.0}


def damaged(bundles: Path, target: Path, name: str) -> Path:
    """A copy of a bundle in which one byte of a file is another."""
    shutil.copytree(bundles / "llama", target)
    content = bytearray((target / name).read_bytes())
    content[len(content) // 2] ^= 1
    (target / name).write_bytes(content)
    return target


@pytest.mark.parametrize("name", ["model.safetensors", "head.safetensors", "tokenizer.json", "prompt.json"])
def test_a_bundle_with_one_changed_byte_is_refused_by_name(name, bundles, tmp_path):
    with pytest.raises(BundleError, match=f"{name} is damaged: its SHA-256"):
        Judge.load(damaged(bundles, tmp_path / "copy", name))


def test_a_bundle_of_another_format_is_refused(bundles, tmp_path):
    shutil.copytree(bundles / "llama", tmp_path / "copy")
    manifest = json.loads((tmp_path / "copy" / "manifest.json").read_text())
    (tmp_path / "copy" / "manifest.json").write_text(json.dumps(manifest | {"format": 99}))
    with pytest.raises(BundleError, match="has format 99, this version reads"):
        Judge.load(tmp_path / "copy")


@pytest.mark.parametrize(("field", "message"), [("prompt", "make another prompt"), ("template_hash", "does not say")])
def test_a_prompt_that_the_judge_was_not_trained_with_is_refused(field, message, bundles, tmp_path):
    copy = tmp_path / "copy"
    shutil.copytree(bundles / "llama", copy)
    manifest = json.loads((copy / "manifest.json").read_text())
    if field == "prompt":
        prompt = json.loads((copy / "prompt.json").read_text())
        prompt["template"]["instruction"] = "Which answer is worse?"
        (copy / "prompt.json").write_text(json.dumps(prompt))
        manifest["files"]["prompt.json"] = describe_file(copy / "prompt.json")
    else:
        del manifest["template_hash"]
    (copy / "manifest.json").write_text(json.dumps(manifest))
    with pytest.raises(BundleError, match=message):
        Judge.load(copy)


def test_a_judge_without_finite_logits_says_so(bundles, tmp_path):
    with Judge.load(bundles / "llama") as judge:
        judge._readers["llama"].judge.head.output.bias.data.fill_(float("nan"))
        with pytest.raises(JudgeError, match="llama: no finite logits for 1 of the 1 pairs"):
            judge.compare("p", "a", "b")


@pytest.mark.parametrize("cascade", [False, True])
def test_one_judge_of_two_without_finite_logits_says_so(cascade, bundles):
    with Judge.load(bundles / "gemma", bundles / "llama", cascade=cascade, threshold=1.0 if cascade else None) as judge:
        judge._readers["llama"].judge.head.output.bias.data.fill_(float("inf"))
        with pytest.raises(JudgeError, match="llama: no finite logits"):
            judge.compare("p", "a", "b")
        with pytest.raises(JudgeError, match="llama: no finite logits"):
            judge.compare_many(odd_pairs())


def overflow_for(monkeypatch, num_overflows: int) -> None:
    """The first rows that are read get no finite logits."""
    left = num_overflows

    def read(*args, **options):
        nonlocal left
        logits = read_orders(*args, **options)
        logits[: min(left, len(logits))] = np.inf
        left -= min(left, len(logits))
        return logits

    monkeypatch.setattr(judge_module, "read_orders", read)


@pytest.mark.parametrize(("num_overflows", "is_refused"), [(2, False), (3, True)])
def test_a_hundredth_of_all_pairs_may_overflow_also_where_they_stand_together(
    num_overflows, is_refused, gemma, monkeypatch
):
    overflow_for(monkeypatch, num_overflows)
    monkeypatch.setattr(judge_module, "PAIRS_AT_A_TIME", 50)
    pairs = [("p", f"a {number}", "b") for number in range(200)]
    if is_refused:
        with pytest.raises(JudgeError, match="gemma: no finite logits for 3 of the 50 pairs"):
            gemma.compare_many(pairs)
    else:
        assert gemma.compare_many(pairs)["winner"].isna().sum() == 2


def test_what_is_not_read_in_time_is_not_tokenised_either(bundles, monkeypatch):
    tokenised = []
    tokenize = ExportedJudge.tokenize

    def count(judge, pair_ids, texts):
        tokenised.extend(pair_ids)
        return tokenize(judge, pair_ids, texts)

    monkeypatch.setattr(ExportedJudge, "tokenize", count)
    monkeypatch.setattr(judge_module, "PAIRS_AT_A_TIME", 5)
    monkeypatch.setattr(Budget, "remaining", lambda _: 0.0 if len(tokenised) >= 10 else 1.0)
    with Judge.load(bundles / "gemma", bundles / "llama", keep_loaded=False) as judge:
        table = judge.compare_many(odd_pairs())
    assert len(tokenised) == 10
    assert table["winner"].notna().sum() <= 10
    assert len(table) == 36


@pytest.mark.parametrize("cascade", [False, True])
def test_judges_loaded_in_turn_say_the_same_and_are_never_in_memory_together(bundles, monkeypatch, cascade):
    pairs = [("p", "a", "b"), ("p", "long " * 40, ""), (None, "x", "y")]
    with Judge.load(bundles / "gemma", bundles / "llama", cascade=cascade) as both:
        expected = both.compare_many(pairs)
    loaded, most = [], []
    whole = ExportedJudge.open

    @contextmanager
    def count(judge, placement):
        with whole(judge, placement) as reader:
            loaded.append(judge.name)
            most.append(len(loaded))
            yield reader
            loaded.remove(judge.name)

    monkeypatch.setattr(ExportedJudge, "open", count)
    with Judge.load(bundles / "gemma", bundles / "llama", cascade=cascade, keep_loaded=False) as in_turn:
        assert most == []
        pd.testing.assert_frame_equal(in_turn.compare_many(pairs), expected)
    assert set(most) == {1}


def test_a_closed_judge_answers_no_more(bundles):
    judge = Judge.load(bundles / "llama")
    assert repr(judge) == "Judge(llama; open)"
    judge.close()
    judge.close()
    with pytest.raises(JudgeError, match="closed"):
        judge.compare("p", "a", "b")
    assert repr(judge) == "Judge(llama; closed)"


def test_the_package_offers_judge_and_verdict():
    assert {"BundleError", "Judge", "JudgeError", "Verdict", "__version__"} <= set(dir(wsdm_arena))
    assert wsdm_arena.BundleError is BundleError
    assert wsdm_arena.JudgeError is JudgeError
    assert wsdm_arena.Verdict is Verdict
    assert [field.name for field in dataclasses.fields(Verdict)][:4] == ["winner", *THREE]
    with pytest.raises(AttributeError, match="no attribute 'Jugde'"):
        wsdm_arena.Jugde  # noqa: B018
