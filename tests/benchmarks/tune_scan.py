"""Which programs suit the selective scan: `python -m tests.benchmarks.tune_scan [KERNEL.py]`.

Each choice of `BLOCK_E` and `BLOCK_L` in `runtime.ops.selective_scan.kernel` is compared with the
reference, at a length that fills no block, and timed at a Jamba Mini's shape in bf16.  A choice
that does not compile prints why, and the others go on.  A file with another kernel, such as an
older one from git, is timed first, to compare.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib.util import module_from_spec, spec_from_file_location
from types import ModuleType
from typing import Any

import torch
from torch import Tensor
from triton.errors import TritonError
from triton.runtime.jit import JITFunction

from runtime.ops.selective_scan import kernel, reference

CHOICES = ((8, 16), (4, 8), (4, 16), (4, 32), (8, 8), (8, 32), (16, 8), (16, 16))
LENGTHS = (16384, 8192, 1024, 1)
RAGGED = 500
TRIES = 5
E, N = 8192, 16

Scan = Callable[..., Tensor]
Case = tuple[dict[str, Tensor], Tensor, Tensor]
"""Arguments, and the y and the state that are wanted."""


def inputs(l: int) -> dict[str, Tensor]:
    """u and z, and B and C, are halves of wider rows, as the model's are."""
    g = torch.Generator("cuda").manual_seed(l)

    def draw(*shape: int, dtype: torch.dtype = torch.float32) -> Tensor:
        return torch.randn(*shape, generator=g, device="cuda").to(dtype)

    u, z = draw(l, 2 * E, dtype=torch.bfloat16).chunk(2, -1)
    B, C = draw(l, 2 * N, dtype=torch.bfloat16).chunk(2, -1)
    return {
        "u": u, "dt": 2 * draw(l, E, dtype=torch.bfloat16), "A": -draw(N, E).exp(), "B": B, "C": C,
        "D": draw(E), "z": z, "dt_bias": draw(E), "state": draw(N, E),
    }  # fmt: skip


@contextmanager
def compiled() -> Iterator[list[Any]]:
    """What Triton launches meanwhile, for the registers that it takes."""
    launch, kernels = JITFunction.run, []

    def run(self: Any, *args: Any, **options: Any) -> Any:
        kernels.append(launch(self, *args, **options))
        return kernels[-1]

    JITFunction.run = run
    try:
        yield kernels
    finally:
        JITFunction.run = launch


def errors(scan: Scan, small: Case) -> tuple[float, float]:
    """Root mean square error of y and of the state, as shares of theirs."""
    given, y, last = small
    state = given["state"].clone()
    got = scan(**given | {"state": state})
    return (
        ((got.float() - y.float()).norm() / y.float().norm()).item(),
        ((state - last).norm() / last.norm()).item(),
    )


def nanoseconds(scan: Scan, given: dict[str, Tensor]) -> float:
    """Of a token: the best replay of a captured row of calls, so that the host takes no part."""
    l, times = given["u"].shape[0], []
    count = max(4, min(200, 65536 // l))
    scan(**given)
    torch.cuda.synchronize()
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        for _ in range(count):
            scan(**given)
    for _ in range(TRIES):
        start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
        start.record()
        graph.replay()
        end.record()
        end.synchronize()
        times.append(float(start.elapsed_time(end)) * 1e6 / count / l)
    return min(times)


def line(module: ModuleType, small: Case, sets: list[dict[str, Tensor]]) -> str:
    """Errors, registers and times of the kernel as it is set; why, if it doesn't compile."""
    try:
        with compiled() as kernels:
            off = errors(module.selective_scan, small)
            times = [nanoseconds(module.selective_scan, given) for given in sets]
    except (TritonError, RuntimeError) as error:
        return f"{type(error).__name__}: {str(error)[-300:]}"
    longest = kernels[1]  # the first was launched to be compared
    usage = f"{longest.n_regs} registers, {longest.n_spills} spilled"
    figures = ", ".join(f"l={l} {ns:.1f}" for l, ns in zip(LENGTHS, times, strict=True))
    return f"ns a token: {figures}; {usage}; off by {off[0]:.1e} (y) {off[1]:.1e} (state)"


def other(path: str) -> ModuleType:
    """The module in a file."""
    spec = spec_from_file_location("other_scan", path)
    if spec is None or spec.loader is None:
        sys.exit(f"{path} is no Python file")
    module = module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def main() -> None:
    """The kernel that the argument names, then every choice."""
    print(f"{torch.cuda.get_device_name()}, torch {torch.__version__}", flush=True)
    given = inputs(RAGGED)
    last = given["state"].clone()
    small = (given, reference.selective_scan(**given | {"state": last}), last)
    sets = [inputs(l) for l in LENGTHS]
    for path in sys.argv[1:]:
        print(path, line(other(path), small, sets), flush=True)
    for choice in CHOICES:
        kernel.BLOCK_E, kernel.BLOCK_L = choice
        print(choice, line(kernel, small, sets), flush=True)


if __name__ == "__main__":
    with torch.inference_mode():
        main()
