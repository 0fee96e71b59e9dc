"""Token ids in, token ids out: loading, prefill chunk by chunk, generation."""

from __future__ import annotations

import logging
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import torch
from torch import Tensor

from runtime import memory
from runtime.cache import HybridCache, Snapshot
from runtime.config import JambaConfig
from runtime.decode import Decoder, DecodeStep
from runtime.devices import Precision, pick_device
from runtime.errors import BudgetError, UsageError
from runtime.loading import Setup, Source, Wish, load, prepare
from runtime.model import JambaModel
from runtime.models import resolve
from runtime.plan import CHUNK_TOKENS, LEAST_CHUNK_TOKENS
from runtime.quantization import ALWAYS_KEPT
from runtime.sampling import Sampler, SamplingParams, Top
from runtime.shapes import random_model
from runtime.weights import OnBytes
from runtime.workspace import workspace_bytes

logger = logging.getLogger(__name__)

OnChunk = Callable[[int, int, HybridCache], None]
"""Called after each chunk with tokens done, tokens in all, and the cache."""

Look = Callable[[Sequence[int]], Tensor | None]
"""Gives the logits [v] after some further ids and forgets them; None if the cache is too full."""


class Guide(Protocol):
    """Has the last word on what may come next; serves one answer."""

    def __call__(self, generated: Sequence[int], logits: Tensor, look: Look) -> Tensor:
        """The logits [v] to choose from, -inf where a token may not come after `generated`."""

    def forced(self, generated: Sequence[int]) -> Sequence[int]:
        """The ids that can only follow `generated`, as far as there is no choice; no stop id."""


@dataclass(frozen=True, slots=True)
class Token:
    """One generated token; `is_stop` marks the one that ends the answer (not to be shown)."""

    id: int
    is_stop: bool = False


class Engine:
    """A loaded model on one device."""

    def __init__(
        self,
        model: JambaModel,
        device: torch.device,
        precision: Precision,
        directory: Path | None = None,
        setup: Setup | None = None,
    ) -> None:
        self.model = model
        self.precision = precision
        self.config: JambaConfig = model.config
        self.device = device
        if device.type == "cpu":
            # Decays of long-forgotten tokens get denormal, which CPUs multiply 100 times slower.
            torch.set_flush_denormal(True)
        self.directory = directory
        self.setup = setup
        self.decoder = Decoder(model, device)

    @classmethod
    def load(
        cls,
        name: str | Path,
        *,
        device: str = "auto",
        scheme: str | None = None,
        keep: Collection[str] = ALWAYS_KEPT,
        context: int | None = None,
        chunk_tokens: int | None = None,
        precision: Precision | None = None,
        on_bytes: OnBytes | None = None,
    ) -> Engine:
        """Loads a model by directory, embedded name, or Hub id that is already local.

        `scheme` is none, int8, fp8 or nf4; None takes what the files are in, or the first that
        fits the device with `context` tokens.  `keep` names the parts that stay in 16 bits.
        `precision` overrides what the device is best at (tests use exact fp32).  Raises
        ModelError and its kinds; MemoryFitError before anything is loaded; UsageError for a
        device that is not there.
        """
        directory = resolve(str(name))
        source = Source(str(name), JambaConfig.from_json(directory), directory)
        target = pick_device(device)
        wish = Wish(scheme, frozenset(keep), context, chunk_tokens)
        setup = prepare(source, target, wish, precision)
        model = load(source, target, setup, on_bytes)
        return cls(model, target, setup.precision, directory, setup)

    @classmethod
    def random(
        cls,
        config: JambaConfig,
        *,
        device: str = "auto",
        scheme: str | None = None,
        keep: Collection[str] = ALWAYS_KEPT,
        context: int | None = None,
        chunk_tokens: int | None = None,
    ) -> Engine:
        """An engine with random weights, for measuring a shape; raises MemoryFitError."""
        target = pick_device(device)
        wish = Wish(scheme, frozenset(keep), context, chunk_tokens)
        setup = prepare(Source("the model", config), target, wish)
        model = random_model(config, target, setup.precision, setup.quantization)
        return cls(model, target, setup.precision, setup=setup)

    @property
    def weights_nbytes(self) -> int:
        """Bytes of all parameters."""
        return sum(parameter.nbytes for parameter in self.model.parameters())

    @property
    def scheme(self) -> str:
        """The scheme that the weights are held in; "none" for plain tensors."""
        return "none" if self.setup is None else self.setup.plan.scheme

    @property
    def chunk_tokens(self) -> int:
        """The chunk size that suits the device and its free memory when the model was loaded."""
        return (
            CHUNK_TOKENS[self.device.type] if self.setup is None else self.setup.plan.chunk_tokens
        )

    def new_cache(self, max_tokens: int | None = None) -> HybridCache:
        """An empty cache for up to `max_tokens` tokens (the model's whole context if None)."""
        tokens = self.config.max_context if max_tokens is None else max_tokens
        dtype = self.model.activation_dtype
        return HybridCache.create(self.config, tokens, device=self.device, dtype=dtype)

    @torch.inference_mode()
    def prefill(
        self,
        token_ids: Sequence[int],
        cache: HybridCache,
        *,
        chunk_tokens: int | None = None,
        stops: Collection[int] = (),
        on_chunk: OnChunk | None = None,
    ) -> Tensor:
        """Reads tokens on top of what the cache holds.

        `stops` are positions of the cache at which a chunk ends too, and the next one begins as
        the first would: whoever goes on from there gets the same bits.  Returns the logits of
        the last token, [v] fp32.  Raises BudgetError when they do not fit the cache, before
        anything is computed.
        """
        ids = self._ids(token_ids)
        total = ids.shape[0]
        if total == 0:
            raise UsageError("nothing to read: the prompt has no tokens")
        self.check_room(cache, total)
        step = self.chunk_tokens if chunk_tokens is None else chunk_tokens
        offset = cache.position
        ends = sorted({stop - offset for stop in stops if 0 < stop - offset < total} | {total})
        logits, start = torch.empty(0), 0
        while start < total:
            step = self._affordable(step)
            end = min(start + step, next(each for each in ends if each > start))
            wanted = "last" if end == total else "none"
            logits = self.model(ids[start:end], cache, logits=wanted)
            start = end
            if on_chunk is not None:
                on_chunk(end, total, cache)
        return logits

    @torch.inference_mode()
    def generate(
        self,
        cache: HybridCache,
        logits: Tensor,
        params: SamplingParams,
        *,
        stop_ids: Collection[int] | None = None,
        prompt_ids: Sequence[int] = (),
        guide: Guide | None = None,
    ) -> Iterator[Token]:
        """Continues from `logits`, one token a step, until a stop id or `params.max_tokens`.

        `stop_ids` defaults to the config's; `prompt_ids` count as seen by the repetition
        penalty; `guide` has the last word on what may come next, and what it forces is read as
        one chunk.  Every token that is given out has been read into the cache, but for the stop.
        """
        stops = frozenset(self.config.eos_ids if stop_ids is None else stop_ids)
        sampler = Sampler(params, self.config.vocab_size, self.device, prompt_ids=prompt_ids)
        look, read = _LookAhead(self, cache), _Reader(self, cache)
        generated: list[int] = []
        top: Top | None = None
        while len(generated) < params.max_tokens:
            if guide is not None:
                logits, top = guide(generated, logits, look), None
            token = sampler.sample(logits, top)
            generated.append(token)
            if token in stops:
                yield Token(token, is_stop=True)
                return
            run = [token]
            if guide is not None:
                run += guide.forced(generated)[: params.max_tokens - len(generated)]
                generated += run[1:]
                sampler.saw(run[1:])
            self.check_room(cache, len(run))
            logits, top = read(run)
            yield from map(Token, run)

    @torch.inference_mode()
    def score(self, token_ids: Sequence[int], *, chunk_tokens: int | None = None) -> Tensor:
        """Logits after every token, [len, v] fp32, from an empty cache: for tests, perplexity."""
        ids = self._ids(token_ids)
        cache = self.new_cache(len(ids))
        step = self.chunk_tokens if chunk_tokens is None else chunk_tokens
        parts = [self.model(part, cache, logits="all") for part in ids.split(step)]
        return torch.cat(parts)

    def _affordable(self, chunk_tokens: int) -> int:
        """The chunk size, halved until what it needs is free: others may have taken memory."""
        free, size = memory.free_bytes(self.device), chunk_tokens
        while size > LEAST_CHUNK_TOKENS and self._workspace(size) > free:
            size = max(LEAST_CHUNK_TOKENS, size // 2)
        if size < chunk_tokens:
            logger.warning(
                "%.1f GB are free: reading %s tokens at a time instead of %s",
                free / 1e9, f"{size:,}", f"{chunk_tokens:,}",
            )  # fmt: skip
        return size

    def _workspace(self, chunk_tokens: int) -> int:
        dtype = self.model.activation_dtype
        setup = self.setup
        return workspace_bytes(
            self.config,
            chunk_tokens,
            cpu=self.device.type == "cpu",
            precision=Precision(dtype, dtype) if setup is None else setup.precision,
            quantization=None if setup is None else setup.quantization,
        )

    def _ids(self, token_ids: Sequence[int]) -> Tensor:
        ids = torch.tensor(token_ids, dtype=torch.long)
        if ids.numel() and not 0 <= int(ids.min()) <= int(ids.max()) < self.config.vocab_size:
            raise UsageError(
                f"token ids must lie in 0..{self.config.vocab_size - 1:,}",
                hint="tokenizer and model do not belong together",
            )
        return ids.to(self.device)

    @staticmethod
    def check_room(cache: HybridCache, tokens: int) -> None:
        """Raises BudgetError if the cache can't take so many tokens more."""
        if cache.position + tokens > cache.max_tokens:
            raise BudgetError(
                f"{cache.position:,} tokens read and {tokens:,} more do not fit a cache of "
                f"{cache.max_tokens:,}",
                hint="make the context larger or the input shorter",
            )


class _Reader:
    """Reads what one answer writes, single tokens by the captured step where there is one."""

    def __init__(self, engine: Engine, cache: HybridCache) -> None:
        self._engine, self._cache = engine, cache
        self._step: DecodeStep | None = None
        self._asked = False

    def __call__(self, token_ids: Sequence[int]) -> tuple[Tensor, Top | None]:
        """The logits after them, and how to get the likeliest token without a look at those."""
        if len(token_ids) > 1:
            return self._forward(token_ids), None
        if not self._asked:  # once an answer: whether the step still serves is not free to tell
            self._step, self._asked = self._engine.decoder.step(self._cache), True
        if self._step is None:
            return self._forward(token_ids), None
        self._step.run(self._cache, token_ids[0])
        return self._step.logits, self._step.top

    def _forward(self, token_ids: Sequence[int]) -> Tensor:
        engine = self._engine
        logits: Tensor = engine.model(engine._ids(token_ids), self._cache, logits="last")
        return logits


class _LookAhead:
    """Reads ids on top of a cache and comes back; one snapshot a place."""

    def __init__(self, engine: Engine, cache: HybridCache) -> None:
        self._engine, self._cache = engine, cache
        self._here: Snapshot | None = None

    def __call__(self, token_ids: Sequence[int]) -> Tensor | None:
        cache = self._cache
        if cache.position + len(token_ids) > cache.max_tokens:
            return None
        if self._here is None or self._here.position != cache.position:
            if self._here is not None:
                cache.forget(self._here)
            self._here = cache.snapshot()
        logits = self._engine.prefill(token_ids, cache)
        cache.restore(self._here)
        return logits
