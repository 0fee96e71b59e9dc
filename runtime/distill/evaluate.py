"""Measures a student on held-out sources: `python -m runtime.distill.evaluate`."""

from __future__ import annotations

import argparse
import json
import logging
import math
import time
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from runtime.distill import evalset
from runtime.distill.corpus import load
from runtime.distill.decode import generate, prefill_hidden
from runtime.distill.evalset import Item
from runtime.distill.export import load_student
from runtime.distill.gguf import read_gguf
from runtime.distill.parallel import World
from runtime.distill.scoring import score
from runtime.distill.student import Student
from runtime.distill.teacher import Teacher, unpermute_rope
from runtime.distill.tokens import read_encoding

logger = logging.getLogger(__name__)
MAX_NEW, STOP = 640, 2


def _token_loss(hidden: Tensor, embedding: Tensor, labels: Tensor) -> float:
    logits = (hidden[:-1] @ embedding.t()).float()
    return float(F.cross_entropy(logits, labels))


@torch.no_grad()
def perplexities(
    student: Student, teacher: Teacher | None, corpus: Path, tokenizer: Path, rows: int, length: int
) -> dict[str, dict[str, float]]:
    """Perplexity of both on held-out text of each kind."""
    encoding = read_encoding(tokenizer)
    device = student.embedding.device
    texts = load(corpus)
    result = {}
    for kind in ("prose", "docs", "code"):
        ids: list[int] = []
        for text in texts:
            if text.kind == kind and len(ids) < rows * length * 6:
                ids += [*encoding.encode_ordinary(text.text[:8000]), 0]
        picked = np.random.default_rng(0).permutation(max(1, len(ids) // length))[:rows]
        sums = {"student": 0.0, "teacher": 0.0}
        for at in picked:
            row = torch.tensor(ids[at * length : (at + 1) * length], device=device)
            sums["student"] += _token_loss(prefill_hidden(student, row), student.embedding, row[1:])
            if teacher is not None:
                hidden = teacher.forward(row[None])[0]
                sums["teacher"] += _token_loss(hidden, teacher.embedding, row[1:])
        means = {name: math.exp(total / len(picked)) for name, total in sums.items()}
        result[kind] = {**means, "over": means["student"] / means["teacher"] - 1}
    return result


def answer_all(
    student: Student, items: list[Item], tokenizer: Path, world: World, out: Path, batch: int
) -> tuple[list[str], list[list[int]]]:
    """Greedy answers to all items, shared among the processes through files."""
    encoding = read_encoding(tokenizer)
    mine = list(range(world.rank, len(items), world.size))
    made = generate(student, [items[i].ids for i in mine], MAX_NEW, STOP, batch)
    (out / f"answers.{world.rank}.json").write_text(json.dumps(dict(zip(mine, made, strict=True))))
    world.barrier()
    ids: list[list[int]] = [[] for _ in items]
    for rank in range(world.size):
        for index, tokens in json.loads((out / f"answers.{rank}.json").read_text()).items():
            ids[int(index)] = tokens
    return [encoding.decode(tokens) for tokens in ids], ids


def run(args: argparse.Namespace) -> None:
    """Evaluates one checkpoint and writes `<name>.json` and `<name>.samples.json`."""
    world = World()
    started = time.monotonic()
    dtype = torch.bfloat16 if world.device.type == "cuda" else torch.float32
    student = load_student(args.checkpoint, args.teacher, world.device, dtype)
    student.quantize = not args.unquantized
    student.refresh()
    items = evalset.read(args.items)[:: args.every]
    answers, ids = answer_all(student, items, args.tokenizer, world, args.out, args.batch)
    if world.is_first:
        table: dict[str, object] = dict(score(items, answers, ids, MAX_NEW))
        if args.corpus is not None:
            weights = unpermute_rope(read_gguf(args.teacher).tensors)
            teacher = Teacher(weights, student.config.layers, world.device, dtype)
            table["perplexity"] = perplexities(
                student, teacher, args.corpus, args.tokenizer, args.rows, 2048
            )
        (args.out / f"{args.name}.json").write_text(json.dumps(table, indent=1))
        samples = [
            {"kind": item.kind, "task": item.task, "expected": item.expected, "answer": answer}
            for item, answer in zip(items, answers, strict=True)
        ]
        (args.out / f"{args.name}.samples.json").write_text(json.dumps(samples, indent=1))
        for name, value in table.items():
            logger.info("%s %s: %s", args.name, name, value)
        logger.info("%s: %d prompts, %.0f s", args.name, len(items), time.monotonic() - started)
    world.close()


def main() -> None:
    """Parses the command line."""
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s", datefmt="%H:%M:%S")
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("checkpoint", type=Path, help="a .pt checkpoint or an exported directory")
    parser.add_argument("--teacher", type=Path, required=True)
    parser.add_argument("--items", type=Path, required=True)
    parser.add_argument("--tokenizer", type=Path, required=True)
    parser.add_argument("--corpus", type=Path)
    parser.add_argument("--out", type=Path, default=Path())
    parser.add_argument("--name", default="evaluation")
    parser.add_argument("--rows", type=int, default=24)
    parser.add_argument("--every", type=int, default=1)
    parser.add_argument("--batch", type=int, default=48)
    parser.add_argument("--unquantized", action="store_true")
    run(parser.parse_args())


if __name__ == "__main__":
    main()
