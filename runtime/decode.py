"""Decoding token by token through a step that is captured once a cache, as a CUDA graph.

A graph holds the addresses of the cache's own tensors and reads token and position on the device,
so that it serves every length, after a snapshot was restored too.  It ends with the logits in fp32
and the likeliest token, which it leaves as the next step's input: a greedy answer takes one launch
and one small copy a token.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from weakref import WeakKeyDictionary

import torch
from torch import Tensor

from quant.ops.dispatch import KERNEL, choice
from runtime.cache import AttentionState, HybridCache
from runtime.model import JambaModel
from runtime.ops import attention_step
from runtime.ops.pick import pick
from runtime.step import States, scores_after

logger = logging.getLogger(__name__)

Tensors = tuple[tuple[int, tuple[int, ...]], ...]
"""Address and shape of every tensor of a cache."""


class DecodeStep:
    """One token read into one cache; what it gives is overwritten by the next.

    `logits` [v] fp32 are those after the last token read.
    """

    def __init__(self, model: JambaModel, cache: HybridCache) -> None:
        device = model.embed_tokens.device
        self._model, self._states = model, cache.states
        self._tensors = _tensors(cache.states)
        self._attention = cache.attention_states
        self._inputs = torch.zeros(2, dtype=torch.int64, device=device)  # token, position
        self._holds: tuple[int, int] | None = None  # what they are, where the host knows
        self._position = cache.position
        self._picked = torch.zeros(2, dtype=torch.float64, device=device)  # token, its logit
        on_gpu = device.type == "cuda"
        self._read_out = torch.zeros(2, dtype=torch.float64, pin_memory=on_gpu)
        self._arrived = torch.cuda.Event() if on_gpu else None
        self._graph: torch.cuda.CUDAGraph | None = None
        self.logits = torch.zeros(model.config.vocab_size, device=device)

    def serves(self, cache: HybridCache) -> bool:
        """Whether the cache still has the tensors that the step was made for."""
        return cache.states is self._states and _tensors(cache.states) == self._tensors

    def capture(self, stream: torch.cuda.Stream, pool: Any) -> None:
        """Makes a graph of the step; the cache is left as it is.  RuntimeError if it can't be."""
        current = torch.cuda.current_stream(self.logits.device)
        stream.wait_stream(current)
        with torch.cuda.stream(stream):
            with _kept(self._states, self._position):  # compiles kernels, sets up libraries
                self._inputs.copy_(torch.tensor([0, self._position]))
                self._compute()
            graph = torch.cuda.CUDAGraph()
            # Another thread may look at the GPU's memory meanwhile.
            with torch.cuda.graph(graph, pool, stream, capture_error_mode="thread_local"):
                self._compute()
                self._read_out.copy_(self._picked, non_blocking=True)
        current.wait_stream(stream)
        self._graph = graph

    def run(self, cache: HybridCache, token: int) -> None:
        """Reads a token into the cache, which must have room; does not wait for the device."""
        wanted = (token, cache.position)
        if self._holds != wanted:
            self._inputs.copy_(torch.tensor(wanted))
        self._holds = None
        if self._graph is None:
            self._compute()
            self._read_out.copy_(self._picked, non_blocking=True)
        else:
            self._graph.replay()
        if self._arrived is not None:
            self._arrived.record()
        for state in self._attention:
            state.length += 1
        cache.advance(1)
        self._position = cache.position

    def top(self) -> tuple[int, float]:
        """The likeliest next token and its logit, not finite if any is NaN: waits for the step."""
        if self._arrived is not None:
            self._arrived.synchronize()
        token, logit = self._read_out.tolist()
        self._holds = (int(token), self._position)
        return int(token), logit

    def _compute(self) -> None:
        token, position = self._inputs.split(1)
        scores = scores_after(self._model, self._states, token, position)
        pick(scores, self.logits, self._picked, self._inputs)


class Decoder:
    """The steps of one model: one a cache, made when it is first decoded from, freed with it.

    `plain` steps run without a graph, on any device: the same code, for tests.
    """

    def __init__(self, model: JambaModel, device: torch.device, *, plain: bool = False) -> None:
        self._model, self._device, self._plain = model, device, plain
        self._steps: WeakKeyDictionary[HybridCache, DecodeStep] = WeakKeyDictionary()
        self._stream: torch.cuda.Stream | None = None
        self._pool: Any = None
        self._possible: bool | None = True if plain else None  # not known before it is asked

    def step(self, cache: HybridCache) -> DecodeStep | None:
        """The step of a cache that has room for a token; None where there are none."""
        if self._possible is None:
            self._possible = _has_kernels(self._device)
        if not self._possible:
            return None
        step = self._steps.get(cache)
        if step is not None and step.serves(cache):
            return step
        self._steps.pop(cache, None)
        step = DecodeStep(self._model, cache)
        if not self._plain:
            try:
                self._capture(step)
            except RuntimeError as error:
                self._possible = False
                reason = str(error).partition("\n")[0]
                logger.warning(
                    "decoding runs without a CUDA graph, slowly: %s; "
                    "a smaller --context leaves more memory, `jamba doctor` tells more",
                    reason,
                )
                return None
        self._steps[cache] = step
        return step

    def _capture(self, step: DecodeStep) -> None:
        if self._stream is None:
            self._stream = torch.cuda.Stream(self._device)
            self._pool = torch.cuda.graph_pool_handle()
        step.capture(self._stream, self._pool)


def _has_kernels(device: torch.device) -> bool:
    """Whether the step can be captured: without kernels it waits for the host in between."""
    if device.type != "cuda":
        return False
    if choice(attention_step.__name__, device.type) == KERNEL:
        return True
    logger.warning(
        "decoding runs without a CUDA graph, slowly: it needs the kernels; "
        "pip install triton, and leave JAMBA_KERNELS unset"
    )
    return False


def _tensors(states: States) -> Tensors:
    held = []
    for state in states:
        pair = (state.k, state.v) if isinstance(state, AttentionState) else (state.conv, state.ssm)
        held += [(tensor.data_ptr(), tuple(tensor.shape)) for tensor in pair]
    return tuple(held)


@contextmanager
def _kept(states: States, position: int) -> Iterator[None]:
    """What a step at a position changes is as before afterwards."""
    places: list[Tensor] = []
    for state in states:
        if isinstance(state, AttentionState):
            places += [state.k[:, position], state.v[:, position]]
        else:
            places += [state.conv, state.ssm]
    saved = [place.clone() for place in places]
    try:
        yield
    finally:
        for place, value in zip(places, saved, strict=True):
            place.copy_(value)
