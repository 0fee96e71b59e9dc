"""Losses over a large vocabulary, computed in pieces so that the logits never exist at once."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

CHUNK = 8192


def kl_piece(student: Tensor, teacher: Tensor) -> tuple[Tensor, Tensor]:
    """Summed KL(teacher || student) of logits [c, v], and its gradient by the student's."""
    ours, theirs = (
        functional.log_softmax(student.float(), -1),
        functional.log_softmax(teacher.float(), -1),
    )
    weight = theirs.exp()
    return (weight * (theirs - ours)).sum(), (ours.exp() - weight).to(student.dtype)


class _FusedKl(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, *inputs: Any) -> Tensor:
        hidden, target, embedding, piece = inputs
        grad = torch.empty_like(hidden)
        total = torch.zeros((), device=hidden.device)
        for at in range(0, len(hidden), CHUNK):
            part = slice(at, at + CHUNK)
            loss, slope = piece(hidden[part] @ embedding.t(), target[part] @ embedding.t())
            total = total + loss
            grad[part] = slope @ embedding
        ctx.save_for_backward(grad)
        ctx.count = len(hidden)
        return total / len(hidden)

    @staticmethod
    def backward(ctx: Any, *grads: Any) -> Any:
        (grad,) = ctx.saved_tensors
        return grad * (grads[0] / ctx.count).to(grad.dtype), None, None, None


def kl_loss(
    hidden: Tensor,
    target: Tensor,
    embedding: Tensor,
    piece: Callable[[Tensor, Tensor], tuple[Tensor, Tensor]] = kl_piece,
) -> Tensor:
    """Mean KL to the teacher's next-token distribution; hidden and target [t, d]."""
    result: Tensor = _FusedKl.apply(hidden, target, embedding, piece)  # type: ignore[no-untyped-call]
    return result


class _FusedCrossEntropy(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, *inputs: Tensor) -> Tensor:
        hidden, labels, weights, embedding = inputs
        grad = torch.empty_like(hidden)
        total = torch.zeros((), device=hidden.device)
        for at in range(0, len(hidden), CHUNK):
            part = slice(at, at + CHUNK)
            logs = functional.log_softmax((hidden[part] @ embedding.t()).float(), -1)
            rows = torch.arange(len(logs), device=logs.device)
            total = total - (logs[rows, labels[part]] * weights[part]).sum()
            slope = logs.exp_()
            slope[rows, labels[part]] -= 1
            grad[part] = (slope * weights[part, None]).to(hidden.dtype) @ embedding
        ctx.save_for_backward(grad)
        return total

    @staticmethod
    def backward(ctx: Any, *grads: Any) -> Any:
        (grad,) = ctx.saved_tensors
        return grad * grads[0].to(grad.dtype), None, None, None


def answer_loss(hidden: Tensor, ids: Tensor, weights: Tensor, embedding: Tensor) -> Tensor:
    """Cross-entropy of the tokens with a weight, averaged; hidden [t, d], ids, weights [b, l].

    The weight of a token is that of predicting it.
    """
    places = (weights[:, 1:] > 0).nonzero()
    at = places[:, 0] * ids.shape[1] + places[:, 1]
    flat_weights = weights[places[:, 0], places[:, 1] + 1]
    labels = ids[places[:, 0], places[:, 1] + 1].long()
    share = flat_weights / flat_weights.sum().clamp_min(1e-6)
    inputs = hidden[at], labels, share, embedding
    result: Tensor = _FusedCrossEntropy.apply(*inputs)  # type: ignore[no-untyped-call]
    return result


def relative_error(ours: Tensor, theirs: Tensor) -> Tensor:
    """Mean log(1 + |e|^2 / |t|^2) over tokens [t, d]."""
    wide = theirs.float()
    return torch.log1p((ours.float() - wide).pow(2).sum(-1) / wide.pow(2).sum(-1)).mean()


def floored_error(ours: Tensor, theirs: Tensor) -> Tensor:
    """Mean |e|^2 / (|t|^2 + mean |t|^2): bounded where the target is nearly zero."""
    wide = theirs.float()
    sizes = wide.pow(2).sum(-1)
    return ((ours.float() - wide).pow(2).sum(-1) / (sizes + sizes.mean())).mean()
