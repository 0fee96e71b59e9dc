"""`jamba plan`, `jamba quantize` and --scheme from the command line."""

from __future__ import annotations

import json
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from entry_point import ROOT, hermetic_environ

from tests.tiny_model import checkpoint_shapes, write_model

GOLDEN = ROOT / "tests" / "golden"


@pytest.fixture
def model(tmp_path) -> Path:
    return write_model(tmp_path / "model")


PLAN_KEYS = {
    "scheme", "keep", "chunk_tokens", "weights", "kv_cache", "ssm_state", "workspace", "headroom",
    "total", "fits", "longest_context_tokens",
}  # fmt: skip


def test_the_plan_of_mini_on_80_gb(here):
    value = json.loads(here("plan", "--shape", "mini", "--gpu-memory", "80", "--json").stdout)
    assert set(value) == {
        "schema_version", "command", "model", "device", "available_bytes", "context_tokens",
        "plans", "chosen",
    }  # fmt: skip
    assert (value["schema_version"], value["command"], value["device"]) == (1, "plan", "cuda")
    assert all(set(plan) == PLAN_KEYS for plan in value["plans"])
    assert value["chosen"]["scheme"] == "fp8"
    assert value["chosen"] in value["plans"]
    fits = {(p["scheme"], "mamba" in p["keep"]): p["fits"] for p in value["plans"]}
    assert fits == {
        ("none", False): False, ("fp8", False): True, ("int8", False): True, ("nf4", False): True,
        ("fp8", True): True, ("int8", True): True, ("nf4", True): True,
    }  # fmt: skip


def test_the_table_says_what_is_picked_and_fits_80_columns(here):
    done = here("plan", "--shape", "mini", "--gpu-memory", "80")
    assert done.returncode == 0
    lines = done.stdout.splitlines()
    assert lines[1].split() == [
        "weights", "cache", "workspace", "total", "fits", "longest", "scheme",
    ]  # fmt: skip
    assert lines[-1] == "picked: fp8, 16,384 tokens at a time"
    assert max(map(len, lines)) <= 80


def test_a_model_that_is_not_here_is_planned_by_its_shape(here):
    done = here("plan", "--model", "jamba2-mini", "--gpu-memory", "80", "--json")
    assert json.loads(done.stdout)["chosen"]["scheme"] == "fp8"
    assert here("plan", "--model", "jamba2-minni", "--gpu-memory", "80").returncode == 6


@pytest.mark.parametrize(
    ("argv", "hint"),
    [
        (("--shape", "mini", "--gpu-memory", "80", "--scheme", "none"), "--scheme fp8"),
        (("--shape", "mini", "--gpu-memory", "34"), "--context "),
        (("--shape", "large", "--gpu-memory", "80"), "no scheme fits"),
    ],
)
def test_what_does_not_fit_is_exit_5_with_the_nearest_that_does(here, argv, hint):
    done = here("plan", *argv)
    assert done.returncode == 5
    assert "weights" in done.stdout  # the table is shown all the same
    assert f"hint: {hint}" in done.stderr or f"hint: this fits: {hint}" in done.stderr
    as_json = here("plan", *argv, "--json")
    assert as_json.returncode == 5
    assert json.loads(as_json.stdout)["chosen"] is None


def test_the_plan_of_a_model_on_this_machine(here, model):
    value = json.loads(here("plan", "--model", str(model), "--device", "cpu", "--json").stdout)
    assert value["device"] == "cpu"
    assert value["chosen"]["scheme"] == "none"
    assert value["context_tokens"] == 2000
    too_long = here("plan", "--model", str(model), "--context", "4k")
    assert too_long.returncode == 2
    assert "was made for 2,000 tokens" in too_long.stderr


def test_quantize_then_ask(jamba, model, tmp_path):
    done = jamba("quantize", str(model), "small", "--scheme", "int8")
    assert (done.returncode, done.stdout) == (0, "small\n"), done.stderr
    assert done.stderr.startswith("quantize: ")
    again = jamba("quantize", str(model), "small", "--scheme", "int8", "--json")
    value = json.loads(again.stdout)
    assert (value["written"], value["scheme"], value["keep"]) == (False, "int8", ["head"])
    (tmp_path / "note.txt").write_text("The kettle is blue.")
    argv = ("ask", "note.txt", "Which colour?", "--max-tokens", "3", "--json", "--model")
    written = json.loads(jamba(*argv, "small").stdout)
    loaded = json.loads(jamba(*argv, str(model), "--scheme", "int8").stdout)
    plain = json.loads(jamba(*argv, str(model)).stdout)
    assert written["answer"] == loaded["answer"]
    weights = [value["memory_bytes"]["weights"] for value in (written, loaded, plain)]
    assert weights[0] == weights[1] < weights[2]
    assert "weights in int8" in jamba(*argv[:5], "--model", "small").stderr


def test_quantize_refuses_by_exit_code(here, model, tmp_path):
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "thesis.tex").write_text("x")
    done = here("quantize", str(model), "full", "--scheme", "int8")
    assert done.returncode == 2
    assert "full is not empty" in done.stderr
    assert here("quantize", "nowhere", "to", "--scheme", "int8").returncode == 6
    assert here("quantize", str(model), "to", "--scheme", "none").returncode == 2
    assert here("quantize", str(model), "to").returncode == 2


def test_keep_and_lm_head_are_written_down(here, tmp_path):
    source = str(GOLDEN / "default")
    argv = ("quantize", source, "a", "--scheme", "int8", "--keep", "mamba", "--lm-head", "--json")
    assert json.loads(here(*argv).stdout)["keep"] == ["mamba"]
    index = json.loads((tmp_path / "a" / "model.safetensors.index.json").read_text())["weight_map"]
    assert "lm_head.codes" in index
    assert "layers.0.mixer.in_proj.weight" in index


def test_ctrl_c_keeps_what_is_whole_and_the_same_command_goes_on(tmp_path):
    source = shutil.copytree(GOLDEN / "default", tmp_path / "source")
    config = json.loads((source / "config.json").read_text())
    config |= {"hidden_size": 1024, "intermediate_size": 4096, "vocab_size": 128}
    config |= {"mamba_dt_rank": 16, "num_experts": 16}
    (source / "config.json").write_text(json.dumps(config))
    import torch
    from safetensors.torch import save_file

    from runtime.config import JambaConfig

    shapes = checkpoint_shapes(JambaConfig.from_json(source))
    tensors = {name: torch.ones(shape, dtype=torch.bfloat16) for name, shape in shapes.items()}
    save_file(tensors, source / "model.safetensors")
    command = [sys.executable, "-m", "jamba_cli", "quantize", "source", "to", "--scheme", "nf4"]
    how = {"cwd": tmp_path, "env": hermetic_environ(tmp_path), "stderr": subprocess.PIPE}
    run = subprocess.Popen(command, text=True, **how)
    while not list((tmp_path / "to").glob("*.partial")):
        time.sleep(0.005)
        assert run.poll() is None
    run.send_signal(signal.SIGINT)
    _, told = run.communicate(timeout=20)
    assert run.returncode == 130
    assert told.strip().endswith("interrupted")
    done = subprocess.run(command, text=True, **how, timeout=120)
    assert done.returncode == 0, done.stderr
    assert not list((tmp_path / "to").glob("*.partial"))


def test_bench_of_a_scheme(here):
    done = here("bench", "--model", str(GOLDEN / "default"), "--scheme", "int8", "--tokens", "64",
                "--decode-tokens", "2", "--repeats", "1", "--json")  # fmt: skip
    value = json.loads(done.stdout)
    assert value["scheme"] == "int8"


def test_bench_takes_a_step_apart(here):
    done = here("bench", "--model", str(GOLDEN / "default"), "--tokens", "64", "--chunk-tokens",
                "16", "--repeats", "1", "--profile", "--json")  # fmt: skip
    chunk, step = json.loads(done.stdout)["profiles"]
    assert (chunk["past_tokens"], chunk["new_tokens"]) == (48, 16)
    assert (step["past_tokens"], step["new_tokens"]) == (64, 1)
    assert all(part["seconds"] > 0 for part in chunk["parts"])


def test_a_scheme_in_the_settings(here, model, tmp_path):
    (tmp_path / "config" / "jamba").mkdir(parents=True)
    (tmp_path / "config" / "jamba" / "config.toml").write_text('scheme = "int3"')
    done = here("plan", "--model", str(model))
    assert done.returncode == 2
    assert "none, int8, fp8, nf4" in done.stderr
