"""From a directory or a shape to a model in memory: the scheme, whether it fits, the load."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path

import torch

from quant.schemes import CPU_SCHEMES, SCHEMES
from runtime import memory
from runtime.checkpoint import Checkpoint
from runtime.config import JambaConfig
from runtime.devices import Precision, pick_precision
from runtime.errors import UsageError
from runtime.formats import Format, stored_format
from runtime.layout import slots
from runtime.model import JambaModel
from runtime.parameter_files import load_parameters
from runtime.plan import CHUNK_TOKENS, MemoryPlan, Planner, candidates, choose
from runtime.quantization import ALWAYS_KEPT, Quantization, named, stored_quantization
from runtime.weights import OnBytes, load_model, stored_in

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Wish:
    """What was asked for; None leaves the choice to the plan.

    `context` is the tokens that must fit beside the weights; None: only the weights must.
    """

    scheme: str | None = None
    keep: frozenset[str] = ALWAYS_KEPT
    context: int | None = None
    chunk_tokens: int | None = None


@dataclass(frozen=True, slots=True)
class Source:
    """A model before it is loaded; without a directory it is a shape."""

    name: str
    config: JambaConfig
    directory: Path | None = None

    @property
    def format(self) -> Format:
        """How the weights are stored; raises ConfigError for what is not supported."""
        return stored_format(self.config.quantization, f"{self.directory}/config.json")

    def options(self, device: str, wish: Wish) -> list[Quantization | None]:
        """The schemes to try in this order; raises UsageError for one that can't be."""
        if self.format == "parameters":
            assert self.config.quantization is not None
            own = stored_quantization(self.config.quantization, f"{self.directory}/config.json")
            if wish.scheme not in (None, own.scheme.name):
                raise UsageError(
                    f"{self.name} is stored in {own.scheme.name}, not in {wish.scheme}",
                    hint="quantize the bf16 checkpoint to another scheme with `jamba quantize`",
                )
            if missing := wish.keep - own.keep - ALWAYS_KEPT:
                raise UsageError(
                    f"{self.name} is stored with {', '.join(sorted(missing))} quantized",
                    hint="quantize the bf16 checkpoint again with `jamba quantize --keep`",
                )
            return [own]
        if wish.scheme is not None:
            if wish.scheme in CPU_SCHEMES and device != "cpu":
                raise UsageError(
                    f"scheme {wish.scheme} is for CPUs, and this is {device}",
                    hint="use --scheme fp8 or int8, or --device cpu",
                )
            return [named(wish.scheme, wish.keep)]
        if self.format == "fp8" and device == "cuda":
            return [Quantization(SCHEMES["fp8"], frozenset())]
        options = list(candidates(device, wish.keep))
        if self.format == "nano":  # was trained for rounded weights: the fast way comes first
            options.sort(key=lambda each: each is None or each.scheme.name not in CPU_SCHEMES)
        return options

    def stored_layers(self, scheme: str) -> frozenset[str]:
        """The layers that the checkpoint holds in a scheme; reads headers only."""
        assert self.directory is not None
        checkpoint = Checkpoint(self.directory, self.config.quantization)
        return frozenset(stored_in(checkpoint, scheme, slots(self.config)))

    def layers_as_stored(self, device: str, wish: Wish, scheme: str) -> frozenset[str] | None:
        """The layers to hold in codes, where the others are stored more exactly; None: all.

        fp8 checkpoints are held as they are unless a scheme is asked for; in nf4 the embedded model
        always is: what it stores in int8 is not rounded to four bits.
        """
        as_it_is = self.format == "fp8" and wish.scheme is None and device == "cuda"
        if (scheme == "fp8" and as_it_is) or (scheme == "nf4" and self.format == "nano"):
            return self.stored_layers(scheme)
        return None


@dataclass(frozen=True, slots=True)
class Setup:
    """How a model will be held, and what that takes."""

    plan: MemoryPlan
    quantization: Quantization | None
    planner: Planner

    @property
    def precision(self) -> Precision:
        """The dtypes of what is not quantized."""
        return self.planner.precision


def make_planner(
    source: Source, device: str, wish: Wish, precision: Precision, available: int
) -> Planner:
    """A planner that knows which layers are held in codes."""
    stored = cache(partial(source.layers_as_stored, device, wish))
    return Planner(source.config, device, precision, available, stored)


def prepare(
    source: Source, device: torch.device, wish: Wish, precision: Precision | None = None
) -> Setup:
    """Chooses scheme and chunk size by what is free; raises MemoryFitError before any load."""
    chosen = precision or pick_precision(source.config, device)
    options = source.options(device.type, wish)
    planner = make_planner(source, device.type, wish, chosen, memory.free_bytes(device))
    plan, quantization = choose(planner, options, wish.context or 0, wish.chunk_tokens, source.name)
    if quantization is not None:
        quantization.tell_left_out(source.config)
    if wish.chunk_tokens is None and plan.chunk_tokens < CHUNK_TOKENS[device.type]:
        logger.warning(
            "memory is short: reading %s tokens at a time, which is slower",
            f"{plan.chunk_tokens:,}",
        )
    return Setup(plan, quantization, planner)


def load(
    source: Source, device: torch.device, setup: Setup, on_bytes: OnBytes | None = None
) -> JambaModel:
    """The model with its weights; raises CheckpointError."""
    assert source.directory is not None
    if source.format == "parameters":
        model = load_parameters(
            source.directory,
            source.config,
            device=device,
            precision=setup.precision,
            on_bytes=on_bytes,
        )
    else:
        model = load_model(
            source.directory,
            source.config,
            device=device,
            precision=setup.precision,
            quantization=setup.quantization,
            only=setup.planner.only(setup.quantization),
            on_bytes=on_bytes,
        )
    memory.give_back_freed()
    return model
