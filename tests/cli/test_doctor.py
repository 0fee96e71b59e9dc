"""`jamba doctor`: what it finds, and when that is an error."""

from __future__ import annotations

import hashlib
import importlib.util
import json

import pytest
from entry_point import ROOT

from jamba_cli import diagnosis
from jamba_cli.settings import Settings
from runtime import models

TINY = ROOT / "tests" / "golden" / "default"


@pytest.fixture
def nano(tmp_path, monkeypatch):
    """An embedded model whose files are as its list of hashes says."""
    directory = tmp_path / "assets" / "nano"
    directory.mkdir(parents=True)
    names = ("config.json", "model.safetensors")
    lines = []
    for name in names:
        data = (TINY / name).read_bytes()
        (directory / name).write_bytes(data)
        lines.append(f"{hashlib.sha256(data).hexdigest()}  {name}\n")
    (directory / diagnosis.SUMS).write_text("".join(lines))
    monkeypatch.setattr(models, "ASSETS", directory.parent)
    return directory


def test_report_of_a_sound_installation(here, nano):
    done = here("doctor")
    assert done.returncode == 0, done.stderr
    sections = [line for line in done.stdout.splitlines() if line and not line.startswith(" ")]
    assert sections[:6] == ["machine", "software", "kernels", "models", "places", "terminal"]
    for words in ("GFLOP/s", "cpu (auto)", "2 files as they were released", "config.toml (absent)"):
        assert words in done.stdout
    assert "broken" not in done.stdout.rsplit("\n\n", 1)[0]
    assert done.stderr == ""


def test_report_as_json(here, nano):
    value = json.loads(here("doctor", "--json").stdout)
    assert set(value) == {"schema_version", "command", "ok", "checks"}
    assert (value["schema_version"], value["command"], value["ok"]) == (1, "doctor", True)
    keys = {"section", "name", "value", "status", "advice"}
    assert all(set(check) == keys for check in value["checks"])
    assert {check["status"] for check in value["checks"]} <= {"ok", "note", "slow"}
    found = {(check["section"], check["name"]): check["value"] for check in value["checks"]}
    import torch

    assert found["software", "torch"] == torch.__version__
    assert torch.backends.cpu.get_cpu_capability() in found["machine", "processor"]
    assert ("kernels", "selective_scan") in found


def test_damaged_model_is_broken(here, nano):
    with (nano / "model.safetensors").open("r+b") as file:
        file.seek(-1, 2)
        file.write(b"\xff")
    done = here("doctor")
    assert done.returncode == 1
    assert "broken: model.safetensors is damaged" in done.stdout
    assert done.stderr.startswith("error: 1 broken: nano\nhint: install jamba-cli again")


def test_missing_models_and_devices_are_broken(here, nano):
    done = here("doctor", "--json", "--model", "jamba2-3b", "--device", "cuda:99")
    assert done.returncode == 1
    value = json.loads(done.stdout)
    assert value["ok"] is False
    broken = {check["name"]: check for check in value["checks"] if check["status"] == "broken"}
    assert set(broken) == {"jamba2-3b", "device"}
    assert broken["jamba2-3b"]["advice"] == "jamba models pull jamba2-3b"
    assert "cuda:99" in broken["device"]["value"]


def test_missing_embedded_model_is_broken(monkeypatch, tmp_path):
    monkeypatch.setattr(models, "ASSETS", tmp_path)
    (check,) = diagnosis.model_files(Settings())
    assert (check.name, check.status) == ("nano", "broken")


def test_model_without_a_list_of_hashes_is_only_noted(nano):
    (nano / diagnosis.SUMS).unlink()
    (check,) = diagnosis.model_files(Settings())
    assert check.status == "note"
    assert "not checked" in check.value


def test_threads_that_are_held_back_are_slow(monkeypatch):
    from jamba_cli import diagnosis_machine

    monkeypatch.setattr("torch.get_num_threads", lambda: 1)
    monkeypatch.setattr("psutil.cpu_count", lambda logical=True: 4)
    monkeypatch.setattr("psutil.Process.cpu_affinity", lambda self: [0, 1, 2, 3])
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    check = diagnosis_machine._threads()
    assert (check.status, check.value) == ("slow", "1 of 4 cores")
    assert "OMP_NUM_THREADS=1" in check.advice
    monkeypatch.setattr("torch.get_num_threads", lambda: 4)
    assert diagnosis_machine._threads().status == "ok"


@pytest.mark.parametrize(
    ("capability", "status"), [("DEFAULT", "slow"), ("AVX2", "ok"), ("AVX512", "ok")]
)
def test_processor_without_vectors_is_slow(monkeypatch, capability, status):
    from jamba_cli import diagnosis_machine

    monkeypatch.setattr("torch.backends.cpu.get_cpu_capability", lambda: capability)
    assert diagnosis_machine._processor().status == status


def test_gpu_that_torch_cannot_use_is_slow(monkeypatch):
    from jamba_cli import diagnosis_machine

    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    monkeypatch.setattr("torch.backends.mps.is_available", lambda: False)
    monkeypatch.setattr("torch.version.cuda", None)
    monkeypatch.setattr(diagnosis_machine, "has_nvidia_device", lambda: True)
    (check,) = diagnosis_machine._gpus()
    assert check.status == "slow"
    assert "install the CUDA build of torch" in check.advice


def test_kernels_on_a_gpu(fresh_dispatch):
    real = importlib.util.find_spec
    spec = real("json")
    fresh_dispatch.setattr(
        importlib.util, "find_spec", lambda name: spec if name == "triton" else real(name)
    )
    found = {check.name: (check.value, check.status) for check in diagnosis.kernels("cuda")}
    assert found["selective_scan"] == found["gemv"] == ("Triton kernel", "ok")
    assert found["attention"] == ("own path for cuda", "ok")


def test_kernels_that_are_turned_off_are_slow(fresh_dispatch):
    fresh_dispatch.setenv("JAMBA_KERNELS", "reference")
    checks = list(diagnosis.kernels("cuda"))
    assert {(check.value, check.status) for check in checks} == {("PyTorch", "slow")}


def test_kernels_on_a_gpu_without_triton_are_slow(fresh_dispatch):
    real = importlib.util.find_spec
    fresh_dispatch.setattr(
        importlib.util, "find_spec", lambda name: None if name == "triton" else real(name)
    )
    checks = {check.name: check for check in diagnosis.kernels("cuda")}
    assert checks["attention"].status == "ok"
    for name in ("selective_scan", "causal_conv", "gemv"):
        assert (checks[name].value, checks[name].status) == ("PyTorch", "slow")
        assert checks[name].advice == "pip install triton"
    assert {check.status for check in diagnosis.kernels("cpu")} == {"ok"}
