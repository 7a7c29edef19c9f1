"""Where a judge runs: on one device, or with its decoder layers split over several that work at the same time.

A stage is one device's share of the layers: the first has the embeddings too, the last the final norm and the head.
Hooks before the layers bring what they are given to their device, so that transformers' models run as they are.

Micro-batches are pipelined by as many threads as there are stages. Each thread carries one micro-batch at a time
through all stages and holds the gate of the stage that it is in. It takes the next gate before it gives back its own:
a micro-batch never overtakes another, so gates are always taken in the same order and threads cannot wait for one
another in a circle.
"""

import queue
import threading
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from itertools import pairwise
from typing import Any, Literal

import torch
from torch import nn

from wsdm_arena.batching.packed import PackedBatch
from wsdm_arena.modeling.attention import AttentionPlan, UnsupportedJudgeError, plan_attention
from wsdm_arena.modeling.devices import as_device
from wsdm_arena.modeling.judge import JudgeModel

StageObserver = Callable[[Literal["enter", "leave"], int, int], None]
"""Told that a stage is entered or left: the event, the stage, the number of the micro-batch."""
NextBatch = Callable[[], tuple[int, PackedBatch] | None]
"""Hands out micro-batches with their numbers; None when there are no more."""


def split_layers(num_layers: int, num_stages: int) -> list[range]:
    """Deal layers to stages, as evenly as possible; the earlier stages get fewer, as the first has the embeddings.

    Raises:
        UnsupportedJudgeError: There are fewer layers than stages.

    Example:
        >>> split_layers(5, 2)
        [range(0, 2), range(2, 5)]
    """
    if not 1 <= num_stages <= num_layers:
        raise UnsupportedJudgeError(f"{num_layers} layers cannot be split over {num_stages} devices; name fewer")
    edges = [stage * num_layers // num_stages for stage in range(num_stages + 1)]
    return [range(start, end) for start, end in pairwise(edges)]


class SplitJudge:
    """A judge placed on one or several devices, ready to read. Call it for one micro-batch, or :meth:`read` many.

    Args:
        judge: Moved in place, layer by layer, and switched to evaluation mode; not to be called by itself any more.
        devices: One a stage; the same device may serve several.
        on_stage: Called by the thread that enters or leaves a stage, which waits for it.

    Raises:
        UnsupportedJudgeError: There are fewer layers than devices, or the backbone has no final norm called ``norm``.
    """

    def __init__(
        self, judge: JudgeModel, devices: Sequence[torch.device | str], *, on_stage: StageObserver | None = None
    ) -> None:
        self.devices = tuple(as_device(device) for device in devices)
        self.stages = split_layers(len(judge.decoder_layers), len(self.devices))
        self.judge = judge.eval()
        self.on_stage = on_stage
        self.gates = [threading.Lock() for _ in self.devices]
        self._current = threading.local()
        _place(judge, self.stages, self.devices)
        self._hooks = [
            judge.decoder_layers[layer].register_forward_pre_hook(self._hook(stage, layer), with_kwargs=True)
            for stage, layers in enumerate(self.stages[1:], start=1)
            for layer in layers
        ]

    def __call__(self, batch: PackedBatch) -> torch.Tensor:
        """Judge one micro-batch: logits ``(S, C)`` in float32, on the last device. No gradients."""
        carried = self._carry(lambda: (0, batch))
        assert carried is not None
        return carried[1]

    def read(self, batches: Iterable[PackedBatch]) -> Generator[torch.Tensor, None, None]:
        """Judge micro-batches, several of them at the same time where there are several stages.

        A micro-batch is drawn from ``batches`` when the first stage is free for it, possibly in another thread (never
        in two at once), so ``batches`` may decide as late as that to end. At most as many as there are stages are under
        way. When one fails, no further one is begun and its error is raised.

        Yields:
            Logits ``(S, C)`` of each micro-batch, in float32 on the host, in the order of ``batches``.
        """
        numbered = enumerate(batches)
        if len(self.devices) > 1:
            yield from self._read_pipelined(numbered)
            return
        while (carried := self._carry(lambda: next(numbered, None))) is not None:
            yield carried[1].cpu()

    def release(self) -> None:
        """Take the hooks off, so that nothing but the caller refers to the judge."""
        for hook in self._hooks:
            hook.remove()
        self._hooks.clear()
        del self.judge

    def _carry(
        self, next_batch: NextBatch, on_failure: Callable[[], None] = lambda: None
    ) -> tuple[int, torch.Tensor] | None:
        """Bring the next micro-batch through all stages, as soon as the first is free.

        Args:
            next_batch: Asked when the first stage is free.
            on_failure: Called if the micro-batch fails, before it gives its gate back.

        Returns:
            Its number and logits; None if there is no next.
        """
        with _Passage(self, on_failure) as passage, torch.no_grad():
            if not passage.begin(next_batch):
                return None
            hidden = self.judge.hidden_states(passage.batch.to(self.devices[0], non_blocking=True))
            last_tokens = torch.tensor(passage.batch.boundaries[1:], device=hidden.device) - 1
            return passage.number, self.judge.head(hidden.index_select(0, last_tokens))

    def _read_pipelined(self, numbered: Iterator[tuple[int, PackedBatch]]) -> Iterator[torch.Tensor]:
        messages: queue.SimpleQueue[tuple[int, torch.Tensor] | BaseException | None] = queue.SimpleQueue()
        stopped = threading.Event()

        def next_batch() -> tuple[int, PackedBatch] | None:
            return None if stopped.is_set() else next(numbered, None)

        def work() -> None:
            try:
                while carried := self._carry(next_batch, on_failure=stopped.set):
                    messages.put((carried[0], carried[1].cpu()))
            except BaseException as error:
                stopped.set()
                messages.put(error)
            finally:
                messages.put(None)

        threads = [threading.Thread(target=work, name=f"judge-{n}", daemon=True) for n in range(len(self.devices))]
        for thread in threads:
            thread.start()
        try:
            yield from _in_order(messages, num_workers=len(threads))
        finally:
            stopped.set()
            for thread in threads:
                thread.join()

    def _hook(self, stage: int, layer: int) -> Callable[..., tuple[Any, Any]]:
        is_first = layer == self.stages[stage][0]

        def bring_arguments(module: nn.Module, args: Any, kwargs: Any) -> tuple[Any, Any]:
            passage: _Passage = self._current.passage
            if is_first:
                passage.enter(stage)
            return passage.bring(args, is_shared=False), passage.bring(kwargs)

        return bring_arguments


class _Passage:
    """One micro-batch on its way: the gate it holds, and what was brought to the device of its stage."""

    def __init__(self, split: SplitJudge, on_failure: Callable[[], None]) -> None:
        self.split = split
        self.on_failure = on_failure
        self.stage: int | None = None
        self.number: int
        self.batch: PackedBatch
        # Every layer gets the same keyword arguments. The originals are kept, or others could get their ids.
        self._brought: dict[int, tuple[Any, Any]] = {}
        self._is_begun = False

    def __enter__(self) -> "_Passage":
        on_gpu = any(device.type == "cuda" for device in self.split.devices)
        self._device_before = torch.cuda.current_device() if on_gpu else None
        self.split._current.passage = self
        return self

    def __exit__(self, error_type: type[BaseException] | None, *_: object) -> None:
        if error_type is not None:
            self.on_failure()
        self._leave()
        self.split._current.passage = None
        if self._device_before is not None:
            torch.cuda.set_device(self._device_before)

    def begin(self, next_batch: NextBatch) -> bool:
        """Wait for the first stage, then take a micro-batch; False if there is none."""
        self._take_gate(0)
        if (taken := next_batch()) is None:
            return False
        self.number, self.batch = taken
        self._is_begun = True
        self._announce("enter")
        return True

    def enter(self, stage: int) -> None:
        """Wait for the next stage, then leave the one before."""
        self._take_gate(stage)
        self._announce("enter")

    def bring(self, value: Any, *, is_shared: bool = True) -> Any:
        """Copy tensors, and containers of them, to the device of this stage; what is there already is not held.

        Args:
            value: What a layer is given.
            is_shared: Whether every layer gets the same. Hidden states are another tensor each time: holding them would
                keep those of a whole stage alive.
        """
        assert self.stage is not None
        device = self.split.devices[self.stage]
        if type(value) in (tuple, list):
            return type(value)(self.bring(part, is_shared=is_shared) for part in value)
        if type(value) is dict:
            return {name: self.bring(part, is_shared=is_shared) for name, part in value.items()}
        if not isinstance(value, torch.Tensor | AttentionPlan) or _device_of(value) == device:
            return value
        if not is_shared:
            return self._copy(value, device)
        if id(value) not in self._brought:
            self._brought[id(value)] = (value, self._copy(value, device))
        return self._brought[id(value)][1]

    def _copy(self, value: torch.Tensor | AttentionPlan, device: torch.device) -> torch.Tensor | AttentionPlan:
        if isinstance(value, torch.Tensor):
            return value.to(device)
        # Made anew from the boundaries on the host: its tables are the kernel's own affair, and GPUs may differ.
        judge = self.split.judge
        return plan_attention(judge.kernel(device), self.batch.to(device, non_blocking=True), judge.config)

    def _take_gate(self, stage: int) -> None:
        self.split.gates[stage].acquire()
        try:
            self._leave()
        finally:
            self.stage = stage
        device = self.split.devices[stage]
        if device.type == "cuda":
            torch.cuda.set_device(device)  # kernels written in Triton start on the current device

    def _leave(self) -> None:
        if self.stage is None:
            return
        stage, self.stage = self.stage, None
        self._brought.clear()
        try:
            self._announce("leave", stage)
        except BaseException:
            self.on_failure()
            raise
        finally:
            self.split.gates[stage].release()

    def _announce(self, event: Literal["enter", "leave"], stage: int | None = None) -> None:
        stage = self.stage if stage is None else stage
        if self.split.on_stage is not None and self._is_begun and stage is not None:
            self.split.on_stage(event, stage, self.number)


def _device_of(value: torch.Tensor | AttentionPlan) -> torch.device:
    return value.device if isinstance(value, torch.Tensor) else value.cu_seqlens.device


def _place(judge: JudgeModel, stages: Sequence[range], devices: Sequence[torch.device]) -> None:
    """Move every part to the device of its stage; never the whole judge to one of them, which may be too small."""
    if len(devices) == 1:
        judge.to(devices[0])
        return
    backbone = judge.backbone
    if not hasattr(backbone, "norm"):
        raise UnsupportedJudgeError(f"{judge.config.model_type} has no final norm called 'norm': use one device")
    for name, child in backbone.named_children():
        if name != "layers":
            child.to(devices[-1] if name == "norm" else devices[0])
    for layers, device in zip(stages, devices, strict=True):
        for layer in layers:
            judge.decoder_layers[layer].to(device)
    judge.head.to(devices[-1])


def _in_order(
    messages: "queue.SimpleQueue[tuple[int, torch.Tensor] | BaseException | None]", *, num_workers: int
) -> Iterator[torch.Tensor]:
    """Sort results by number until every worker has said None; raise what one of them failed with."""
    pending: dict[int, torch.Tensor] = {}
    wanted = 0
    while num_workers:
        message = messages.get()
        if message is None:
            num_workers -= 1
        elif isinstance(message, BaseException):
            raise message
        else:
            pending[message[0]] = message[1]
            while wanted in pending:
                yield pending.pop(wanted)
                wanted += 1
