"""The stages of training: align the mixers, distil the whole, learn the tasks, be rounded."""

from __future__ import annotations

import json
import logging
import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from runtime.distill import losses
from runtime.distill.batches import Batch, TaskRows, TextRows, copying_batch
from runtime.distill.initialize import initial_tensors
from runtime.distill.parallel import Clock, World
from runtime.distill.student import Student, StudentConfig
from runtime.distill.teacher import Teacher, unpermute_rope

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Plan:
    """How long each stage runs and how fast it learns; tokens are counted a process and step."""

    align_s: float = 60.0
    distil_s: float = 300.0
    tasks_s: float = 480.0
    rounded_s: float = 0.0  # a last stage that rounds; the tasks before it are then unrounded
    tokens: int = 32768
    text_length: int = 2048
    align_rate: float = 2e-3
    distil_rate: float = 1e-3
    tasks_rate: float = 6e-4
    rounded_rate: float = 1.5e-4
    alignment: float = 1.0  # how much hidden states are held together at first
    quantize_from: float = 1.0  # share of stage B after which its forward pass is quantized
    rest_ratio: float = 0.4  # the rate of copied weights (feed-forwards, norms) over the mixers'
    tasks_rest_ratio: float = 0.6
    copying_share: float = 0.1  # of the task stage, spent on dense copying and short documents
    language_every: int = 5  # every so many steps of the task stage distil on text instead
    tasks_every: int = 0  # every so many steps of stage B are tasks, lest they be forgotten
    text_shares: tuple[tuple[str, float], ...] = (("prose", 0.4), ("docs", 0.3), ("code", 0.3))
    length_shares: tuple[tuple[int, float], ...] = (
        (512, 0.06),
        (1024, 0.10),
        (2048, 0.18),
        (4096, 0.28),
        (8192, 0.38),
    )
    warm_up: int = 40
    save_every_s: float = 150.0
    max_steps: int = 10**9
    log_every: int = 50
    compile: bool = True
    seed: int = 0


class Trainer:
    """Holds teacher and student on one device and runs the stages."""

    def __init__(
        self, plan: Plan, world: World, config: StudentConfig, teacher: dict[str, Tensor]
    ) -> None:
        torch.manual_seed(plan.seed)
        self.plan, self.world, self.config = plan, world, config
        cuda = world.device.type == "cuda"
        dtype = torch.bfloat16 if cuda else torch.float32
        weights = unpermute_rope(teacher)
        self.teacher = Teacher(weights, config.layers, world.device, dtype)
        tensors = {k: v.to(world.device) for k, v in initial_tensors(config, weights).items()}
        self.student = Student(config, tensors, dtype)
        self.kl_piece: Callable[[Tensor, Tensor], tuple[Tensor, Tensor]] = losses.kl_piece
        self.relative_error: Callable[[Tensor, Tensor], Tensor] = losses.relative_error
        self.floored_error: Callable[[Tensor, Tensor], Tensor] = losses.floored_error
        if plan.compile and cuda:
            self.teacher.compile()
            self.student.compile()
            self.kl_piece = torch.compile(losses.kl_piece, dynamic=False)
            self.relative_error = torch.compile(losses.relative_error, dynamic=False)
            self.floored_error = torch.compile(losses.floored_error, dynamic=False)
        self.fused = cuda
        self.checkpoint: Path | None = None  # written every `save_every_s` while a stage runs
        self.saved_s = time.monotonic()
        self.chooser = np.random.default_rng(plan.seed + 7)

    def groups(
        self, rate: float, rest_ratio: float, *, mixers_only: bool = False
    ) -> list[dict[str, object]]:
        """Optimizer groups: mixers and the rest, each with and without weight decay."""
        groups: list[dict[str, object]] = []
        for is_mixer in (True,) if mixers_only else (True, False):
            named = {
                name: value
                for name, value in self.student.parameters.items()
                if (".mamba." in name or ".self_attn." in name) == is_mixer
            }
            base = rate if is_mixer else rate * rest_ratio
            for decayed in (True, False):
                chosen = [
                    value
                    for name, value in named.items()
                    if (value.dim() >= 2 and "A_log" not in name) == decayed
                ]
                decay = 0.01 if decayed else 0.0
                groups.append({"params": chosen, "weight_decay": decay, "lr": base, "base": base})
        return [group for group in groups if group["params"]]

    def optimizer(
        self, rate: float, rest_ratio: float, *, mixers_only: bool = False
    ) -> torch.optim.AdamW:
        """A fresh AdamW."""
        groups = self.groups(rate, rest_ratio, mixers_only=mixers_only)
        return torch.optim.AdamW(groups, betas=(0.9, 0.95), fused=self.fused)

    def set_rate(
        self, optimizer: torch.optim.AdamW, step: int, share: float, floor: float
    ) -> float:
        """Linear warm-up, then a cosine down to `floor`."""
        factor = min(1.0, (step + 1) / self.plan.warm_up)
        factor *= floor + (1 - floor) * 0.5 * (1 + math.cos(math.pi * share))
        for group in optimizer.param_groups:
            group["lr"] = group["base"] * factor
        return factor

    def update(self, optimizer: torch.optim.AdamW) -> Tensor:
        """Averages, clips and applies the gradients; returns their norm."""
        self.student.collect_gradients()
        parameters = [p for group in optimizer.param_groups for p in group["params"]]
        self.world.average_gradients(parameters)
        norm = torch.nn.utils.clip_grad_norm_(parameters, 1.0)
        optimizer.step()
        for parameter in self.student.parameters.values():
            parameter.grad = None
        self.student.refresh()
        return norm

    def to_device(self, array: np.ndarray) -> Tensor:
        """Token ids on the device."""
        return torch.from_numpy(array).to(self.world.device, non_blocking=True)

    def align(self, text: TextRows) -> None:
        """Stage A: every mixer regresses the teacher's attention block on the teacher's states."""
        plan, optimizer = self.plan, self.optimizer(self.plan.align_rate, 1.0, mixers_only=True)
        clock, meter = Clock(self.world, plan.align_s), Meter("align", self)
        count = plan.tokens // plan.text_length
        while (share := clock.tick()) < 1 and meter.step < plan.max_steps:
            self.set_rate(optimizer, meter.step, share, 0.1)
            ids = self.to_device(text.with_repeats(count, plan.text_length, 0.15))
            x = functional.embedding(ids.reshape(-1), self.teacher.embedding)
            errors = []
            for index in range(self.config.layers):
                traced = self.teacher.layer(index, x, count)
                output = self.student.mixer_output(index, x, count)
                loss = self.floored_error(output, traced.attended)
                loss.backward()
                errors.append(loss.detach())
                x = traced.hidden
            norm = self.update(optimizer)
            meter.add(ids.numel(), {"error": torch.stack(errors).mean(), "norm": norm})
        meter.close()

    def language_loss(self, ids: Tensor, alignment: float) -> dict[str, Tensor]:
        """KL to the teacher on ids [b, l], plus the layers' relative error if it is weighted."""
        target, states = self.teacher.forward(ids)
        errors: list[Tensor] = []

        def compare(index: int, hidden: Tensor) -> None:
            errors.append(self.relative_error(hidden, states[index]))

        hidden = self.student.forward(ids, compare if alignment > 0 else None)
        loss = losses.kl_loss(hidden, target, self.student.embedding, self.kl_piece)
        parts = {"kl": loss.detach()}
        if errors:
            error = torch.stack(errors).mean()
            loss = loss + alignment * error
            parts["error"] = error.detach()
        loss.backward()
        return parts

    def distil(self, text: TextRows, tasks: TaskRows | None = None) -> None:
        """Stage B: KL to the teacher, with hidden states held together at first."""
        plan, optimizer = self.plan, self.optimizer(self.plan.distil_rate, self.plan.rest_ratio)
        clock, meter = Clock(self.world, plan.distil_s), Meter("distil", self)
        count = plan.tokens // plan.text_length
        while (share := clock.tick()) < 1 and meter.step < plan.max_steps:
            self.set_rate(optimizer, meter.step, share, 0.05)
            self.quantize(share >= plan.quantize_from)
            if tasks is not None and meter.step % plan.tasks_every == plan.tasks_every - 1:
                size, parts = self.task_loss(text, tasks)
            else:
                ids = self.to_device(text.with_repeats(count, plan.text_length, 0.2))
                parts = self.language_loss(ids, plan.alignment * max(0.0, 1 - share / 0.6))
                size = ids.numel()
            parts["norm"] = self.update(optimizer)
            meter.add(size, parts)
            self.keep()
        meter.close()

    def learn_tasks(self, text: TextRows, tasks: TaskRows) -> None:
        """Stage C: answers to tasks, rounded unless a stage of its own for that follows."""
        plan = self.plan
        self.quantize(plan.rounded_s <= 0)
        self._learn("tasks", plan.tasks_s, plan.tasks_rate, text, tasks)

    def settle_rounded(self, text: TextRows, tasks: TaskRows) -> None:
        """Stage D: as C, rounded, from weights that were trained unrounded."""
        self.quantize(True)
        self._learn("rounded", self.plan.rounded_s, self.plan.rounded_rate, text, tasks)

    def _learn(
        self, stage: str, budget_s: float, rate: float, text: TextRows, tasks: TaskRows
    ) -> None:
        """Answers to tasks, with some distillation in between."""
        plan = self.plan
        optimizer = self.optimizer(rate, plan.tasks_rest_ratio)
        clock, meter = Clock(self.world, budget_s), Meter(stage, self)
        count = plan.tokens // plan.text_length
        while (share := clock.tick()) < 1 and meter.step < plan.max_steps:
            self.set_rate(optimizer, meter.step, share, 0.02)
            if meter.step % plan.language_every == plan.language_every - 1:
                ids = self.to_device(text.with_repeats(count, plan.text_length, 0.1))
                size, parts = ids.numel(), self.language_loss(ids, 0.0)
            else:
                opening = stage == "tasks" and share < plan.copying_share
                size, parts = self.task_loss(text, tasks, opening=opening)
            parts["norm"] = self.update(optimizer)
            meter.add(size, parts)
            self.keep()
        meter.close()

    def task_loss(
        self, text: TextRows, tasks: TaskRows, *, opening: bool = False
    ) -> tuple[int, dict[str, Tensor]]:
        """Cross-entropy of a batch of answers; how many tokens it had, and the loss by its kind."""
        batch, kind = self._task_batch(text, tasks, opening=opening)
        ids = batch.ids.to(self.world.device, non_blocking=True)
        weights = batch.weights.to(self.world.device, non_blocking=True)
        hidden = self.student.forward(ids)
        loss = losses.answer_loss(hidden, ids, weights, self.student.embedding)
        loss.backward()
        return ids.numel(), {kind: loss.detach()}

    def quantize(self, wanted: bool) -> None:
        """Turns the rounding of the forward pass on or off."""
        if self.student.quantize != wanted:
            self.student.quantize = wanted
            self.student.refresh()

    def _task_batch(self, text: TextRows, tasks: TaskRows, *, opening: bool) -> tuple[Batch, str]:
        plan, chooser = self.plan, self.chooser
        if chooser.random() < (0.5 if opening else 0.03):
            length = int(chooser.choice([1024, 2048] if opening else [4096, 8192]))
            length = min(length, plan.tokens)
            return copying_batch(text, plan.tokens // length, length), "copy"
        lengths = [pair for pair in plan.length_shares if pair[0] in tasks.arrays]
        if opening:
            lengths = [pair for pair in lengths if pair[0] <= 2048] or lengths
        odds = np.array([odd for _, odd in lengths])
        length = lengths[int(chooser.choice(len(lengths), p=odds / odds.sum()))][0]
        return tasks.batch(length, max(1, plan.tokens // length)), f"task{length}"

    def keep(self) -> None:
        """Writes the running stage's checkpoint if the last one is too old."""
        if self.checkpoint and time.monotonic() - self.saved_s > self.plan.save_every_s:
            self.save(self.checkpoint)

    def save(self, path: Path) -> None:
        """Writes the parameters whole or not at all, by the first process only."""
        self.saved_s = time.monotonic()
        if self.world.is_first:
            unfinished = path.with_suffix(".part")
            kept = {k: v.detach().cpu() for k, v in self.student.parameters.items()}
            torch.save(kept, unfinished)
            unfinished.replace(path)

    def load(self, stored: dict[str, Tensor]) -> None:
        """Goes on from these parameters; a `KeyError` or shape error if they are another model's.

        The embedding is the teacher's, as ever.
        """
        with torch.no_grad():
            for name, value in self.student.parameters.items():
                value.copy_(stored[name])
        self.student.refresh()


class Meter:
    """Counts steps and tokens of a stage and logs running means."""

    def __init__(self, stage: str, trainer: Trainer) -> None:
        self.stage, self.trainer = stage, trainer
        self.step = self.tokens = 0
        self.started_s = self.logged_s = time.monotonic()
        self.sums: dict[str, list[Tensor]] = {}

    def add(self, tokens: int, parts: dict[str, Tensor]) -> None:
        """One step's tokens and losses."""
        self.step += 1
        self.tokens += tokens * self.trainer.world.size
        for name, value in parts.items():
            self.sums.setdefault(name, []).append(value.detach().float())
        if self.step in (1, 3, 10) or self.step % self.trainer.plan.log_every == 0:
            self.log()

    def log(self) -> None:
        """Writes the means since the last log."""
        if self.sums and self.trainer.world.is_first:
            means = {k: round(torch.stack(v).mean().item(), 4) for k, v in self.sums.items()}
            elapsed = time.monotonic() - self.started_s
            logger.info(
                "%s step %d, %.2fM tokens, %.0f s: %s",
                *(self.stage, self.step, self.tokens / 1e6, elapsed, json.dumps(means)),
            )
        self.sums = {}

    def close(self) -> None:
        """Logs what the stage took."""
        self.log()
        elapsed = time.monotonic() - self.started_s
        if self.trainer.world.device.type == "cuda":
            peak = torch.cuda.max_memory_allocated() / 2**30
            logger.info("%s: peak %.1f GiB", self.stage, peak)
        logger.info(
            "%s done: %d steps, %d tokens, %.0f s, %.0f tokens/s",
            *(self.stage, self.step, self.tokens, elapsed, self.tokens / elapsed),
        )
