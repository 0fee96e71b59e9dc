"""Token ids in, token ids out: loading, prefill chunk by chunk, generation."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import torch
from torch import Tensor

from runtime.cache import HybridCache, Snapshot
from runtime.config import JambaConfig
from runtime.devices import Precision, pick_device, pick_precision
from runtime.errors import BudgetError, UsageError
from runtime.memory import check_room
from runtime.model import JambaModel
from runtime.models import resolve
from runtime.sampling import Sampler, SamplingParams
from runtime.shapes import parameter_bytes, random_model
from runtime.weights import OnBytes, load_model

CHUNK_TOKENS = {"cpu": 1024, "cuda": 16_384, "mps": 2_048}
"""Tokens a prefill chunk: enough to be bound by arithmetic, few enough for their workspace."""

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
        self, model: JambaModel, device: torch.device, directory: Path | None = None
    ) -> None:
        self.model = model
        self.config: JambaConfig = model.config
        self.device = device
        if device.type == "cpu":
            # Decays of long-forgotten tokens get denormal, which CPUs multiply 100 times slower.
            torch.set_flush_denormal(True)
        self.directory = directory

    @classmethod
    def load(
        cls,
        name: str | Path,
        *,
        device: str = "auto",
        precision: Precision | None = None,
        on_bytes: OnBytes | None = None,
    ) -> Engine:
        """Loads a model by directory, embedded name, or Hub id that is already local.

        `precision` overrides what the device is best at (tests use exact fp32).  Raises
        ModelError and its kinds; UsageError for a device that is not there.
        """
        directory = resolve(str(name))
        config = JambaConfig.from_json(directory)
        target = pick_device(device)
        chosen = precision or pick_precision(config, target)
        check_room(parameter_bytes(config, chosen), target)
        model = load_model(directory, config, device=target, precision=chosen, on_bytes=on_bytes)
        return cls(model, target)

    @classmethod
    def random(cls, config: JambaConfig, *, device: str = "auto") -> Engine:
        """An engine with random weights, for measuring a shape; raises MemoryFitError."""
        target = pick_device(device)
        precision = pick_precision(config, target)
        check_room(parameter_bytes(config, precision), target)
        return cls(random_model(config, target, precision), target)

    @property
    def weights_nbytes(self) -> int:
        """Bytes of all parameters."""
        return sum(parameter.nbytes for parameter in self.model.parameters())

    @property
    def chunk_tokens(self) -> int:
        """The chunk size that suits the device."""
        return CHUNK_TOKENS[self.device.type]

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
        on_chunk: OnChunk | None = None,
    ) -> Tensor:
        """Reads tokens on top of what the cache holds.

        Returns the logits of the last token, [v] fp32.  Raises BudgetError when they do not fit
        the cache, before anything is computed.
        """
        ids = self._ids(token_ids)
        total = ids.shape[0]
        if total == 0:
            raise UsageError("nothing to read: the prompt has no tokens")
        self._check_room(cache, total)
        step = self.chunk_tokens if chunk_tokens is None else chunk_tokens
        logits = torch.empty(0)
        for start in range(0, total, step):
            end = min(start + step, total)
            wanted = "last" if end == total else "none"
            logits = self.model(ids[start:end], cache, logits=wanted)
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
        look = _LookAhead(self, cache)
        generated: list[int] = []
        while len(generated) < params.max_tokens:
            if guide is not None:
                logits = guide(generated, logits, look)
            token = sampler.sample(logits)
            generated.append(token)
            if token in stops:
                yield Token(token, is_stop=True)
                return
            run = [token]
            if guide is not None:
                run += guide.forced(generated)[: params.max_tokens - len(generated)]
                generated += run[1:]
                sampler.saw(run[1:])
            self._check_room(cache, len(run))
            logits = self.model(self._ids(run), cache, logits="last")
            yield from map(Token, run)

    @torch.inference_mode()
    def score(self, token_ids: Sequence[int], *, chunk_tokens: int | None = None) -> Tensor:
        """Logits after every token, [len, v] fp32, from an empty cache: for tests, perplexity."""
        ids = self._ids(token_ids)
        cache = self.new_cache(len(ids))
        step = self.chunk_tokens if chunk_tokens is None else chunk_tokens
        parts = [self.model(part, cache, logits="all") for part in ids.split(step)]
        return torch.cat(parts)

    def _ids(self, token_ids: Sequence[int]) -> Tensor:
        ids = torch.tensor(token_ids, dtype=torch.long)
        if ids.numel() and not 0 <= int(ids.min()) <= int(ids.max()) < self.config.vocab_size:
            raise UsageError(
                f"token ids must lie in 0..{self.config.vocab_size - 1:,}",
                hint="tokenizer and model do not belong together",
            )
        return ids.to(self.device)

    @staticmethod
    def _check_room(cache: HybridCache, tokens: int) -> None:
        if cache.position + tokens > cache.max_tokens:
            raise BudgetError(
                f"{cache.position:,} tokens read and {tokens:,} more do not fit a cache of "
                f"{cache.max_tokens:,}",
                hint="make the context larger or the input shorter",
            )


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
            self._here = cache.snapshot()
        logits = self._engine.prefill(token_ids, cache)
        cache.restore(self._here)
        return logits
