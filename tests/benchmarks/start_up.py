"""From the command to the first prefilled chunk, with quantized weights in the page cache.

    python -m tests.benchmarks.start_up [--shape mini] [--scheme int8] [--folder DIR] [--json]

A checkpoint of random numbers is written as `jamba quantize` would write it (52 GB for mini), then
`jamba ask` reads one chunk of text and generates one token: `first_chunk_s` is the whole life of
that process, so an upper bound.  It runs twice, as the first run may have to compile kernels.
The folder is /dev/shm where that has room: files there are page cache and nothing else.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

os.environ.setdefault("GOMP_SPINCOUNT", "20000")  # as the command line does, before torch

import torch
from torch import Tensor, nn

from runtime.config import JambaConfig
from runtime.convert import SHARD_BYTES, Shard, _shards
from runtime.devices import Precision
from runtime.formats import LAYOUT, METHOD
from runtime.hub import INDEX
from runtime.quantization import named
from runtime.shapes import _CODE_SPREAD, SHAPES, _fill
from runtime.tensor_file import make_header
from tests.tiny_model import write_model

BLOCK = 64 << 20
WRITERS = 8
MEMORY = Path("/dev/shm")


def values_of(name: str, shard: Shard, scheme: str) -> Tensor | None:
    """What a parameter holds; None for codes, whose bytes are all noise."""
    entry, leaf = shard.entries[name], name.rpartition(".")[2]
    if leaf.endswith("codes"):
        return None
    data = torch.empty(entry.shape, dtype=entry.dtype)
    if leaf.endswith("scale"):
        k = shard.entries[name.removesuffix("scale") + "codes"].shape[-1]
        return data.fill_(k**-0.5 / _CODE_SPREAD[scheme])
    _fill(leaf, nn.Parameter(data, requires_grad=False), torch.Generator().manual_seed(0))
    return data


def write_shard(folder: Path, shard: Shard, scheme: str, noise: memoryview) -> int:
    """Writes one file; returns its bytes."""
    header, placed = make_header(shard.entries, {"scheme": scheme})
    with (folder / shard.name).open("wb", buffering=0) as file:
        file.write(header)
        for name, entry in sorted(placed.items(), key=lambda each: each[1].start):
            file.seek(entry.start)
            values = values_of(name, shard, scheme)
            if values is not None:
                _write(file, values.view(-1).view(torch.uint8).numpy().data)
                continue
            for start in range(0, entry.nbytes, BLOCK):
                _write(file, noise[: min(BLOCK, entry.nbytes - start)])
        return file.tell()


def _write(file: Any, data: memoryview) -> None:
    while data:
        data = data[file.write(data) :]


def write_checkpoint(folder: Path, shape_name: str, scheme: str) -> int:
    """Writes weights, config and a tokenizer of bytes; returns the bytes of the weights."""
    config = JambaConfig.from_dict(SHAPES[shape_name], source=shape_name)
    quantization = named(scheme)
    assert quantization is not None
    precision = Precision(torch.bfloat16, torch.bfloat16)
    noise = torch.randint(-127, 128, (BLOCK,), dtype=torch.int8).view(torch.uint8).numpy().data
    write_model(folder)
    (folder / "model.safetensors").unlink()
    shards = _shards(config, quantization, precision, SHARD_BYTES)
    with ThreadPoolExecutor(WRITERS) as pool:
        sizes = list(pool.map(lambda each: write_shard(folder, each, scheme, noise), shards))
    weight_map = {name: shard.name for shard in shards for name in shard.entries}
    (folder / INDEX).write_text(json.dumps({"metadata": {}, "weight_map": weight_map}))
    identity = {"quant_method": METHOD, "layout": LAYOUT, **quantization.as_json(),
                "kept_dtype": "bfloat16", "source": "random"}  # fmt: skip
    values = {**SHAPES[shape_name], "dtype": "bfloat16", "quantization_config": identity,
              "bos_token_id": None, "eos_token_id": 257}  # fmt: skip
    (folder / "config.json").write_text(json.dumps(values))
    return sum(sizes)


def ask(folder: Path, text: Path, device: str) -> dict[str, Any]:
    """Runs the command line on one chunk of text; raises RuntimeError with what it said."""
    command = [sys.executable, "-m", "jamba_cli", "ask", str(text), "What is this?"]
    command += ["--model", str(folder), "--device", device, "--max-tokens", "1"]
    command += ["--no-save", "--json"]
    started = time.monotonic()
    done = subprocess.run(command, capture_output=True, text=True)
    seconds = time.monotonic() - started
    if done.returncode not in (0, 1):
        raise RuntimeError(f"jamba ask ended with {done.returncode}: {done.stderr[-500:]}")
    values = json.loads(done.stdout)
    return {"seconds": seconds, "timings_s": values["timings_s"], "tokens": values["tokens"]}


def place(nbytes: float) -> Path:
    """A folder with room, in memory if there is one."""
    if MEMORY.is_dir() and shutil.disk_usage(MEMORY).free > nbytes:
        return MEMORY
    return Path(tempfile.gettempdir())


def main() -> None:
    """Prints one object or a line a figure."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--shape", default="mini")
    parser.add_argument("--scheme", default="int8", choices=("int8", "nf4"))
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--bytes", type=int, default=15_000, help="of text, a token each")
    parser.add_argument("--folder", type=Path)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    needed = {"mini": 54e9}.get(options.shape, 4e9)
    folder = options.folder or place(needed)
    with tempfile.TemporaryDirectory(dir=folder) as own, tempfile.TemporaryDirectory() as other:
        started = time.monotonic()
        nbytes = write_checkpoint(Path(own), options.shape, options.scheme)
        written_s = time.monotonic() - started
        text = Path(other) / "text.txt"
        text.write_text(("A line of words that says little.\n" * 4096)[: options.bytes])
        runs = [ask(Path(own), text, options.device) for _ in range(2)]
    found = {"first_chunk_s": runs[-1]["seconds"], "runs": runs, "nbytes": nbytes,
             "written_s": written_s, "folder": str(folder)}  # fmt: skip
    if options.json:
        print(json.dumps(found))
        return
    for name, value in found.items():
        print(f"{name:16}{value}")


if __name__ == "__main__":
    main()
