"""From logits to the next token: greedy, or drawn from a filtered distribution."""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from runtime.errors import ModelError, UsageError

# Sorting a whole vocabulary costs milliseconds on a CPU; top-p rarely needs more than this many.
FIRST_CANDIDATES = 1024

Top = Callable[[], tuple[int, float]]
"""Waits for the likeliest token and its logit, which is not finite if any logit is NaN."""


@dataclass(frozen=True)
class SamplingParams:
    """How to choose tokens, and when to stop; UsageError names a field that makes no sense.

    Filters apply in the order temperature, top-k, top-p, min-p; 0 (1 for top-p) turns one off.
    """

    max_tokens: int = 512
    temperature: float = 0.0  # 0: always the likeliest token
    top_p: float = 1.0
    top_k: int = 0
    min_p: float = 0.0  # relative to the likeliest token's probability
    repetition_penalty: float = 1.0
    seed: int | None = None
    stop: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        _require(_is_int(self.max_tokens) and self.max_tokens >= 1, "max_tokens", "at least 1")
        _require(_is_finite(self.temperature) and self.temperature >= 0, "temperature", ">= 0")
        _require(_is_finite(self.top_p) and 0 < self.top_p <= 1, "top_p", "over 0 and at most 1")
        _require(_is_int(self.top_k) and self.top_k >= 0, "top_k", "0 (off) or more")
        _require(_is_finite(self.min_p) and 0 <= self.min_p <= 1, "min_p", "from 0 to 1")
        penalty = self.repetition_penalty
        _require(_is_finite(penalty) and penalty > 0, "repetition_penalty", "over 0 (1 is off)")
        _require(self.seed is None or _is_int(self.seed), "seed", "a whole number")
        texts = isinstance(self.stop, tuple) and all(isinstance(s, str) and s for s in self.stop)
        _require(texts, "stop", "a tuple of texts that are not empty")


def _require(holds: bool, name: str, rule: str) -> None:
    if not holds:
        raise UsageError(f"{name} must be {rule}")


def _is_int(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _is_finite(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


class Sampler:
    """Chooses one token after another; keeps the random numbers and the tokens seen so far.

    The random number is drawn on the host, so a seed means the same on every device. `prompt_ids`
    are tokens that the repetition penalty counts as seen from the start.
    """

    def __init__(
        self,
        params: SamplingParams,
        vocab_size: int,
        device: torch.device | str = "cpu",
        prompt_ids: Iterable[int] = (),
    ) -> None:
        self.params = params
        self._vocab_size = vocab_size
        self._random = random.Random(params.seed)
        self._seen: Tensor | None = None
        if params.repetition_penalty != 1:
            self._seen = torch.zeros(vocab_size, dtype=torch.bool, device=device)
            ids = sorted(set(prompt_ids))
            if ids and not 0 <= ids[0] <= ids[-1] < vocab_size:
                raise UsageError(f"prompt_ids reach outside the vocabulary of {vocab_size}")
            self._seen[torch.tensor(ids, dtype=torch.long, device=device)] = True

    def sample(self, logits: Tensor, top: Top | None = None) -> int:
        """The next token's id from logits [vocab] fp32; ModelError if they are NaN or infinite.

        `top` gives the id and the logit of the likeliest token, where that is known already.
        """
        if logits.shape != (self._vocab_size,):
            raise ModelError(
                f"logits have shape {tuple(logits.shape)}, the vocabulary has {self._vocab_size}"
            )
        scores = penalized(logits.float(), self._seen, self.params.repetition_penalty)
        if top is None or self._seen is not None:
            best = int(scores.argmax())
            highest = float(scores[best])
        else:
            best, highest = top()
        if not math.isfinite(highest):  # argmax takes a NaN for the highest
            kind = "not numbers (NaN)" if math.isnan(highest) else "infinite"
            raise ModelError(
                f"the model's logits are {kind}",
                hint="the weights are damaged, or the dtype's range is too small for this model",
            )
        token = best if self.params.temperature == 0 else self._draw(scores, highest)
        if self._seen is not None:
            self._seen[token] = True
        return token

    def saw(self, token_ids: Sequence[int]) -> None:
        """Counts tokens that were not sampled here as seen by the repetition penalty."""
        if self._seen is not None:
            self._seen[list(token_ids)] = True

    def _draw(self, scores: Tensor, highest: float) -> int:
        # Less the highest first: a tiny temperature would overflow otherwise.
        weights = ((scores - highest) / self.params.temperature).softmax(-1)
        ids, kept = candidates(weights, self.params)
        sums = running_sums(kept)
        target = self._random.random() * float(sums[-1])
        place = int(torch.searchsorted(sums, torch.full_like(sums[:1], target), right=True))
        if place == len(kept):  # rounding took the target to the end
            place = int(kept.nonzero().max())
        return int(place if ids is None else ids[place])


def penalized(logits: Tensor, seen: Tensor | None, penalty: float) -> Tensor:
    """Logits [vocab] with those of seen tokens made smaller: divided if positive, else times."""
    if seen is None:
        return logits
    lowered = torch.where(logits > 0, logits / penalty, logits * penalty)
    return torch.where(seen, lowered, logits)


def candidates(weights: Tensor, params: SamplingParams) -> tuple[Tensor | None, Tensor]:
    """What the filters leave of probabilities [vocab]: ids and probabilities, the likeliest first.

    Ids are None where only min-p or nothing filters: probabilities then keep their places [vocab],
    and their device; what is filtered further is on the host.
    Of equally likely tokens the lower ids stay. Top-p keeps the fewest tokens that reach it,
    counted among what top-k left.
    """
    size = weights.shape[0]
    if params.top_p == 1 and not 0 < params.top_k < size:
        return None, torch.where(weights >= params.min_p * weights.max(), weights, 0)
    count = min(params.top_k or size, size)
    first = count if params.top_k else min(count, FIRST_CANDIDATES)
    ids, kept = _on_host(weights, likeliest(weights, first))
    if first < count and float(kept.sum()) < params.top_p + 1e-3:
        ids, kept = _on_host(weights, likeliest(weights, count))
    floor = params.min_p * kept[0]
    if params.top_p < 1:
        sums = running_sums(kept)
        total = float(sums[-1]) if params.top_k else 1.0
        chosen = sums - kept < params.top_p * total
        ids, kept = ids[chosen], kept[chosen]
    chosen = kept >= floor
    return ids[chosen], kept[chosen]


def _on_host(weights: Tensor, ids: Tensor) -> tuple[Tensor, Tensor]:
    """Ids and their weights in the host's memory: a GPU would be waited for at each filter."""
    return ids.cpu(), weights[ids].cpu()


def running_sums(weights: Tensor) -> Tensor:
    """Cumulative sums [n], in fp64 where the device has it."""
    return weights.cumsum(-1, dtype=torch.float32 if weights.is_mps else torch.float64)


def likeliest(weights: Tensor, count: int) -> Tensor:
    """The ids of the `count` highest of [vocab], highest first, equal ones by id."""
    if count * 8 > weights.shape[0]:
        return weights.sort(descending=True, stable=True).indices[:count]
    edge = weights.topk(count).values[-1]
    near = (weights >= edge).nonzero().squeeze(-1)  # in order of id, with all that equal the last
    order = weights[near].sort(descending=True, stable=True).indices[:count]
    return near[order]
