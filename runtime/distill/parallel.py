"""Plain data parallelism: one process a GPU, gradients averaged after each step."""

from __future__ import annotations

import math
import os
import time
from collections.abc import Iterable

import torch
import torch.distributed as dist
from torch import Tensor


class World:
    """The processes that train together; started by torchrun, or alone."""

    def __init__(self) -> None:
        self.size = int(os.environ.get("WORLD_SIZE", "1"))
        self.rank = int(os.environ.get("RANK", "0"))
        self.ended = False  # asked to stop early: the running stage is the last
        self.stage_ended = False  # asked to go on with the next stage
        cuda = torch.cuda.is_available()
        self.device = torch.device("cuda", self.rank) if cuda else torch.device("cpu")
        if cuda:
            torch.cuda.set_device(self.device)
        if self.size > 1 and not dist.is_initialized():
            dist.init_process_group("nccl" if cuda else "gloo")

    @property
    def is_first(self) -> bool:
        """Whether this process logs and saves."""
        return self.rank == 0

    def average_gradients(self, parameters: Iterable[Tensor]) -> None:
        """Replaces every gradient by its mean over the processes."""
        if self.size == 1:
            return
        grads = [p.grad for p in parameters if p.grad is not None]
        flat = torch.cat([grad.reshape(-1) for grad in grads])
        dist.all_reduce(flat)
        flat /= self.size
        for grad, part in zip(grads, flat.split([g.numel() for g in grads]), strict=True):
            grad.copy_(part.view_as(grad))

    def agree(self, value: float) -> float:
        """The first process's value, everywhere."""
        if self.size == 1:
            return value
        shared = torch.tensor(value, dtype=torch.float64, device=self.device)
        dist.broadcast(shared, 0)
        return float(shared)

    def barrier(self) -> None:
        """Waits for all."""
        if self.size > 1:
            dist.barrier()

    def close(self) -> None:
        """Leaves the group."""
        if self.size > 1:
            dist.destroy_process_group()


class Clock:
    """The share of a time budget that is used up, agreed upon every few steps.

    The warm-up steps, in which kernels are compiled, are not counted: time starts after them.
    """

    def __init__(self, world: World, budget_s: float, warm_steps: int = 4, every: int = 20) -> None:
        self.world, self.budget_s = world, budget_s
        self.warm_steps, self.every = warm_steps, every
        self.step, self.share, self.rate = 0, 0.0, 0.0
        self.started_s = time.monotonic()

    def tick(self) -> float:
        """Counts a step; returns the share of the budget used, in [0, 1]."""
        self.step += 1
        counted = self.step - self.warm_steps
        if counted == 0:
            self._synchronize()
            self.started_s = time.monotonic()
        elif counted > 0 and (counted % self.every == 0 or counted == 3):
            self._synchronize()
            elapsed = time.monotonic() - self.started_s
            early = self.world.ended or self.world.stage_ended
            used = math.inf if early else elapsed / self.budget_s
            self.share = self.world.agree(used)
            self.rate = self.share / counted
        elif counted > 0:
            self.share += self.rate
        return min(self.share, 1.0)

    def _synchronize(self) -> None:
        if self.world.device.type == "cuda":
            torch.cuda.synchronize()
