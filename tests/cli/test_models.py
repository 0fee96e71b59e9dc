"""Models: names to directories, the lists, and the download against a hub on this machine."""

from __future__ import annotations

import json
import os
import shutil
import struct
from pathlib import Path

import pytest
from entry_point import ROOT
from fake_hub import COMMIT, serve

from runtime import hub as cache
from runtime import models
from runtime.config import JambaConfig
from runtime.errors import CheckpointError, ModelError
from runtime.models import KNOWN, ModelEntry

TINY = ROOT / "tests" / "golden" / "default"


def safetensors(**shapes: list[int]) -> bytes:
    """A weight file of fp32 zeros."""
    header, end = {}, 0
    for name, shape in shapes.items():
        size = 4
        for length in shape:
            size *= length
        header[name] = {"dtype": "F32", "shape": shape, "data_offsets": [end, end + size]}
        end += size
    text = json.dumps(header).encode()
    return struct.pack("<Q", len(text)) + text + bytes(end)


REPO = {
    "config.json": (TINY / "config.json").read_bytes(),
    "model.safetensors": safetensors(a=[4, 5], b=[7]),
    "tokenizer.json": b"{}",
    "pytorch_model.bin": b"the weights again",
    "modeling_jamba.py": b"code",
}


@pytest.fixture
def hub():
    with serve() as hub:
        hub.repos["ai21labs/Jamba-tiny-dev"] = dict(REPO)
        yield hub


@pytest.fixture
def cache_dir(tmp_path, monkeypatch) -> Path:
    """An empty Hub cache that this process looks into."""
    directory = tmp_path / "hub"
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(directory))
    return directory


@pytest.fixture
def assets(tmp_path, monkeypatch) -> Path:
    directory = tmp_path / "assets"
    monkeypatch.setattr(models, "ASSETS", directory)
    return directory


def place(directory: Path, **files: bytes | None) -> Path:
    """A model directory with the files of REPO, or with others in their place."""
    directory.mkdir(parents=True)
    for name, data in {**REPO, **files}.items():
        if data is not None:
            (directory / name).write_bytes(data)
    return directory


def cached(cache_dir: Path, repo_id: str, **files: bytes | None) -> Path:
    folder = cache_dir / f"models--{repo_id.replace('/', '--')}"
    (folder / "refs").mkdir(parents=True)
    (folder / "refs" / "main").write_text(COMMIT)
    return place(folder / "snapshots" / COMMIT, **files)


def test_the_table_of_known_models_is_consistent():
    names = [entry.name for entry in KNOWN]
    repos = [entry.repo_id for entry in KNOWN]
    assert len(set(names)) == len(names)
    assert len(set(repos)) == len(repos)
    for entry in KNOWN:
        assert entry.repo_id
        assert entry.repo_id.startswith("ai21labs/")
        assert entry.gated == (entry.licence == models.JAMBA_OPEN)
        bytes_per_parameter = 1 if entry.name.endswith("fp8") else 2
        assert entry.bytes == pytest.approx(entry.parameters * bytes_per_parameter, rel=0.02)


@pytest.mark.parametrize(
    ("name", "shape"),
    [
        ("jamba2-mini", {"hidden_size": 4096, "num_hidden_layers": 32, "kv": 8, "period": (8, 4)}),
        ("jamba-1.7-large", {"hidden_size": 8192, "num_hidden_layers": 72, "kv": 8,
                             "period": (8, 4), "heads": 64}),
        ("jamba2-3b", {"hidden_size": 2560, "num_hidden_layers": 28, "kv": 1, "period": (14, 7),
                       "heads": 20}),
    ],
)  # fmt: skip
def test_known_memory_is_what_the_config_implies(tmp_path, name, shape):
    config = {
        **json.loads(REPO["config.json"]),
        "hidden_size": shape["hidden_size"],
        "num_hidden_layers": shape["num_hidden_layers"],
        "num_attention_heads": shape.get("heads", 32),
        "num_key_value_heads": shape["kv"],
        "attn_layer_period": shape["period"][0],
        "attn_layer_offset": shape["period"][1],
        "mamba_dt_rank": "auto", "mamba_d_state": 16, "mamba_d_conv": 4, "mamba_expand": 2,
    }  # fmt: skip
    directory = place(tmp_path / "model", **{"config.json": json.dumps(config).encode()})
    described, entry = models.describe("x", directory), models.known(name)
    assert described.kv_bytes_per_token == entry.kv_bytes_per_token
    assert described.state_bytes == entry.state_bytes


def test_memory_grows_with_the_context():
    entry = ModelEntry("x", None, 1, "", 1000, bytes=10, kv_bytes_per_token=2, state_bytes=3)
    assert [entry.memory_bytes(tokens) for tokens in (0, 100, None)] == [13, 213, 2013]


def test_describe_counts_parameters_and_bytes(tmp_path):
    directory = place(tmp_path / "model")
    entry = models.describe("x", directory)
    assert entry.parameters == JambaConfig.from_json(directory).parameter_count
    assert entry.bytes == len(REPO["model.safetensors"])


def test_resolve_a_directory(tmp_path, cache_dir, assets):
    directory = place(tmp_path / "mine")
    assert models.resolve(str(directory)) == directory


def test_embedded_default_wins_over_a_directory_of_its_name(tmp_path, assets, monkeypatch):
    embedded = place(assets / "nano")
    place(tmp_path / "nano")
    monkeypatch.chdir(tmp_path)
    assert models.resolve("nano") == embedded
    assert models.resolve("./nano") == Path("nano")


def test_resolve_short_name_and_hub_id_from_the_cache(cache_dir, assets):
    path = cached(cache_dir, "ai21labs/AI21-Jamba2-3B")
    for name in ("jamba2-3b", "JAMBA2-3B", "ai21labs/AI21-Jamba2-3B", "ai21labs/ai21-jamba2-3b"):
        assert models.resolve(name) == path
    other = cached(cache_dir, "someone/my--jamba")
    assert models.resolve("someone/my--jamba") == other


def test_resolve_never_downloads(cache_dir, hub, monkeypatch):
    monkeypatch.setenv("HF_ENDPOINT", hub.url)
    with pytest.raises(ModelError) as caught:
        models.resolve("jamba-tiny-dev")
    assert caught.value.hint == "jamba models pull jamba-tiny-dev"
    assert caught.value.exit_code == 6
    assert not hub.requested
    assert not hub.tokens


def test_incomplete_download_is_told(cache_dir, assets):
    index = {"weight_map": {"a": "model-1.safetensors", "b": "model-2.safetensors"}}
    cached(
        cache_dir, "ai21labs/AI21-Jamba2-3B",
        **{"model.safetensors": None, "model-1.safetensors": b"x",
           "model.safetensors.index.json": json.dumps(index).encode()},
    )  # fmt: skip
    with pytest.raises(CheckpointError, match=r"1 of 2 weight files.*model-2.safetensors"):
        models.resolve("jamba2-3b")
    (found,) = models.local_models()
    assert found.problem


@pytest.mark.parametrize(
    ("name", "message", "hint"),
    [
        ("jamba2-3", "no model is called 'jamba2-3'", "did you mean jamba2-3b?"),
        ("nonsense", "no model is called 'nonsense'", "'jamba models' lists them"),
        ("./nowhere", "nowhere: no such directory", None),
        ("~/nowhere", "nowhere: no such directory", None),
        (".", "holds no config.json", "a model directory holds"),
        ("a/b/c", "no model is called", "lists them"),
        ("../x", "no such directory", None),
        ("nano", "the embedded model is missing", "install jamba-cli again"),
    ],
)
def test_what_is_no_model(tmp_path, cache_dir, assets, monkeypatch, name, message, hint):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ModelError) as caught:
        models.resolve(name)
    assert message in caught.value.message
    assert hint is None or hint in caught.value.hint


def test_local_models_are_the_embedded_and_the_cached_jambas(cache_dir, assets):
    place(assets / "nano")
    cached(cache_dir, "ai21labs/AI21-Jamba2-3B")
    cached(cache_dir, "someone/llama", **{"config.json": b'{"model_type": "llama"}'})
    found = [(model.name, model.kind, model.problem) for model in models.local_models()]
    assert found == [("nano", "embedded", None), ("jamba2-3b", "cached", None)]


def test_cache_directory_follows_the_environment(jamba, tmp_path):
    cached(tmp_path / "elsewhere" / "hub", "ai21labs/Jamba-tiny-dev")
    done = jamba("models", "info", "jamba-tiny-dev", HF_HOME=str(tmp_path / "elsewhere"))
    assert "local, " in done.stdout
    assert str(tmp_path / "elsewhere") in done.stdout


def test_list_of_models(here, cache_dir):
    done = here("models")
    assert done.returncode == 0
    lines = done.stdout.splitlines()
    assert lines[0].split() == ["name", "where", "size", "on", "disk", "memory", "licence"]
    assert max(map(len, lines)) <= 80
    assert any(line.startswith("jamba2-3b  ") and "Apache-2.0" in line for line in lines)
    assert any("jamba-1.7-large" in line and line.endswith("gated") for line in lines)
    assert here("models", "list").stdout == done.stdout


KEYS = {
    "name", "repo_id", "state", "path", "problem", "parameters", "bytes", "memory_bytes",
    "kv_bytes_per_token", "state_bytes", "context_tokens", "licence", "gated", "note",
}  # fmt: skip


def test_list_as_json(here, cache_dir):
    value = json.loads(here("models", "--json").stdout)
    assert set(value) == {"schema_version", "command", "models"}
    assert (value["schema_version"], value["command"]) == (1, "models")
    assert {entry.name for entry in KNOWN} <= {model["name"] for model in value["models"]}
    assert all(set(model) == KEYS for model in value["models"])


def test_info_of_a_directory(here, cache_dir):
    done = here("models", "info", str(TINY), "--json")
    value = json.loads(done.stdout)
    assert set(value) == KEYS | {"schema_version", "command"}
    assert (value["state"], value["path"]) == ("local", str(TINY))
    assert value["parameters"] == models.describe("x", TINY).parameters
    assert "4,096 tokens" in here("models", "info", str(TINY)).stdout


def test_info_of_an_unknown_model(here, cache_dir):
    done = here("models", "info", "jamba2-3bb")
    assert done.returncode == 6
    assert "did you mean jamba2-3b?" in done.stderr


def pull(jamba, hub, *argv: str, **environ: str):
    return jamba("models", "pull", *argv, HF_ENDPOINT=hub.url, HF_HUB_DISABLE_XET="1", **environ)


def test_pull_then_use(jamba, hub, tmp_path):
    done = pull(jamba, hub, "jamba-tiny-dev")
    assert done.returncode == 0, done.stderr
    path = Path(done.stdout.strip())
    assert {file.name for file in path.iterdir()} == {
        "config.json", "model.safetensors", "tokenizer.json",
    }  # fmt: skip
    assert (path / "model.safetensors").read_bytes() == REPO["model.safetensors"]
    assert done.stderr.startswith("download: ")
    info = json.loads(jamba("models", "info", "jamba-tiny-dev", "--json").stdout)
    assert (info["state"], info["path"]) == ("local", str(path))
    # Pulled again, nothing is fetched.
    fetched = len(hub.requested)
    assert pull(jamba, hub, "ai21labs/Jamba-tiny-dev", "--json").returncode == 0
    assert len(hub.requested) == fetched


def test_pull_goes_on_where_it_stopped(jamba, hub, tmp_path):
    assert pull(jamba, hub, "jamba-tiny-dev").returncode == 0
    (blobs,) = (tmp_path / "hf" / "hub").glob("*/blobs")
    (weights,) = [
        file for file in blobs.iterdir() if file.read_bytes() == REPO["model.safetensors"]
    ]
    half = weights.read_bytes()[:60]
    weights.unlink()
    (blobs / f"{weights.name}.incomplete").write_bytes(half)
    info = json.loads(jamba("models", "info", "jamba-tiny-dev", "--json").stdout)
    assert info["state"] == "incomplete"
    hub.requested.clear()
    assert pull(jamba, hub, "jamba-tiny-dev").returncode == 0
    assert weights.read_bytes() == REPO["model.safetensors"]


def test_pull_of_a_gated_model(jamba, hub):
    hub.repos["ai21labs/AI21-Jamba-Mini-1.7"] = {**REPO}
    hub.gated.add("ai21labs/AI21-Jamba-Mini-1.7")
    done = pull(jamba, hub, "jamba-1.7-mini")
    assert (done.returncode, done.stdout) == (6, "")
    assert "error: ai21labs/AI21-Jamba-Mini-1.7 is gated" in done.stderr
    assert "https://huggingface.co/ai21labs/AI21-Jamba-Mini-1.7" in done.stderr
    assert "HF_TOKEN" in done.stderr
    done = pull(jamba, hub, "jamba-1.7-mini", HF_TOKEN="hf_test")
    assert done.returncode == 0
    assert "Bearer hf_test" in hub.tokens


def test_pull_of_what_the_hub_has_not(jamba, hub):
    done = pull(jamba, hub, "someone/nothing")
    assert done.returncode == 6
    assert "error: someone/nothing: the Hub has no such model" in done.stderr
    assert "Traceback" not in done.stderr


def test_pull_of_a_repository_without_weights(jamba, hub):
    hub.repos["someone/code"] = {"config.json": REPO["config.json"], "pytorch_model.bin": b"x"}
    done = pull(jamba, hub, "someone/code")
    assert done.returncode == 6
    assert "holds no model in safetensors" in done.stderr


@pytest.mark.parametrize(
    ("environ", "words"),
    [
        ({"HF_ENDPOINT": "http://127.0.0.1:9"}, "the Hub can't be reached"),
        ({"HF_HUB_OFFLINE": "1"}, "HF_HUB_OFFLINE is set"),
    ],
)
def test_pull_without_the_network(jamba, environ, words):
    done = jamba("models", "pull", "jamba2-3b", **environ)
    assert (done.returncode, done.stdout) == (6, "")
    assert f"can't be downloaded: {words}" in done.stderr
    assert len(done.stderr.splitlines()) <= 3


def test_pull_without_room(jamba, hub):
    hub.repos["ai21labs/AI21-Jamba2-Mini"] = dict(REPO)
    free = shutil.disk_usage("/tmp").free

    from runtime import download

    with pytest.raises(ModelError, match="GB free"):
        download._check_room("x/y", free)


def test_pull_of_what_is_no_repository(here, cache_dir):
    assert "is embedded" in here("models", "pull", "nano").stderr
    done = here("models", "pull", str(TINY))
    assert done.returncode == 6
    assert "nothing to download" in done.stderr
    assert here("models", "pull", "nonsense").returncode == 6


def test_progress_counts_finished_and_unfinished_files(cache_dir):
    from runtime import download

    blobs = cache.cache_folder("a/b") / "blobs"
    blobs.mkdir(parents=True)
    (blobs / "aaa").write_bytes(b"x" * 10)
    (blobs / "bbb.1234.incomplete").write_bytes(b"x" * 5)
    (blobs / "other").write_bytes(b"x" * 100)
    os.mkfifo(blobs / "ccc")
    assert download._bytes_here("a/b", {"aaa": 10, "bbb": 20, "ddd": 7}) == 15
