"""The benchmark beside transformers: what stands in for packages, and that it is really used."""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from torch.nn import functional

from runtime.config import JambaConfig
from runtime.ops.selective_scan import reference
from runtime.shapes import SHAPES
from tests import fake_scan
from tests.benchmarks import peer_transformers

ROOT = Path(__file__).parents[1]


def test_what_stands_in_for_the_peers_convolution():
    generator = torch.Generator().manual_seed(0)
    x, weight, bias = (
        torch.randn(shape, generator=generator) for shape in ((1, 6, 9), (6, 4), (6,))
    )
    conv = functional.conv1d(x, weight[:, None], bias, padding=3, groups=6)[..., :9]
    whole = peer_transformers.conv_fn(x, weight, bias, activation="silu")
    torch.testing.assert_close(whole, functional.silu(conv))
    state = x[..., 5:8].clone()
    last = peer_transformers.conv_update(x[..., 8], state, weight, bias, "silu")
    torch.testing.assert_close(last, whole[..., 8])
    assert torch.equal(state, x[..., 6:])


def test_what_stands_in_for_the_peers_scan(monkeypatch):
    monkeypatch.setitem(sys.modules, "selective_scan_cuda", fake_scan)
    generator = torch.Generator().manual_seed(0)
    u, dt, z, B, C, A, D, bias = (
        torch.randn(shape, generator=generator)
        for shape in ((9, 6), (9, 6), (9, 6), (9, 4), (9, 4), (4, 6), (6,), (6,))
    )
    A, state = -A.exp(), torch.zeros(4, 6)
    wanted = reference.selective_scan(u, dt, A, B, C, D, z, bias, state)
    across = [x.t()[None] for x in (u, dt, z, B, C)]  # transposed views, as transformers has them
    got, last = peer_transformers.scan_fn(
        *across[:2], A.t(), *across[3:], D=D, z=across[2], delta_bias=bias,
        delta_softplus=True, return_last_state=True,
    )  # fmt: skip
    torch.testing.assert_close(got[0].t(), wanted)
    torch.testing.assert_close(last[0].t(), state)


@pytest.mark.skipif(
    importlib.util.find_spec("mamba_ssm") is not None, reason="mamba-ssm is installed"
)
def test_transformers_runs_the_extension_where_the_package_is_missing(tmp_path):
    (tmp_path / "selective_scan_cuda.py").write_text("from tests.fake_scan import fwd\n")
    command = [sys.executable, "-m", "tests.benchmarks.peer_transformers", "--shape", "tiny"]
    command += ["--device", "cpu", "--tokens", "8", "--repeats", "1", "--json"]
    places = os.pathsep.join([str(tmp_path), *os.environ.get("PYTHONPATH", "").split(os.pathsep)])
    environ = os.environ | {"PYTHONPATH": places, "OMP_NUM_THREADS": "1"}
    environ.pop("TRITON_INTERPRET", None)
    done = subprocess.run(
        command, cwd=ROOT, env=environ, capture_output=True, text=True, timeout=240
    )
    found = json.loads(done.stdout)
    assert "their_error" not in found
    assert found["scan_stands_in"]
    config = JambaConfig.from_dict(
        {**SHAPES["tiny"], "num_hidden_layers": peer_transformers.LAYERS}, source="tiny"
    )
    assert found["scan_calls"] == 2 * config.count("mamba")  # once to warm up
