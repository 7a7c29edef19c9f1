"""Order and overlap are proved by events that wait for one another, not by time."""

import threading
import weakref
from dataclasses import dataclass, field

import numpy as np
import pytest
import torch

from wsdm_arena.batching.packed import PackedBatch
from wsdm_arena.distributed import DeviceError
from wsdm_arena.modeling.attention import UnsupportedJudgeError
from wsdm_arena.modeling.devices import choose_devices, choose_dtype
from wsdm_arena.modeling.layer_split import SplitJudge, split_layers

PATIENCE_S = 60
"""Before a test that waits for another thread gives up."""
TWO = ("cpu", "cpu")


def batches_of(count: int) -> list[PackedBatch]:
    draw = np.random.default_rng(0)
    return [
        PackedBatch.from_sequences([draw.integers(0, 61, length) for length in draw.integers(1, 25, 4)])
        for _ in range(count)
    ]


@dataclass
class Log:
    """What happened in the stages, in the order in which it happened."""

    events: list[tuple[str, int, int]] = field(default_factory=list)

    def __call__(self, event: str, stage: int, number: int) -> None:
        self.events.append((event, stage, number))

    def of(self, stage: int) -> list[tuple[str, int]]:
        return [(event, number) for event, where, number in self.events if where == stage]


@pytest.mark.parametrize("devices", [("cpu",), TWO, ("cpu",) * 3])
def test_a_split_judge_gives_the_logits_of_the_whole(make, family, batch, devices):
    whole = make.judge(family)
    with torch.no_grad():
        expected = whole(batch)
    split = SplitJudge(make.judge(family), devices)
    torch.testing.assert_close(split(batch), expected, rtol=0, atol=0)
    (read,) = split.read([batch])
    torch.testing.assert_close(read, expected, rtol=0, atol=0)
    assert not read.requires_grad


@pytest.mark.parametrize("devices", [("cpu",), TWO, ("cpu",) * 3])
def test_many_micro_batches_come_back_in_order_and_untouched_by_one_another(make, devices):
    batches = batches_of(12)
    whole = make.judge("gemma2")
    with torch.no_grad():
        expected = [whole(batch) for batch in batches]
    for found, wanted in zip(SplitJudge(make.judge("gemma2"), devices).read(batches), expected, strict=True):
        torch.testing.assert_close(found, wanted, rtol=0, atol=0)


@pytest.mark.parametrize("num_stages", [2, 3])
def test_a_stage_holds_one_micro_batch_at_a_time_and_their_order_is_kept(make, num_stages):
    log = Log()
    split = SplitJudge(make.judge("llama"), ("cpu",) * num_stages, on_stage=log)
    assert len(list(split.read(batches_of(10)))) == 10
    for stage in range(num_stages):
        assert log.of(stage) == [(event, number) for number in range(10) for event in ("enter", "leave")]
    for number in range(10):
        stages = [stage for event, stage, who in log.events if (event, who) == ("enter", number)]
        assert stages == list(range(num_stages))


def test_the_next_gate_is_taken_before_the_own_is_given_back(make):
    """Or another micro-batch could overtake in between."""
    held = []

    def on_stage(event: str, stage: int, number: int) -> None:
        if (event, stage) == ("leave", 0):
            held.append([gate.locked() for gate in split.gates])

    split = SplitJudge(make.judge("llama"), TWO, on_stage=on_stage)
    assert len(list(split.read(batches_of(4)))) == 4
    assert held == [[True, True]] * 4


def test_two_stages_really_work_at_the_same_time(make):
    """Stage 1 of the first micro-batch ends only when the second has entered stage 0."""
    second_is_in_stage_0 = threading.Event()
    met = []

    def on_stage(event: str, stage: int, number: int) -> None:
        if (event, stage, number) == ("enter", 0, 1):
            second_is_in_stage_0.set()
        if (event, stage, number) == ("leave", 1, 0):
            met.append(second_is_in_stage_0.wait(PATIENCE_S))

    split = SplitJudge(make.judge("llama"), TWO, on_stage=on_stage)
    assert len(list(split.read(batches_of(3)))) == 3
    assert met == [True]


def test_three_stages_really_work_at_the_same_time(make):
    """All three meet at a barrier: batch 0 in stage 2, batch 1 in stage 1, batch 2 in stage 0."""
    barrier = threading.Barrier(3)

    def on_stage(event: str, stage: int, number: int) -> None:
        if event == "enter" and stage + number == 2:
            barrier.wait(PATIENCE_S)

    split = SplitJudge(make.judge("llama"), ("cpu",) * 3, on_stage=on_stage)
    assert len(list(split.read(batches_of(4)))) == 4
    assert not barrier.broken


@pytest.mark.parametrize("stage", [0, 1])
@pytest.mark.parametrize("event", ["enter", "leave"])
def test_a_micro_batch_that_fails_ends_the_reading_and_frees_every_gate(make, stage, event):
    log = Log()

    def fail(happened: str, where: int, number: int) -> None:
        log(happened, where, number)
        if (happened, where, number) == (event, stage, 2):
            raise RuntimeError("batch 2 broke")

    split = SplitJudge(make.judge("llama"), TWO, on_stage=fail)
    threads = threading.active_count()
    read = []
    with pytest.raises(RuntimeError, match="batch 2 broke"):
        read.extend(split.read(batches_of(50)))
    assert threading.active_count() == threads
    assert max(number for _, _, number in log.events) <= 3  # under way already; none is begun later
    split.on_stage = None
    assert [gate.locked() for gate in split.gates] == [False, False]
    assert len(list(split.read(batches_of(5)))) == 5


def test_an_error_of_the_batches_themselves_is_raised_too(make):
    def broken():
        yield from batches_of(3)
        raise OSError("the disk is gone")

    split = SplitJudge(make.judge("llama"), TWO)
    with pytest.raises(OSError, match="the disk is gone"):
        list(split.read(broken()))
    assert len(list(split.read(batches_of(2)))) == 2


def test_reading_that_is_broken_off_leaves_no_thread_behind(make):
    split = SplitJudge(make.judge("llama"), TWO)
    threads = threading.active_count()
    reading = split.read(batches_of(50))
    next(reading)
    assert threading.active_count() == threads + 2
    reading.close()
    assert threading.active_count() == threads


def test_a_micro_batch_is_drawn_only_when_it_can_begin(make):
    """With two stages at most two are drawn before the first is out."""
    drawn, out = [], []
    first_can_go = threading.Event()

    def drawing():
        for number, batch in enumerate(batches_of(6)):
            drawn.append(number)
            if number == 1:
                first_can_go.set()
            yield batch

    def on_stage(event: str, stage: int, number: int) -> None:
        if (event, stage) == ("enter", 1) and number == 0:
            assert first_can_go.wait(PATIENCE_S)
            out.append(list(drawn))

    assert len(list(SplitJudge(make.judge("llama"), TWO, on_stage=on_stage).read(drawing()))) == 6
    assert out == [[0, 1]]


def test_no_micro_batches_give_no_logits(make):
    assert list(SplitJudge(make.judge("llama"), TWO).read([])) == []


def test_arguments_are_brought_to_the_device_of_their_layer(make, batch):
    """The device "meta" has no values, but tensors on it meet none of another device."""
    split = SplitJudge(make.judge("gemma3"), ("cpu", "meta"))
    devices = {name: parameter.device.type for name, parameter in split.judge.named_parameters()}
    assert devices["backbone.embed_tokens.weight"] == "cpu"
    assert {devices["backbone.norm.weight"], devices["head.output.weight"]} == {"meta"}
    layers = [{kind for name, kind in devices.items() if f".layers.{layer}." in name} for layer in range(3)]
    assert layers == [{"cpu"}, {"meta"}, {"meta"}]
    seen = []
    for layer in split.judge.decoder_layers:
        layer.register_forward_pre_hook(
            lambda module, args, kwargs: seen.append(
                (args[0].device, kwargs["position_embeddings"][0].device, kwargs["attention_plan"].cu_seqlens.device)
            ),
            with_kwargs=True,
        )
    assert split(batch).device.type == "meta"
    assert [{device.type for device in devices} for devices in seen] == [{"cpu"}, {"meta"}, {"meta"}]


def test_what_was_brought_to_one_stage_is_not_taken_for_the_next(make, batch):
    split = SplitJudge(make.judge("llama"), ("cpu", "cpu", "meta"))
    seen = []
    for layer in split.judge.decoder_layers:
        layer.register_forward_pre_hook(
            lambda _, args, kwargs: seen.append(kwargs["position_embeddings"][1].device.type), with_kwargs=True
        )
    split(batch)
    assert seen == ["cpu", "cpu", "meta"]


def test_what_is_brought_is_brought_once_a_stage(make, batch):
    split = SplitJudge(make.judge("llama"), ("cpu", "meta"))
    plans = []
    for layer in split.judge.decoder_layers:
        layer.register_forward_pre_hook(
            lambda _, args, kwargs: plans.append(kwargs["attention_plan"]), with_kwargs=True
        )
    split(batch)
    assert plans[1] is plans[2]
    assert plans[0] is not plans[1]


@pytest.mark.parametrize(
    ("name", "devices"), [("gemma2", TWO), ("llama", TWO), ("gemma3", ("cpu", "meta")), ("llama", ("cpu", "meta"))]
)
def test_hidden_states_die_with_the_layer_that_reads_them(make, batch, name, devices):
    """Of three layers, the last two are one stage: before the last, only its own input is alive, and the embeddings,
    which transformers itself holds."""
    judge = make.judge(name)
    given, brought, alive = [], [], []

    def watch(references):
        return lambda _, args, kwargs: references.append(weakref.ref(args[0]))

    for layer in judge.decoder_layers:
        layer.register_forward_pre_hook(watch(given), with_kwargs=True)
    split = SplitJudge(judge, devices)
    for layer in judge.decoder_layers:
        layer.register_forward_pre_hook(watch(brought), with_kwargs=True)
    judge.decoder_layers[2].register_forward_pre_hook(
        lambda *_: alive.append([[reference() is not None for reference in found] for found in (given, brought)])
    )
    split(batch)
    assert alive == [[[True, False, True], [True, False, True]]]


def test_a_released_judge_is_whole_again(make, batch):
    judge = make.judge("llama")
    with torch.no_grad():
        expected = judge(batch)
    split = SplitJudge(judge, TWO)
    split.release()
    assert not hasattr(split, "judge")
    with torch.no_grad():
        torch.testing.assert_close(judge(batch), expected, rtol=0, atol=0)


@pytest.mark.parametrize("num_layers", [1, 2, 3, 7, 42])
def test_layers_are_dealt_evenly_and_the_first_stage_gets_no_more(num_layers):
    for num_stages in range(1, min(num_layers, 5) + 1):
        stages = split_layers(num_layers, num_stages)
        assert [layer for stage in stages for layer in stage] == list(range(num_layers))
        sizes = [len(stage) for stage in stages]
        assert max(sizes) - min(sizes) <= 1
        assert sizes[0] == min(sizes)


def test_more_devices_than_layers_are_refused(make):
    with pytest.raises(UnsupportedJudgeError, match="3 layers cannot be split over 4 devices"):
        SplitJudge(make.judge("llama"), ("cpu",) * 4)


def test_a_backbone_whose_final_norm_is_unknown_runs_on_one_device(make, batch):
    def renamed():
        judge = make.judge("llama")
        judge.backbone.final_norm = judge.backbone.norm
        del judge.backbone.norm
        return judge

    SplitJudge(renamed(), ("cpu",))
    with pytest.raises(UnsupportedJudgeError, match="no final norm called 'norm': use one device"):
        SplitJudge(renamed(), TWO)


def test_devices_are_chosen_by_what_there_is(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 0)
    assert choose_devices(("auto",)) == (torch.device("cpu"),)
    assert choose_devices(TWO) == (torch.device("cpu"),) * 2
    with pytest.raises(DeviceError, match="device cuda:1: this machine has 0 GPUs"):
        choose_devices(("cpu", "cuda:1"))
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    assert choose_devices(("auto",)) == (torch.device("cuda:0"),)
    assert choose_devices(("cuda", "cuda:1")) == (torch.device("cuda:0"), torch.device("cuda:1"))


@pytest.mark.parametrize("names", [(), ("auto", "cpu"), ("gpu",), ("cuda:x",)])
def test_unknown_devices_are_refused(names):
    with pytest.raises(DeviceError, match="device"):
        choose_devices(names)


@pytest.mark.parametrize(
    ("capabilities", "expected"),
    [
        ([(8, 0)], torch.bfloat16),
        ([(9, 0), (8, 6)], torch.bfloat16),
        ([(7, 5)], torch.float16),
        ([(8, 0), (7, 5)], torch.float16),
    ],
)
def test_the_type_is_what_every_gpu_has(monkeypatch, capabilities, expected):
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: capabilities[device.index])
    devices = [torch.device("cuda", number) for number in range(len(capabilities))]
    assert choose_dtype("auto", *devices) == expected
    assert choose_dtype("float32", *devices) == torch.float32
    assert choose_dtype("auto", *devices, torch.device("cpu")) == torch.float32


def test_one_device_is_one_stage(make):
    log = Log()
    SplitJudge(make.judge("llama"), ("cpu",), on_stage=log)(batches_of(1)[0])
    assert log.events == [("enter", 0, 0), ("leave", 0, 0)]


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
@pytest.mark.parametrize("devices", [("cuda:0", "cpu"), ("cpu", "cuda:0"), ("cuda:0", "cuda:0")])
def test_a_judge_split_between_gpu_and_host_gives_the_logits_of_the_whole(make, family, devices):
    batches = batches_of(6)
    whole = make.judge(family)
    with torch.no_grad():
        expected = [whole(batch) for batch in batches]
    found = list(SplitJudge(make.judge(family), devices).read(batches))
    for logits, wanted in zip(found, expected, strict=True):
        torch.testing.assert_close(logits, wanted, rtol=1e-3, atol=1e-3)
