"""The plan beside the measured peak: `python -m tests.benchmarks.memory_plan`.

Every line is a process of its own that loads a model and reads a prompt on the CPU; what it had
resident before is not counted.  On a GPU `tests.benchmarks.gpu_session` does this.
"""

from __future__ import annotations

import subprocess
import sys

CASES = (
    ("nano", "none", 2048),
    ("nano", "w8a8", 2048),
    ("nano", "int8", 2048),
    ("nano", "nf4", 2048),
    ("tiny", "none", 1024),
    ("tiny", "w8a8", 1024),
    ("tiny", "int8", 1024),
)


def measure(model: str, scheme: str, context: int) -> None:
    """Loads, reads, prints one line."""
    import psutil
    import torch

    from runtime import memory
    from runtime.engine import Engine
    from runtime.shapes import shape

    before = psutil.Process().memory_info().rss
    if model == "nano":
        engine = Engine.load(model, device="cpu", scheme=scheme, context=context)
    else:
        engine = Engine.random(shape(model), device="cpu", scheme=scheme, context=context)
    generator = torch.Generator().manual_seed(0)
    ids = torch.randint(0, engine.config.vocab_size, (context,), generator=generator)
    engine.prefill(ids.tolist(), engine.new_cache(context))
    measured = memory.host_peak_bytes() - before
    assert engine.setup is not None
    plan = engine.setup.plan
    planned = plan.total - plan.headroom
    print(
        f"{model:<6} {scheme:<5} {context:>6,}  {planned / 1e6:>7.0f} MB  {measured / 1e6:>7.0f} MB"
        f"  {100 * (planned / measured - 1):>+5.1f} %"
    )


def main() -> None:
    """All cases, or the one that the arguments name."""
    if len(sys.argv) == 4:
        measure(sys.argv[1], sys.argv[2], int(sys.argv[3]))
        return
    print(f"{'model':<6} {'in':<5} {'tokens':>6}  {'planned':>10}  {'measured':>10}  {'off':>7}")
    for case in CASES:
        subprocess.run([sys.executable, "-m", __spec__.name, *map(str, case)], check=True)


if __name__ == "__main__":
    main()
