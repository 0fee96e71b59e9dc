"""Every kernel compiles for an H100, which needs no GPU, and keeps its values in registers."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from functools import cache
from pathlib import Path

import pytest

triton = pytest.importorskip("triton")

from tests.kernels.cases import COMPILED  # noqa: E402

BINARIES = Path(triton.__file__).parent / "backends/nvidia/bin"

pytestmark = pytest.mark.skipif(
    not all(shutil.which(BINARIES / name) for name in ("ptxas", "cuobjdump")),
    reason="this triton brings no ptxas",
)


@cache
def records() -> list[dict[str, object]]:
    """One a kernel and call."""
    command = [sys.executable, "-W", "ignore", "-m", "tests.kernels.compile_for_sm90"]
    environment = os.environ | {"TRITON_INTERPRET": "0"}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    found: list[dict[str, object]] = json.loads(done.stdout)
    return found


@pytest.mark.parametrize("case", COMPILED)
def test_a_kernel_compiles_and_keeps_its_values_in_registers(case):
    found = [record for record in records() if record["case"] == case]
    assert found
    for record in found:
        assert record["stack"] == 0, record
