"""Whether a model fits, before it is loaded: weights, KV cache, state, workspace, headroom."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass, replace

import torch

from quant.ops.matmul.scaled import multiplies_fp8
from quant.ops.matmul.w8a8 import multiplies_int8
from runtime.config import JambaConfig
from runtime.devices import Precision
from runtime.errors import MemoryFitError
from runtime.quantization import ALWAYS_KEPT, Quantization, named
from runtime.weights import weights_bytes
from runtime.workspace import workspace_bytes

CHUNK_TOKENS = {"cpu": 1024, "cuda": 16_384, "mps": 2_048}
"""Tokens a prefill chunk: enough to be bound by arithmetic, few enough for their workspace."""

LEAST_CHUNK_TOKENS = 256
"""Chunks shrink to this before a setting is said not to fit."""

HEADROOM_BYTES = {"cpu": 100_000_000, "cuda": 1_000_000_000, "mps": 500_000_000}
"""Left free: libraries' own buffers, fragmentation, and on a GPU captured graphs."""

CONTEXT_STEP = 1024


@dataclass(frozen=True, slots=True)
class MemoryPlan:
    """What a model in a scheme takes with a context, in bytes, beside what is available."""

    device: str
    scheme: str
    keep: tuple[str, ...]
    context: int
    chunk_tokens: int
    weights: int
    kv_cache: int
    state: int
    workspace: int
    headroom: int
    available: int

    @property
    def total(self) -> int:
        """Everything, headroom included."""
        parts = (self.weights, self.kv_cache, self.state, self.workspace, self.headroom)
        return sum(parts)

    @property
    def fits(self) -> bool:
        """Whether the device has room."""
        return self.total <= self.available


def _no_layers(scheme: str) -> None:
    """Of a checkpoint that does not say which layers are quantized."""


@dataclass(frozen=True, slots=True)
class Planner:
    """Makes plans for one model on one kind of device with so much memory available.

    `stored` gives, by scheme, the only layers that are quantized, for a checkpoint that says so
    itself; None for all that can be.  It is asked only for schemes that are planned.
    """

    config: JambaConfig
    device: str  # cpu, cuda or mps
    precision: Precision
    available: int
    stored: Callable[[str], frozenset[str] | None] = _no_layers

    def only(self, quantization: Quantization | None) -> frozenset[str] | None:
        """The layers that are quantized; None: all that the quantization allows."""
        return None if quantization is None else self.stored(quantization.scheme.name)

    def plan(
        self, quantization: Quantization | None, context: int, chunk_tokens: int
    ) -> MemoryPlan:
        """What one setting takes."""
        config, precision = self.config, self.precision
        return MemoryPlan(
            device=self.device,
            scheme="none" if quantization is None else quantization.scheme.name,
            keep=() if quantization is None else tuple(sorted(quantization.keep)),
            context=context,
            chunk_tokens=chunk_tokens,
            weights=weights_bytes(config, precision, quantization, self.only(quantization)),
            kv_cache=context * kv_bytes_per_token(config, precision.activations),
            state=state_bytes(config, precision.activations),
            workspace=self._workspace(quantization, context, chunk_tokens),
            headroom=HEADROOM_BYTES[self.device],
            available=self.available,
        )

    def chunks(self, asked: int | None) -> list[int]:
        """Chunk sizes to try: the one that was asked for, or the device's and its halves."""
        if asked is not None:
            return [asked]
        size, sizes = CHUNK_TOKENS[self.device], []
        while size >= LEAST_CHUNK_TOKENS:
            sizes.append(size)
            size //= 2
        return sizes

    def best(
        self, quantization: Quantization | None, context: int, chunk_tokens: int | None
    ) -> MemoryPlan:
        """The plan with the largest chunk that fits, or the smallest if none does."""
        first, *smaller = self.chunks(chunk_tokens)
        plan = self.plan(quantization, context, first)
        for size in smaller:
            if plan.fits:
                break
            workspace = self._workspace(quantization, context, size)
            plan = replace(plan, chunk_tokens=size, workspace=workspace)
        return plan

    def _workspace(self, quantization: Quantization | None, context: int, chunk_tokens: int) -> int:
        return workspace_bytes(
            self.config,
            min(chunk_tokens, context or chunk_tokens),
            cpu=self.device == "cpu",
            precision=self.precision,
            quantization=quantization,
            mixed=self.only(quantization) is not None,
        )

    def longest_context(self, quantization: Quantization | None, chunk_tokens: int | None) -> int:
        """The most tokens that fit, in whole steps, up to the model's context; 0 if none do."""
        least = self.chunks(chunk_tokens)[-1]
        fixed = self.plan(quantization, 0, least).total
        each = kv_bytes_per_token(self.config, self.precision.activations)
        room = self.available - fixed
        if room < 0:
            return 0
        most = self.config.max_context if each == 0 else room // each
        if most >= self.config.max_context:
            return self.config.max_context
        return int(most) // CONTEXT_STEP * CONTEXT_STEP


def kv_bytes_per_token(config: JambaConfig, dtype: torch.dtype) -> int:
    """Bytes of keys and values that a token adds."""
    numbers = 2 * config.count("attention") * config.num_kv_heads * config.head_dim
    return numbers * dtype.itemsize


def state_bytes(config: JambaConfig, dtype: torch.dtype) -> int:
    """Bytes of the Mamba layers' states, whatever the length."""
    tail = (config.mamba_d_conv - 1) * dtype.itemsize
    each = config.mamba_inner_size * (4 * config.mamba_d_state + tail)
    return config.count("mamba") * each


def candidates(device: str, keep: Collection[str] = ALWAYS_KEPT) -> Iterator[Quantization | None]:
    """Schemes in the order of preference: fp8 is for GPUs that multiply it, w8a8 for such CPUs.

    A GPU that is not here, as with `jamba plan --gpu-memory`, is taken for one that does.
    """
    here = device == "cuda" and torch.cuda.is_available()
    fp8 = device == "cuda" and (not here or multiplies_fp8(torch.device("cuda")))
    here_only = {"fp8": fp8, "w8a8": device == "cpu" and multiplies_int8()}
    for name in ("none", "fp8", "w8a8", "int8", "nf4"):
        if here_only.get(name, True):
            yield named(name, keep)


def choose(
    planner: Planner,
    options: Sequence[Quantization | None],
    context: int,
    chunk_tokens: int | None,
    name: str,
) -> tuple[MemoryPlan, Quantization | None]:
    """The first of the options that fits, with the largest chunk it fits with.

    Raises MemoryFitError that names the nearest setting that fits.
    """
    for option in options:
        plan = planner.best(option, context, chunk_tokens)
        if plan.fits:
            return plan, option
    plan = planner.best(options[-1], context, chunk_tokens)
    raise MemoryFitError(
        f"{name} in scheme {plan.scheme} with {context:,} tokens of context needs "
        f"{plan.total / 1e9:.1f} GB, {plan.device} has {plan.available / 1e9:.1f} GB free",
        hint=nearest(planner, options[-1], context, chunk_tokens),
    )


def nearest(
    planner: Planner, asked: Quantization | None, context: int, chunk_tokens: int | None
) -> str:
    """What to change so that it fits: a smaller scheme, a shorter context, or else the model."""
    keep = ALWAYS_KEPT if asked is None else asked.keep
    ways = []
    if chunk_tokens is not None and (plan := planner.best(asked, context, None)).fits:
        ways.append(f"--chunk-tokens {plan.chunk_tokens}")
    for option in candidates(planner.device, keep):
        plan = planner.best(option, context, None)
        if plan.fits and option != asked:
            ways.append(f"--scheme {plan.scheme} ({plan.total / 1e9:.1f} GB)")
            break
    if tokens := min(planner.longest_context(asked, None), context):
        ways.append(f"--context {tokens}")
    if not ways:
        smallest = named("nf4")
        tokens = planner.longest_context(smallest, None)
        if tokens:
            ways.append(f"--scheme nf4 --context {tokens}")
    if not ways:
        return "no scheme fits: take a smaller model (`jamba models` lists them), or free memory"
    return f"this fits: {', or '.join(ways)}"
