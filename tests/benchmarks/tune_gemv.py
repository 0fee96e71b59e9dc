"""Which programs suit a decode step's products: `python -m tests.benchmarks.tune_gemv mini int8`.

The step is captured and timed with each choice of warps and split for each number of tiles that
`quant.ops.gemv.tensor_cores.SETTINGS` tells apart; what is faster by more than the noise is kept
while the next number is tried.  Prints the table that was found.
"""

from __future__ import annotations

import sys
from collections.abc import Callable

import torch

from quant.ops.gemv import tensor_cores
from quant.ops.gemv.tensor_cores import SETTINGS, SETTINGS_OF, Settings
from runtime.decode import Decoder
from runtime.engine import Engine
from runtime.shapes import shape
from tests.benchmarks.decode_step import noisy_cache, step_ms

CHOICES = ((4, 1), (4, 2), (4, 4), (8, 1), (8, 2), (8, 4), (8, 8), (2, 2), (16, 8))
CONTEXT = 8192
TRIES = 3
NOISE_MS = 0.003


def search(
    settings: Settings, measure: Callable[[Settings], float]
) -> tuple[Settings, float, list[str]]:
    """Number of tiles after number of tiles; the best table, its milliseconds, and a line each."""
    best, lowest, lines = dict(settings), measure(settings), []
    for least in settings:
        tried = []
        for choice in CHOICES:
            if choice == best[least]:
                continue
            candidate = best | {least: choice}
            milliseconds = measure(candidate)
            tried.append(f"{choice} {milliseconds:.3f}")
            if milliseconds < lowest - NOISE_MS:
                best, lowest = candidate, milliseconds
        lines.append(f"{least:>5} {best[least]} {lowest:.3f} ms; tried {', '.join(tried)}")
    return best, lowest, lines


def main() -> None:
    """The shape and the scheme that the arguments name."""
    name, scheme = sys.argv[1:]
    engine = Engine.random(shape(name), device="cuda", scheme=scheme, context=CONTEXT)
    cache = noisy_cache(engine, CONTEXT)

    def measure(settings: Settings) -> float:
        """Milliseconds of a step."""
        tensor_cores.SETTINGS, tensor_cores.SETTINGS_OF = settings, {}
        step = Decoder(engine.model, engine.device).step(cache)
        assert step is not None, "the step could not be captured"
        times = []
        for _ in range(TRIES):
            cache.filled(CONTEXT)
            times.append(step_ms(step, cache))
        return min(times)

    dtype = {"nf4": torch.uint8, "fp8": torch.float8_e4m3fn}.get(scheme, torch.int8)
    with torch.inference_mode():
        best, lowest, lines = search(SETTINGS_OF.get(dtype, SETTINGS), measure)
    print(f"{torch.cuda.get_device_name()}, torch {torch.__version__}, {name} {scheme}")
    print(*lines, sep="\n")
    print(f"{best}: {lowest:.3f} ms")


if __name__ == "__main__":
    main()
