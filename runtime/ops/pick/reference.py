"""The pick in PyTorch."""

from __future__ import annotations

from torch import Tensor


def pick(scores: Tensor, logits: Tensor, picked: Tensor, inputs: Tensor) -> None:
    """Writes the results of a step from the head's scores [1, v].

    logits [v] fp32 become the scores; picked [2] fp64 the id of the highest, of equal ones the
    first, and its logit, which is not finite if there is any NaN; inputs [2] int64, the token and
    the position of a step, become those of the next one, if it reads what was picked.
    """
    logits.copy_(scores[0])
    best = logits.argmax()
    picked[0], picked[1] = best, logits[best]
    inputs[0] = best
    inputs[1] += 1
