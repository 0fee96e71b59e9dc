"""Compiles every kernel for an H100 without a GPU and prints what each takes, as JSON.

A process of its own: the kernels must be imported without the interpreter, and the driver of
Triton is replaced.  The operations themselves are called, on CPU tensors of the shapes of a
Jamba Mini, so that what is compiled is what they would launch; nothing runs.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import tempfile
from importlib import import_module
from pathlib import Path
from typing import Any

import torch
import triton
from triton.backends.compiler import GPUTarget
from triton.runtime.jit import JITFunction

BINARIES = Path(triton.__file__).parent / "backends/nvidia/bin"


class NoDriver:
    """What Triton asks of a driver before it launches."""

    def get_current_target(self) -> GPUTarget:
        return GPUTarget("cuda", 90, 32)

    def get_current_device(self) -> int:
        return 0

    def get_current_stream(self, device: int) -> int:
        return 0

    def get_active_torch_device(self) -> torch.device:
        return torch.device("cpu")


def usage(cubin: bytes) -> dict[str, int]:
    """Registers, and bytes of stack, which is where registers are spilled to."""
    with tempfile.NamedTemporaryFile(suffix=".cubin") as file:
        file.write(cubin)
        file.flush()
        command = [BINARIES / "cuobjdump", "--dump-resource-usage", file.name]
        text = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    found = {name: int(value) for name, value in re.findall(r"(REG|STACK|SHARED):(\d+)", text)}
    return {"registers": found["REG"], "stack": found["STACK"], "shared": found["SHARED"]}


def main() -> None:
    """Runs the cases of `tests.kernels.cases` and prints one record a compiled kernel."""
    triton.runtime.driver.set_active(NoDriver())
    launch, records = JITFunction.run, []
    case = ""

    def compile_only(self: Any, *args: Any, grid: Any, warmup: bool, **options: Any) -> Any:
        kernel = launch(self, *args, grid=grid, warmup=True, **options)
        records.append({"case": case, "kernel": self.__name__, **usage(kernel.asm["cubin"])})
        if directory := os.environ.get("KEEP_CUBINS"):
            path = Path(directory) / f"{case}-{len(records)}.cubin"
            path.write_bytes(kernel.asm["cubin"])
        return kernel

    JITFunction.run = compile_only
    cases = import_module("tests.kernels.cases").COMPILED
    for case, call in cases.items():
        if len(sys.argv) == 1 or case.startswith(tuple(sys.argv[1:])):
            call()
    sys.stdout.write(json.dumps(records))


if __name__ == "__main__":
    main()
