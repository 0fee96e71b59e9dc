"""Measures a student on held-out sources: `python -m runtime.distill.evaluate`."""

from __future__ import annotations

import argparse
import json
import logging
import math
import multiprocessing
import os
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from runtime import Engine
from runtime.distill import evalset
from runtime.distill.answering import Answering, read_answers
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
from runtime.tokenizer import Tokenizer

logger = logging.getLogger(__name__)
MAX_NEW, STOP = 640, 2


States = Callable[[Tensor], Tensor]
"""Token ids [l] -> logits [l, v]."""


@torch.no_grad()
def perplexities(
    ours: States, teacher: States, corpus: Path, tokenizer: Path, rows: int, length: int
) -> dict[str, dict[str, float]]:
    """Perplexity of both on held-out text of each kind, and by how much ours is higher."""
    encoding = read_encoding(tokenizer)
    texts = load(corpus)
    result = {}
    for kind in ("prose", "docs", "code"):
        ids: list[int] = []
        for text in texts:
            if text.kind == kind and len(ids) < rows * length * 6:
                ids += [*encoding.encode_ordinary(text.text[:8000]), 0]
        picked = np.random.default_rng(0).permutation(max(1, len(ids) // length))[:rows]
        losses = []
        for at in picked:
            row = torch.tensor(ids[at * length : (at + 1) * length])
            both = [
                float(functional.cross_entropy(model(row)[:-1].float().cpu(), row[1:]))
                for model in (ours, teacher)
            ]
            losses.append(both)
        nano, base = (math.exp(float(mean)) for mean in np.mean(losses, 0))
        result[kind] = {"nano": nano, "teacher": base, "over": nano / base - 1}
    return result


def read_teacher(path: Path, device: torch.device, dtype: torch.dtype) -> States:
    """The teacher's logits."""
    teacher = Teacher(unpermute_rope(read_gguf(path).tensors), 30, device, dtype)
    return lambda row: teacher.forward(row[None].to(device))[0] @ teacher.embedding.t()


def shared_answers(
    student: Student,
    items: Sequence[Item],
    numbers: Sequence[int],
    world: World,
    args: argparse.Namespace,
) -> dict[int, list[int]]:
    """Greedy answers to these items, shared among the processes through files."""
    mine, out = numbers[world.rank :: world.size], args.out
    made = generate(student, [items[i].ids for i in mine], MAX_NEW, STOP, args.batch)
    (out / f"answers.{world.rank}.json").write_text(json.dumps(dict(zip(mine, made, strict=True))))
    world.barrier()
    answers: dict[int, list[int]] = {}
    for rank in range(world.size):
        read = json.loads((out / f"answers.{rank}.json").read_text())
        answers |= {int(number): ids for number, ids in read.items()}
    return answers


def report(
    args: argparse.Namespace,
    items: Sequence[Item],
    ways: Mapping[str, dict[int, list[int]]],
    ours: States,
    device: torch.device,
) -> None:
    """Scores the answers and writes the tables and all answers."""
    encoding = read_encoding(args.tokenizer)
    tables: dict[str, object] = {}
    samples: dict[int, dict[str, object]] = {}
    for way, made in ways.items():
        numbers = sorted(made)
        logger.info("%s: %d answers", way, len(numbers))
        answers = [encoding.decode(made[number]) for number in numbers]
        picked = [items[number] for number in numbers]
        tables[way] = score(picked, answers, [made[number] for number in numbers], MAX_NEW)
        for number, item, answer in zip(numbers, picked, answers, strict=True):
            sample = samples.setdefault(number, {"kind": item.kind, "task": item.task})
            sample |= {"expected": item.expected, way: answer}
    if args.corpus is not None:
        dtype = torch.bfloat16 if device.type == "cuda" else torch.float32
        teacher = read_teacher(args.teacher, device, dtype)
        tables["perplexity"] = perplexities(
            ours, teacher, args.corpus, args.tokenizer, args.rows, 2048
        )
    (args.out / f"{args.name}.json").write_text(json.dumps(tables, indent=1))
    (args.out / f"{args.name}.samples.json").write_text(json.dumps(samples, indent=1))
    for way, table in tables.items():
        logger.info("%s %s:\n%s", args.name, way, json.dumps(table, indent=1))


def chosen(args: argparse.Namespace, items: Sequence[Item]) -> list[int]:
    """The numbers of the items that are asked for."""
    kind = [number for number, item in enumerate(items) if item.kind.startswith(args.kind)]
    return kind[:: args.every]


def answer_share(args: argparse.Namespace, worker: int) -> None:
    """Answers one worker's share of the items, in a process of its own or in this one."""
    torch.set_num_threads(max(1, (os.cpu_count() or 1) // args.workers))
    engine = Engine.load(args.checkpoint, device=args.device)
    encode = Tokenizer.load(args.checkpoint).encode_many
    ways = tuple(args.ways)
    answering = Answering(engine, encode, STOP, MAX_NEW, ways, worker, args.workers)
    log = args.out / f"{args.name}.{worker}.answers.jsonl"
    items = evalset.read(args.items)
    answering.answer_for(items, chosen(args, items), log, args.limit_s)


def run_exported(args: argparse.Namespace) -> None:
    """Answers with the runtime's engine in `workers` processes; then the tables."""
    started = time.monotonic()
    if args.workers == 1:
        answer_share(args, 0)
    else:
        context = multiprocessing.get_context("spawn")
        shares = [context.Process(target=answer_share, args=(args, n)) for n in range(args.workers)]
        for share in shares:
            share.start()
        for share in shares:
            share.join()
        if any(share.exitcode for share in shares):
            raise SystemExit("error: a process that answers failed; see above")
    logger.info("answers: %.0f s", time.monotonic() - started)
    logs = [args.out / f"{args.name}.{n}.answers.jsonl" for n in range(args.workers)]
    engine = Engine.load(args.checkpoint, device=args.device)
    items, made = evalset.read(args.items), read_answers(logs)
    report(args, items, made, lambda row: engine.score(row.tolist()), engine.device)


def run(args: argparse.Namespace) -> None:
    """An exported directory runs in the runtime's engine, a checkpoint in the trainer's decoder."""
    args.out.mkdir(parents=True, exist_ok=True)
    if args.checkpoint.is_dir():
        run_exported(args)
        return
    world = World()
    dtype = torch.bfloat16 if world.device.type == "cuda" else torch.float32
    student = load_student(args.checkpoint, args.teacher, world.device, dtype)
    student.quantize = not args.unquantized
    student.refresh()
    items = evalset.read(args.items)
    made = shared_answers(student, items, chosen(args, items), world, args)

    def logits(row: Tensor) -> Tensor:
        return prefill_hidden(student, row.to(world.device)) @ student.embedding.t()

    if world.is_first:
        report(args, items, {"free": made}, logits, world.device)
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
    parser.add_argument("--rows", type=int, default=24, help="of 2,048 tokens, a kind of text")
    parser.add_argument("--device", default="auto")
    parser.add_argument("--workers", type=int, default=1, help="processes that answer")
    parser.add_argument("--limit-s", type=float, default=1e9, help="stop answering after this")
    parser.add_argument(
        "--ways",
        nargs="+",
        choices=["guided", "free"],
        default=["guided", "free"],
        help="an exported directory's answers: as the command line gives them, and the model alone",
    )
    parser.add_argument("--kind", default="", help="only items whose kind begins so")
    parser.add_argument("--every", type=int, default=1)
    parser.add_argument("--batch", type=int, default=48)
    parser.add_argument("--unquantized", action="store_true")
    run(parser.parse_args())


if __name__ == "__main__":
    main()
