"""What each scheme costs in exactness: `python -m tests.benchmarks.quantization_error [--write]`.

Noise of the weights themselves, and how far the logits of nano move.  With --write the table in
docs/concepts/quantization.md is replaced.
"""

from __future__ import annotations

import sys
from pathlib import Path

import torch
from torch import Tensor

from jamba_cli.show_bench import hardware
from quant.ops.dequantize import dequantize
from quant.schemes import CPU_SCHEMES, SCHEMES, Scheme
from runtime.devices import EXACT
from runtime.engine import Engine
from runtime.models import resolve
from runtime.tokenizer import Tokenizer
from tests.helpers import divergence, gaussian, heavy_tailed, sqnr_db

PAGE = Path(__file__).parents[2] / "docs" / "concepts" / "quantization.md"
TEXT = Path(__file__).parents[2] / "docs" / "reading-long-documents.md"
BEGIN, END = "<!-- errors -->\n", "<!-- end of errors -->"
TOKENS = 512


def noise(scheme: Scheme) -> list[str]:
    """Signal to noise of both kinds of weights."""
    weights = (gaussian(), heavy_tailed())
    values = (sqnr_db(w, dequantize(scheme.quantize(w), torch.float32)) for w in weights)
    return [f"{value:.1f} dB" for value in values]


def logits(scheme: str, ids: list[int]) -> tuple[Tensor, Engine]:
    """Logits of nano in fp32 with weights held in a scheme."""
    engine = Engine.load("nano", device="cpu", precision=EXACT, scheme=scheme)
    return engine.score(ids), engine


def table() -> str:
    """The table in Markdown, with the machine below."""
    ids = Tokenizer.load(resolve("nano")).encode(TEXT.read_text(encoding="utf-8"))[:TOKENS]
    exact, engine = logits("none", ids)
    lines = [
        "| scheme | bits a weight | noise, Gaussian | noise, heavy-tailed | nano: KL of the logits "
        "| nano: same likeliest token |",
        "|---|--:|--:|--:|--:|--:|",
    ]
    for name, scheme in (SCHEMES | CPU_SCHEMES).items():
        shape = (4096, 4096)
        bits = f"{8 * scheme.nbytes(shape) / (4096 * 4096):.2f}"
        cells = [f"`{name}`", bits, *noise(scheme), "0, it is stored so", "100 %"]
        if name != "nf4":
            moved, _ = logits(name, ids)
            same = (moved.argmax(-1) == exact.argmax(-1)).double().mean().item()
            cells[4:] = [f"{divergence(exact, moved).mean():.1e} nats", f"{100 * same:.1f} %"]
        lines.append(f"| {' | '.join(cells)} |")
    lines.append(f"\n{len(ids)} tokens of `docs/{TEXT.name}`; {hardware(engine)}.\n")
    return "\n".join(lines)


def main() -> None:
    """Prints the table, or puts it into the page."""
    text = table()
    print(text)
    if "--write" in sys.argv[1:]:
        before, _, rest = PAGE.read_text(encoding="utf-8").partition(BEGIN)
        after = rest.partition(END)[2]
        PAGE.write_text(f"{before}{BEGIN}{text}{END}{after}", encoding="utf-8")


if __name__ == "__main__":
    main()
