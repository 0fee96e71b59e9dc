"""The recipe's commands: `python -m runtime.distill <command>`; see README.md beside this."""

from __future__ import annotations

import argparse
import logging
import signal
import time
from dataclasses import replace
from pathlib import Path

from runtime.distill import corpus, dataset, evalset, export, packages, sensitivity, tokens
from runtime.distill.batches import TaskRows, TextRows
from runtime.distill.gguf import read_gguf
from runtime.distill.parallel import World
from runtime.distill.student import StudentConfig
from runtime.distill.train import Plan, Trainer

logger = logging.getLogger(__name__)

_SECONDS = ("align_s", "distil_s", "tasks_s", "rounded_s")
_COUNTS = ("tokens", "text_length", "max_steps", "language_every", "tasks_every", "log_every")
_RATES = ("distil_rate", "tasks_rate", "rounded_rate")
_SHARES = ("copying_share", "alignment", "quantize_from")
_KINDS = ("prose", "docs", "code")
_PLAN_OPTIONS = (*_SECONDS, *_COUNTS, *_RATES, *_SHARES)


def _train(args: argparse.Namespace) -> None:
    """Runs the stages that have seconds, each going on from the one before.

    SIGTERM ends the running stage as if its time were up, and leaves the later ones out; after
    SIGUSR1 they follow.
    """
    world = World()
    signal.signal(signal.SIGTERM, lambda *_: setattr(world, "ended", True))
    signal.signal(signal.SIGUSR1, lambda *_: setattr(world, "stage_ended", True))
    plan = Plan(seed=args.seed)
    given = {name: value for name in _PLAN_OPTIONS if (value := getattr(args, name)) is not None}
    if args.text_shares is not None:
        given["text_shares"] = tuple(zip(_KINDS, args.text_shares, strict=True))
    plan = replace(plan, **given)
    config = StudentConfig(layers=args.layers)
    trainer = Trainer(plan, world, config, read_gguf(args.teacher).tensors)
    if args.start_from is not None:
        trainer.load(export.read_weights(args.start_from))
    args.out.mkdir(parents=True, exist_ok=True)
    trainer.checkpoint = args.out / "running.pt"
    _wait_for(args.data / "text.done")
    stages = [name[:-2] for name in _SECONDS if getattr(plan, name) > 0]
    text = TextRows(args.data, plan.text_shares, args.seed + len(stages), world.rank)
    tasks = None
    logger.info("text tokens: %s", {kind: len(ids) for kind, ids in text.tokens.items()})
    for stage in stages:
        if stage in ("tasks", "rounded") or (stage == "distil" and plan.tasks_every > 0):
            _wait_for(args.data / "tasks.done")
            tasks = tasks or TaskRows(args.data / "tasks", args.seed, world.rank, world.size)
            logger.info("task tokens: %s", tasks.tokens())
        if stage == "align":
            trainer.align(text)
        elif stage == "distil":
            trainer.distil(text, tasks)
        elif tasks is not None:
            learn = trainer.learn_tasks if stage == "tasks" else trainer.settle_rounded
            learn(text, tasks)
        world.stage_ended = False
        trainer.save(args.out / f"{stage}.pt")
        if world.ended:
            break
    world.barrier()
    world.close()


def _wait_for(path: Path) -> None:
    """Data may still be in the making, in another process."""
    while not path.exists():
        time.sleep(0.5)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m runtime.distill", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)

    def command(name: str, *paths: str) -> argparse.ArgumentParser:
        made = commands.add_parser(name)
        for path in paths:
            made.add_argument(f"--{path}", type=Path, required=True)
        return made

    command("packages", "out")
    command("corpus", "packages", "out").add_argument("--held-out", action="store_true")
    command("tokenizer", "teacher", "out")
    data = command("data", "corpus", "tokenizer", "out")
    data.add_argument("--tokens", type=int, default=200_000_000)
    data.add_argument("--workers", type=int)
    data.add_argument("--seed", type=int, default=0)
    items = command("items", "corpus", "packages", "tokenizer", "out")
    items.add_argument("--size", type=float, default=1.0)
    items.add_argument("--lengths", type=int, nargs="+", default=evalset.NEEDLE_LENGTHS)
    exported = command("export", "checkpoint", "teacher", "tokenizer", "out")
    exported.add_argument("--unquantized", action="store_true", help="bf16, to compare with")
    asked = command("sensitivity", "model", "teacher", "corpus", "tokenizer")
    asked.add_argument("--extra-mb", type=float, default=8.0, help="for int8 instead of NF4")
    train = command("train", "teacher", "data", "out")
    train.add_argument("--start-from", type=Path, help="a checkpoint or an exported directory")
    train.add_argument("--layers", type=int, default=30)
    train.add_argument("--seed", type=int, default=0)
    shares = ", ".join(f"{kind} {share:g}" for kind, share in Plan().text_shares)
    help_text = f"how running text is drawn, whatever there is of each (default: {shares})"
    train.add_argument("--text-shares", nargs=3, type=float, metavar=_KINDS, help=help_text)
    for name in _PLAN_OPTIONS:
        kind = int if name in _COUNTS else float
        train.add_argument(f"--{name.replace('_', '-')}", type=kind)
    return parser


def main() -> None:
    """Runs one command."""
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s", datefmt="%H:%M:%S")
    args = _parser().parse_args()
    if args.command == "packages":
        try:
            packages.fetch(args.out)
        except packages.Missing as error:
            raise SystemExit(f"error: {error}") from None
    elif args.command == "corpus":
        corpus.build(args.packages, args.out, held_out=args.held_out)
    elif args.command == "tokenizer":
        tokens.save(*tokens.ranks_from_gguf(read_gguf(args.teacher).metadata), args.out)
    elif args.command == "data":
        shares = dict(Plan().length_shares)
        dataset.build(
            args.corpus,
            args.tokenizer,
            args.out,
            tokens=args.tokens,
            shares=shares,
            workers=args.workers,
            seed=args.seed,
        )
    elif args.command == "items":
        evalset.build(args.corpus, args.packages, args.tokenizer, args.out, args.size, args.lengths)
    elif args.command == "export":
        files = args.checkpoint, args.teacher, args.tokenizer, args.out
        export.export(*files, quantized=not args.unquantized)
    elif args.command == "sensitivity":
        paths = args.model, args.teacher, args.corpus, args.tokenizer
        sensitivity.report(*paths, extra_mb=args.extra_mb)
    else:
        _train(args)


if __name__ == "__main__":
    main()
