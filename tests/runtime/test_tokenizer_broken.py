"""Broken tokenizer files: each is one clear error that names what is wrong."""

from __future__ import annotations

import json

import pytest

from runtime.errors import TokenizerError
from runtime.tokenizer import Tokenizer
from tests.runtime.tiny_tokenizers import write_ai21, write_config, write_ranks


def test_an_empty_directory_says_what_is_missing(tmp_path):
    with pytest.raises(TokenizerError, match=r"neither tokenizer\.json nor tokenizer\.tik"):
        Tokenizer.load(tmp_path)
    (tmp_path / "tokenizer.model").touch()
    with pytest.raises(TokenizerError) as failure:
        Tokenizer.load(tmp_path)
    assert "tokenizer.json" in (failure.value.hint or "")


@pytest.mark.parametrize("content", ["", "{", "[]", '{"version": "1.0"}', "\x00\xff"])
def test_a_broken_tokenizer_json_is_named(tmp_path, content):
    (tmp_path / "tokenizer.json").write_text(content)
    with pytest.raises(TokenizerError, match=r"tokenizer\.json can't be read"):
        Tokenizer.load(tmp_path)


def test_an_unsupported_decoder_is_named(tmp_path):
    write_ai21(tmp_path)
    data = json.loads((tmp_path / "tokenizer.json").read_text())
    data["decoder"] = {"type": "WordPiece", "prefix": "##", "cleanup": True}
    (tmp_path / "tokenizer.json").write_text(json.dumps(data))
    with pytest.raises(TokenizerError, match="WordPiece"):
        Tokenizer.load(tmp_path)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"tiktoken_pattern": None}, "tiktoken_pattern"),
        ({"tiktoken_pattern": "("}, "pattern"),
        ({"tiktoken_special_tokens": ["a"]}, "tiktoken_special_tokens"),
        ({"tiktoken_special_tokens": {"<|x|>": "5"}}, "tiktoken_special_tokens"),
        ({"tiktoken_special_tokens": {"<|x|>": 70}}, "has id 70"),
    ],
)
def test_a_broken_rank_configuration_is_named(tmp_path, change, message):
    write_ranks(tmp_path)
    write_config(tmp_path, **change)
    with pytest.raises(TokenizerError, match=message):
        Tokenizer.load(tmp_path)


@pytest.mark.parametrize(
    ("line", "message"),
    [("???? 5", ":3 is not"), ("YQ==", ":3 is not"), ("YQ== x", ":3 is not"), ("", ":3 is not")],
)
def test_a_broken_rank_file_names_the_line(tmp_path, line, message):
    write_ranks(tmp_path)
    path = tmp_path / "tokenizer.tiktoken"
    lines = path.read_text().splitlines()
    lines[2] = line
    path.write_text("\n".join(lines))
    with pytest.raises(TokenizerError, match=message):
        Tokenizer.load(tmp_path)


def test_a_truncated_rank_file_is_refused(tmp_path):
    write_ranks(tmp_path)
    path = tmp_path / "tokenizer.tiktoken"
    path.write_text("\n".join(path.read_text().splitlines()[:100]))
    with pytest.raises(TokenizerError, match="no token for the byte 0x64"):
        Tokenizer.load(tmp_path)


def test_a_broken_tokenizer_config_is_named(tmp_path):
    write_ai21(tmp_path)
    (tmp_path / "tokenizer_config.json").write_text("[1]")
    with pytest.raises(TokenizerError, match=r"config\.json holds no JSON object"):
        Tokenizer.load(tmp_path)
