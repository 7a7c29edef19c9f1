"""Who is asked what, what is kept, and what happens when a model fails."""

import fcntl
import logging

import pandas as pd
import pytest

from tests.generation.generation_cases import FakeEngine, fake_factory, make_config, make_requests
from wsdm_arena.generation import generate
from wsdm_arena.generation.engine import Answer, EngineConfigError, EngineError, request_seed
from wsdm_arena.generation.generate import GenerationError, generate_answers
from wsdm_arena.processes.lock import DirectoryInUseError

MODELS = {name: {"engine": "vllm", "model": f"org/{name}"} for name in ("zeta", "alpha", "unused")}


class Setup:
    """A folder, a configuration, and fake engines that note what they are asked."""

    def __init__(self, folder, models=None):
        self.folder = folder
        self.config = make_config(models or MODELS)
        self.requests = make_requests(4, ["zeta", "alpha"])
        self.progress = []
        self.restart()

    def restart(self, **engines):
        self.engines = {name: FakeEngine(name) for name in self.config.answer_models} | engines

    def run(self, requests=None):
        factory = fake_factory(self.engines)
        return generate_answers(
            self.requests if requests is None else requests,
            self.config,
            folder=self.folder,
            engines={"vllm": factory, "openai": factory},
            progress=lambda done, of: self.progress.append((done, of)),
        )

    def asked(self, name):
        return [request_id for call in self.engines[name].calls for request_id in call]


@pytest.fixture
def setup(tmp_path):
    return Setup(tmp_path / "answers")


def failing_after(num_answers, error):
    class Failing(FakeEngine):
        def answer(self, requests, on_answer):
            super().answer(requests[:num_answers], on_answer)
            raise error

    return Failing("failing")


def test_each_model_is_asked_once_for_all_rounds_and_rows_keep_their_order(setup):
    table = setup.run()
    assert table["request_id"].tolist() == setup.requests["request_id"].tolist()
    expected = [f"{row.prompt}|{request_seed(0, row.request_id)}" for row in setup.requests.itertuples()]
    assert table["text"].tolist() == expected
    assert table["finish_reason"].tolist() == ["stop"] * 16
    assert table["error"].isna().all()
    for name in ("zeta", "alpha"):
        ids = setup.requests.loc[setup.requests["answer_model"] == name, "request_id"].tolist()
        assert setup.engines[name].calls == [ids]
    assert setup.engines["unused"].calls == []
    assert setup.progress == [*[(0, 16)], *[(n, 16) for n in range(1, 9)], (8, 16), *[(n, 16) for n in range(9, 17)]]


def test_models_answer_in_the_order_of_the_configuration(setup):
    order = []

    class Noting(FakeEngine):
        def answer(self, requests, on_answer):
            order.append(self.name)
            super().answer(requests, on_answer)

    setup.restart(zeta=Noting("zeta"), alpha=Noting("alpha"))
    setup.run()
    assert order == ["zeta", "alpha"]


def test_a_second_run_asks_nobody_and_says_the_same(setup):
    first = setup.run()
    setup.restart()
    pd.testing.assert_frame_equal(setup.run(), first)
    assert setup.asked("zeta") == setup.asked("alpha") == []


def test_answers_depend_on_the_request_alone_and_new_requests_are_added(setup):
    first = setup.run(setup.requests.iloc[:6])
    shuffled = setup.requests.sample(frac=1, random_state=0)
    setup.restart()
    table = setup.run(shuffled).set_index("request_id").loc[setup.requests["request_id"]].reset_index()
    assert len(setup.asked("zeta") + setup.asked("alpha")) == 10
    pd.testing.assert_frame_equal(table.iloc[:6], first)
    fresh = Setup(setup.folder.with_name("fresh"))
    pd.testing.assert_frame_equal(fresh.run(), table)


def test_a_model_that_dies_costs_its_open_requests_only(setup, caplog):
    setup.restart(zeta=failing_after(3, EngineError("CUDA out of memory\nlast log line 17")))
    table = setup.run()
    failed = table[table["finish_reason"] == "error"]
    assert len(failed) == 5
    assert set(failed["error"]) == {"CUDA out of memory"}
    assert failed["text"].isna().all()
    assert "last log line 17" in caplog.text
    assert "5 of 16 answers are missing" in caplog.text
    assert "zeta: 5 (CUDA out of memory)" in caplog.text
    setup.restart()
    assert (setup.run()["finish_reason"] == "stop").all()
    assert sorted(setup.asked("zeta")) == sorted(failed["request_id"])
    assert setup.asked("alpha") == []


def test_failures_of_single_requests_are_tried_again_in_the_next_run(setup):
    def moody(request):
        is_unlucky = request.prompt.startswith("prompt 2")
        return (
            Answer(request.request_id, None, "error", "HTTP 500")
            if is_unlucky
            else Answer(request.request_id, "t", "stop")
        )

    setup.restart(zeta=FakeEngine("zeta", moody))
    table = setup.run()
    unlucky = table.loc[table["finish_reason"] == "error", "request_id"].tolist()
    assert len(unlucky) == 2
    setup.restart()
    assert (setup.run()["finish_reason"] == "stop").all()
    assert setup.asked("zeta") == unlucky


def test_an_engine_that_ends_early_or_answers_wrongly_is_noticed(setup, caplog):
    class Odd(FakeEngine):
        def answer(self, requests, on_answer):
            on_answer(Answer(requests[0].request_id, "first", "stop"))
            on_answer(Answer(requests[0].request_id, "second", "stop"))
            on_answer(Answer("nobody asked", "text", "stop"))

    setup.restart(zeta=Odd("zeta"))
    table = setup.run().set_index("request_id")
    zeta = setup.requests.loc[setup.requests["answer_model"] == "zeta", "request_id"]
    assert table.loc[zeta.iloc[0], "text"] == "first"
    assert set(table.loc[zeta.iloc[1:], "error"]) == {"the engine ended without answering"}
    assert caplog.text.count("was not asked for, or came twice") == 2


def test_an_unforeseen_error_of_an_engine_is_logged_with_its_traceback(setup, caplog):
    setup.restart(zeta=failing_after(0, KeyError("choices")))
    table = setup.run()
    assert set(table["error"].dropna()) == {"KeyError: 'choices'"}
    assert any(record.exc_info for record in caplog.records if record.levelno == logging.ERROR)


def test_no_answer_at_all_is_an_error(setup):
    broken = failing_after(0, EngineError("no GPU"))
    setup.restart(zeta=broken, alpha=broken)
    with pytest.raises(GenerationError, match=r"16 of 16 answers are missing:\n  (zeta|alpha): 8 \(no GPU\)"):
        setup.run()
    setup.restart(zeta=broken)
    assert (setup.run()["finish_reason"] == "error").sum() == 8


def test_no_requests_give_no_rows(setup):
    table = setup.run(setup.requests.iloc[:0])
    assert list(table.columns) == ["request_id", "text", "finish_reason", "error"]
    assert table.empty


def test_an_engine_that_is_misconfigured_stops_the_run_before_anyone_is_asked(setup):
    def factory(name, model, generation):
        if name == "alpha":
            raise EngineConfigError("KEY is not set")
        return fake_factory(setup.engines)(name, model, generation)

    with pytest.raises(EngineConfigError, match="KEY is not set"):
        generate_answers(setup.requests, setup.config, folder=setup.folder, engines={"vllm": factory})
    assert setup.asked("zeta") == []


def test_a_model_without_open_requests_needs_no_engine(setup):
    setup.run()

    def factory(name, model, generation):
        raise EngineConfigError("KEY is not set")

    table = generate_answers(setup.requests, setup.config, folder=setup.folder, engines={"vllm": factory})
    assert (table["finish_reason"] == "stop").all()


def test_a_disk_that_is_full_is_not_the_engines_failure(setup, monkeypatch):
    def full(store, answer):
        raise OSError("no space left on device")

    monkeypatch.setattr(generate.AnswerStore, "append", full)
    with pytest.raises(OSError, match="no space left"):
        setup.run()
    assert setup.asked("alpha") == []


def test_two_runs_do_not_share_a_folder(setup, monkeypatch):
    monkeypatch.setattr(generate, "_LOCK_WAIT_S", 0.0)
    setup.run()
    with (setup.folder / ".lock").open("a+") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        with pytest.raises(DirectoryInUseError, match="is in use by process"):
            setup.run()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda table: table.drop(columns="prompt"), r"lack the columns \['prompt'\]"),
        (lambda table: pd.concat([table, table.iloc[:1]]), "stand there more than once, such as 'v1-0-0'"),
        (lambda table: table.assign(answer_model="gpt"), r"answer models \['gpt'\] are not described"),
    ],
)
def test_requests_that_cannot_be_answered_are_refused(setup, change, message):
    with pytest.raises(GenerationError, match=message):
        setup.run(change(setup.requests))


def test_an_engine_that_is_not_there_is_named(setup):
    with pytest.raises(
        GenerationError, match=r"answer model 'alpha': engine 'vllm' is not available here: \['openai'\]"
    ):
        generate_answers(setup.requests, setup.config, folder=setup.folder, engines={"openai": fake_factory({})})


def test_texts_are_data(setup):
    prompts = ["null\x00", "", None, "half \ud800", "<|im_end|>", "x" * 100_000, "\u2028", "🙂"]
    requests = setup.requests.iloc[:8].assign(prompt=pd.Series(prompts, dtype=object))
    seen = {}

    def echo(request):
        seen[request.request_id] = request.prompt
        return Answer(request.request_id, f"half \udfff \x00 {request.prompt}", "stop")

    setup.restart(zeta=FakeEngine("zeta", echo), alpha=FakeEngine("alpha", echo))
    for _ in range(2):
        table = setup.run(requests)
        expected = ["null\x00", "", "", "half \ufffd", *prompts[4:]]
        assert [seen[request_id] for request_id in requests["request_id"]] == expected
        assert table["text"].tolist() == [f"half \ufffd \x00 {prompt}" for prompt in expected]
    table.to_parquet(setup.folder / "table.parquet")


def test_weights_are_removed_once_all_answers_are_there_and_only_then(tmp_path, monkeypatch):
    removed = []
    monkeypatch.setattr(generate, "remove_from_hub_cache", lambda *names: removed.append(names))
    models = {
        "zeta": {"engine": "vllm", "model": "org/zeta", "revision": "abc", "remove_weights": True},
        "alpha": {"engine": "openai", "model": "alpha", "base_url": "http://host", "remove_weights": True},
    }
    setup = Setup(tmp_path / "answers", models)
    setup.restart(zeta=failing_after(7, EngineError("died")))
    setup.run()
    assert removed == []
    setup.restart()
    setup.run()
    assert removed == [("org/zeta", "abc")]
