"""Quantized checkpoints: the same model as quantizing on load, and a conversion that survives."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time

import pytest
import torch
from safetensors import safe_open

from runtime import convert as conversion
from runtime.convert import MANIFEST, convert
from runtime.devices import EXACT
from runtime.engine import Engine
from runtime.errors import CheckpointError, ConfigError, JambaError, ModelError, UsageError
from runtime.quantization import named
from tests.helpers import GOLDEN, golden
from tests.tiny_model import checkpoint_shapes, write_model

SHARD = 40_000


@pytest.fixture
def source(tmp_path):
    return shutil.copytree(GOLDEN / "default", tmp_path / "source")


def engine(directory, **how) -> Engine:
    return Engine.load(directory, device="cpu", precision=EXACT, **how)


@pytest.mark.parametrize("scheme", ["int8", "fp8", "nf4"])
@pytest.mark.parametrize("name", ["default", "default-legacy", "dense-tied", "odd-sharded"])
def test_the_written_model_is_the_one_quantized_on_load(tmp_path, name, scheme):
    assert convert(GOLDEN / name, tmp_path / "to", named(scheme), shard_bytes=SHARD)
    ids, _ = golden(name)
    written = engine(tmp_path / "to")
    assert written.scheme == scheme
    loaded = engine(GOLDEN / name, scheme=scheme)
    assert torch.equal(written.score(ids), loaded.score(ids))
    assert written.weights_nbytes == loaded.weights_nbytes
    assert len(list((tmp_path / "to").glob("*.safetensors"))) > 1


def test_the_files_are_the_models_parameters_and_any_reader_reads_them(source, tmp_path):
    convert(source, tmp_path / "to", named("int8", ("head", "mamba")), shard_bytes=SHARD)
    model = engine(tmp_path / "to").model
    parameters = dict(model.named_parameters())
    index = json.loads((tmp_path / "to" / "model.safetensors.index.json").read_text())
    assert index["weight_map"].keys() == parameters.keys()
    for name, file in index["weight_map"].items():
        with safe_open(tmp_path / "to" / file, "pt") as stored:
            assert torch.equal(stored.get_tensor(name), parameters[name].data), name
            assert stored.metadata()["scheme"] == "int8"
    config = json.loads((tmp_path / "to" / "config.json").read_text())["quantization_config"]
    assert config["keep"] == ["head", "mamba"]
    assert len(config["source"]) == 64
    assert "layers.0.mixer.in_proj.weight" in parameters


def test_what_belongs_to_a_model_goes_with_it(tmp_path):
    source = write_model(tmp_path / "source")
    (source / "SHA256SUMS").write_text("of the weights that were")
    convert(source, tmp_path / "to", named("int8"))
    for name in ("tokenizer.tiktoken", "tokenizer_config.json"):
        assert (tmp_path / "to" / name).read_bytes() == (source / name).read_bytes()
    assert not list((tmp_path / "to").glob("*.partial"))
    assert not (tmp_path / "to" / "SHA256SUMS").exists()
    assert not (tmp_path / "to" / MANIFEST).exists()


def test_a_stopped_conversion_goes_on_after_its_last_whole_file(source, tmp_path, monkeypatch):
    to, seen = tmp_path / "to", []

    def stop(done, total):
        if done > total / 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        convert(source, to, named("int8"), shard_bytes=SHARD, on_bytes=stop)
    whole = {file: file.stat().st_mtime_ns for file in to.glob("*.safetensors")}
    assert whole
    assert (to / MANIFEST).exists()
    with pytest.raises(ModelError, match=r"holds no config.json"):
        engine(to)  # half a model is none
    assert convert(source, to, named("int8"), shard_bytes=SHARD, on_bytes=lambda *a: seen.append(a))
    assert all(file.stat().st_mtime_ns == then for file, then in whole.items())
    assert seen[-1][0] == seen[-1][1]
    ids, _ = golden("default")
    assert torch.equal(engine(to).score(ids), engine(source, scheme="int8").score(ids))
    assert not convert(source, to, named("int8"), shard_bytes=SHARD)


KILLED = """
import sys, time
from pathlib import Path
from runtime.convert import convert
from runtime.quantization import named
def slow(done, total):
    print(done, flush=True)
    time.sleep(0.01)
convert(Path(sys.argv[1]), Path(sys.argv[2]), named("int8"), shard_bytes=40_000, on_bytes=slow)
"""


def test_a_killed_conversion_goes_on(source, tmp_path):
    to = tmp_path / "to"
    run = subprocess.Popen(
        [sys.executable, "-c", KILLED, str(source), str(to)], stdout=subprocess.DEVNULL
    )
    while not list(to.glob("*.safetensors")):
        time.sleep(0.01)
        assert run.poll() is None
    os.kill(run.pid, signal.SIGKILL)
    run.wait()
    assert convert(source, to, named("int8"), shard_bytes=SHARD)
    ids, _ = golden("default")
    assert torch.equal(engine(to).score(ids), engine(source, scheme="int8").score(ids))


@pytest.mark.parametrize(
    ("place", "message"),
    [
        (lambda to: to.write_text("x"), "is a file"),
        (lambda to: (to.mkdir(), (to / "thesis.tex").write_text("x")), "is not empty"),
        (lambda to: shutil.copytree(GOLDEN / "odd", to), "holds another model"),
    ],
)
def test_nothing_else_is_written_over(source, tmp_path, place, message):
    place(tmp_path / "to")
    with pytest.raises(UsageError, match=message):
        convert(source, tmp_path / "to", named("int8"))


def test_another_scheme_or_source_is_another_conversion(source, tmp_path):
    convert(source, tmp_path / "to", named("int8"))
    with pytest.raises(UsageError, match="holds another model"):
        convert(source, tmp_path / "to", named("nf4"))
    weights = source / "model.safetensors"
    data = bytearray(weights.read_bytes())
    data[-1] ^= 1
    weights.write_bytes(data)
    with pytest.raises(UsageError, match="holds another model"):
        convert(source, tmp_path / "to", named("int8"))


def test_two_conversions_into_one_directory_do_not_meet(source, tmp_path, monkeypatch):
    def meet(done, total):
        with pytest.raises(UsageError, match="another process is writing"):
            convert(source, tmp_path / "to", named("int8"))
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        convert(source, tmp_path / "to", named("int8"), on_bytes=meet)


def test_a_disk_without_room_is_told_first(source, tmp_path, monkeypatch):
    usage = shutil.disk_usage(tmp_path)
    monkeypatch.setattr(conversion.shutil, "disk_usage", lambda path: usage._replace(free=10))
    with pytest.raises(JambaError, match=r"0\.0 GB free"):
        convert(source, tmp_path / "to", named("int8"))


def test_a_broken_source_leaves_nothing_behind(source, tmp_path):
    (source / "model.safetensors").write_bytes(b"\0" * 50)
    with pytest.raises(CheckpointError):
        convert(source, tmp_path / "to", named("int8"))
    assert not (tmp_path / "to").exists()


def test_a_quantized_model_is_not_quantized_again_nor_loaded_as_something_else(source, tmp_path):
    convert(source, tmp_path / "to", named("int8"))
    with pytest.raises(ModelError, match="quantized already"):
        convert(tmp_path / "to", tmp_path / "again", named("nf4"))
    for scheme in ("nf4", "none"):
        with pytest.raises(UsageError, match=f"stored in int8, not in {scheme}"):
            engine(tmp_path / "to", scheme=scheme)
    assert engine(tmp_path / "to", scheme="int8").scheme == "int8"
    with pytest.raises(UsageError, match="stored with mamba quantized"):
        engine(tmp_path / "to", keep=("mamba",))


def damage_truncate(file):
    file.write_bytes(file.read_bytes()[:-10])


def damage_rename(file):
    data = file.read_bytes()
    file.write_bytes(data.replace(b"mixer.out_proj", b"mixer.mut_proj"))


def damage_dtype(file):
    file.write_bytes(file.read_bytes().replace(b'"I8"', b'"U8"'))


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (damage_truncate, "ends after"),
        (damage_rename, r"missing: layers.0.mixer.out_proj.*unexpected: layers.0.mixer.mut_proj"),
        (damage_dtype, r"torch.uint8, wanted torch.int8"),
    ],
)
def test_damaged_files_are_one_clear_error(source, tmp_path, damage, message):
    convert(source, tmp_path / "to", named("int8"))
    (file,) = (tmp_path / "to").glob("*.safetensors")
    damage(file)
    with pytest.raises(CheckpointError, match=message):
        engine(tmp_path / "to")


@pytest.mark.parametrize("change", [{"scheme": "int3"}, {"keep": ["x"]}, {"kept_dtype": "int8"}])
def test_a_configuration_that_we_never_wrote_is_refused(source, tmp_path, change):
    convert(source, tmp_path / "to", named("int8"))
    file = tmp_path / "to" / "config.json"
    config = json.loads(file.read_text())
    config["quantization_config"] |= change
    file.write_text(json.dumps(config))
    with pytest.raises(ConfigError, match="quantization_config"):
        engine(tmp_path / "to")


MEASURE = """
import sys
from pathlib import Path
from runtime import memory
from runtime.convert import convert
from runtime.quantization import named
import torch, psutil
before = psutil.Process().memory_info().rss
convert(Path(sys.argv[1]), Path(sys.argv[2]), named(sys.argv[3]))
print(memory.host_peak_bytes() - before)
"""


def test_a_conversion_holds_a_few_tensors_and_no_model(tmp_path):
    from safetensors.torch import save_file

    from runtime.config import JambaConfig

    source = shutil.copytree(GOLDEN / "default", tmp_path / "source")
    config = json.loads((source / "config.json").read_text())
    config |= {"hidden_size": 512, "intermediate_size": 2048, "mamba_dt_rank": 16}
    (source / "config.json").write_text(json.dumps(config))
    shapes = checkpoint_shapes(JambaConfig.from_json(source))
    save_file(
        {name: torch.ones(shape) for name, shape in shapes.items()}, source / "model.safetensors"
    )
    size = (source / "model.safetensors").stat().st_size
    largest = 4 * max(torch.Size(shape).numel() for shape in shapes.values())
    run = subprocess.run(
        [sys.executable, "-c", MEASURE, str(source), str(tmp_path / "to"), "int8"],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    peak = int(run.stdout)
    written = sum(file.stat().st_size for file in (tmp_path / "to").glob("*.safetensors"))
    # The mapped files count as resident until the system takes them back, and so does the code of
    # libraries that runs here first: 96 to 116 MB were seen, 77 of them written.
    assert peak < written + 12 * largest
    assert peak < size / 2
