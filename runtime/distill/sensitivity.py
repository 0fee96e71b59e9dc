"""Which projections need more than four bits: how far noise as large as NF4's moves the output.

One tensor at a time gets noise, and the KL of the next-token distributions to those without it is
taken for what four bits cost there.  A trained model is asked, rounded or not: its own rounding
cannot be taken back.
"""

from __future__ import annotations

import logging
import random
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor
from torch.nn import functional

from quant.ops.nf4 import BLOCK_SIZE
from runtime.distill import export, forms
from runtime.distill.corpus import load
from runtime.distill.student import Student
from runtime.distill.tokens import read_encoding

logger = logging.getLogger(__name__)

NOISE = 0.092
"""NF4's error over the root mean square of its block, for normally distributed weights."""

EXTRA_BYTES = 1 - (0.5 + 2 / BLOCK_SIZE)
"""What int8 takes more than NF4 with fp16 scales, a weight."""

ROWS = {"prose": 2, "docs": 1, "code": 1}


@dataclass(frozen=True, slots=True)
class Cost:
    """What four bits cost in one tensor: nats a token, and the bytes that int8 adds."""

    name: str
    kl: float
    extra_bytes: float


def rows_of_text(corpus: Path, tokenizer: Path, length: int, seed: int = 0) -> Tensor:
    """Token ids [rows, length] of texts drawn from a corpus."""
    encode = read_encoding(tokenizer).encode_ordinary
    texts = load(corpus)
    random.Random(seed).shuffle(texts)
    rows: list[list[int]] = []
    for kind, count in ROWS.items():
        long = (
            ids for text in texts if text.kind == kind and len(ids := encode(text.text)) > length
        )
        rows += [next(long)[:length] for _ in range(count)]
    return torch.tensor(rows)


def distribution(student: Student, ids: Tensor) -> Tensor:
    """Log-probabilities of the next tokens, [t, v]."""
    with torch.no_grad():
        return functional.log_softmax(student.forward(ids) @ student.embedding.t(), -1)


def noisy(weight: Tensor, seed: int) -> Tensor:
    """A weight [n, k] with noise as large as NF4's in each of its blocks."""
    generator = torch.Generator().manual_seed(seed)
    blocks = weight.detach().unflatten(-1, (-1, BLOCK_SIZE))
    size = NOISE * blocks.square().mean(-1, keepdim=True).sqrt()
    moved: Tensor = blocks + size * torch.randn(blocks.shape, generator=generator)
    return moved.flatten(-2)


def measure(student: Student, ids: Tensor) -> list[Cost]:
    """Every projection's cost on ids [rows, length], the dearest for its bytes first."""
    whole = distribution(student, ids)
    costs: list[Cost] = []
    for name, weight in student.parameters.items():
        if forms.form_of(name) is None:
            continue
        with student.replaced(name, noisy(weight, len(costs))):
            moved = distribution(student, ids)
        kl = float((whole.exp() * (whole - moved)).sum(-1).mean())
        costs.append(Cost(name, kl, weight.numel() * EXTRA_BYTES))
        logger.info("%s: %.5f", name, kl)
    return sorted(costs, key=lambda cost: cost.kl / cost.extra_bytes, reverse=True)


def choose(costs: list[Cost], extra_bytes: float) -> list[Cost]:
    """What goes to int8 within so many more bytes: each that still fits, in the given order."""
    chosen: list[Cost] = []
    for cost in costs:
        if cost.extra_bytes <= extra_bytes:
            extra_bytes -= cost.extra_bytes
            chosen.append(cost)
    return chosen


def layers_by_part(costs: list[Cost]) -> dict[str, tuple[int, ...]]:
    """As `forms.INT8` has it."""
    layers: dict[str, list[int]] = {}
    for cost in costs:
        *_, layer, _, part, _ = cost.name.split(".")
        layers.setdefault(part, []).append(int(layer))
    return {part: tuple(sorted(numbers)) for part, numbers in layers.items()}


def report(model: Path, teacher: Path, corpus: Path, tokenizer: Path, extra_mb: float) -> None:
    """Logs every cost and the choice for a budget."""
    student = export.load_student(model, teacher, torch.device("cpu"), torch.float32)
    costs = measure(student, rows_of_text(corpus, tokenizer, length=384))
    chosen = choose(costs, extra_mb * 1e6)
    saved = sum(cost.kl for cost in chosen)
    total = sum(cost.kl for cost in costs)
    logger.info("%.4f nats together, %.4f of them where int8 is worth its bytes:", total, saved)
    logger.info("%s", layers_by_part(chosen))
