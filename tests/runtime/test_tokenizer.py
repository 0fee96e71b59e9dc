from __future__ import annotations

import json
import random
import subprocess
import sys
from pathlib import Path

import pytest
import tiktoken
import tokenizers
from hypothesis import given, settings
from hypothesis import strategies as st

from runtime.stream import first_stop, held_back
from runtime.tokenizer import BATCH_CHARS, PIECE_CHARS, Tokenizer
from runtime.tokenizer_json import HuggingFaceTokenizer
from runtime.tokenizer_ranks import TiktokenTokenizer
from tests.runtime.tiny_tokenizers import PATTERN, REAL, write_ai21, write_config, write_ranks

NAMES = ("<|im_start|>", "<|im_end|>", "<think>", "</think>", "<tool_call>")


@pytest.fixture(scope="module")
def ai21(tmp_path_factory) -> Tokenizer:
    return Tokenizer.load(write_ai21(tmp_path_factory.mktemp("ai21"), names=NAMES))


@pytest.fixture(scope="module")
def ranks(tmp_path_factory) -> Tokenizer:
    return Tokenizer.load(write_ranks(tmp_path_factory.mktemp("ranks")))


@pytest.fixture(scope="module")
def real() -> Tokenizer:
    if not (REAL / "tokenizer.json").is_file():
        pytest.skip(f"no {REAL}/tokenizer.json")
    return Tokenizer.load(REAL)


@pytest.fixture(params=["ai21", "ranks"])
def either(request) -> Tokenizer:
    return request.getfixturevalue(request.param)


def library_ids(directory: Path, text: str) -> list[int]:
    """What the library itself gives: unsplit, added tokens and all."""
    rules = tokenizers.Tokenizer.from_file(str(directory / "tokenizer.json"))
    rules.no_truncation()
    return rules.encode(text, add_special_tokens=False).ids


# Texts that hit every rule: spaces, newlines, multi-byte characters, names of special tokens.
TEXTS = st.text(
    alphabet=st.one_of(
        st.sampled_from(list(" \n\t▁aehtcst.,1é漢€🙂<|>_\r\u00a0\u200b")), st.characters()
    ),
    max_size=60,
)
WORDY = st.lists(
    st.sampled_from(["the ", "cat", "\n", "  ", "Hello", " é", "漢", "<think>", "<|im_end|>", "▁"]),
    max_size=30,
).map("".join)


def test_it_picks_the_implementation_by_what_is_there(ai21, ranks):
    assert isinstance(ai21, HuggingFaceTokenizer)
    assert isinstance(ranks, TiktokenTokenizer)


@pytest.mark.parametrize(
    "text", ["", " ", "the cat", " the  cat\n\nsat", "Hello\tworld é漢🙂", "\r\n"]
)
def test_text_survives_encoding(either, text):
    assert either.decode(either.encode(text)) == text


@settings(max_examples=150, deadline=None)
@given(text=st.one_of(TEXTS, WORDY))
def test_any_text_survives_encoding(ai21, ranks, text):
    clean = text.encode("utf-8", "replace").decode()
    for tokenizer in (ai21, ranks):
        ids = tokenizer.encode(clean)
        assert set(ids).isdisjoint(tokenizer.special_ids.values())
        expected = clean.replace("▁", " ") if tokenizer is ai21 else clean
        assert tokenizer.decode(ids) == expected


def test_encoding_adds_no_bos_and_is_never_truncated(ai21):
    ids = ai21.encode("the cat sat on the mat " * 20)
    assert ai21.special_ids["<|startoftext|>"] not in ids
    assert ai21.decode(ids) == "the cat sat on the mat " * 20


@pytest.mark.parametrize("name", [*NAMES, "<|endoftext|>", "<|startoftext|>", "<|mask_0|>"])
def test_a_special_name_in_a_document_stays_text(ai21, name):
    text = f"a{name}b"
    plain = ai21.encode(text)
    assert ai21.special_ids[name] not in plain
    assert ai21.decode(plain) == text
    trusted = ai21.encode(text, allow_special=True)
    assert trusted == [*ai21.encode("a"), ai21.special_ids[name], *ai21.encode("b")]


def test_a_special_name_in_a_document_stays_text_for_rank_files(ranks):
    for name, number in ranks.special_ids.items():
        assert number not in ranks.encode(f"x {name} y")
        assert ranks.encode(name, allow_special=True) == [number]


def test_even_a_vocabulary_that_can_spell_a_special_token_is_denied_it(tmp_path):
    write_ai21(tmp_path, names=NAMES)
    path = tmp_path / "tokenizer.json"
    data = json.loads(path.read_text())
    vocab, merges = data["model"]["vocab"], data["model"]["merges"]
    pairs = [("<", "t"), ("<t", "h"), ("<th", "i"), ("<thi", "n"), ("<thin", "k"), ("<think", ">")]
    for pair in pairs:
        vocab.setdefault("".join(pair), len(vocab))
    data["model"]["merges"] = [list(pair) for pair in pairs] + merges
    data["added_tokens"] = [t for t in data["added_tokens"] if t["content"] != "<think>"]
    path.write_text(json.dumps(data))
    rules = tokenizers.Tokenizer.from_file(str(path))
    assert rules.encode("<think>", add_special_tokens=False).ids == [vocab["<think>"]]
    think = {"content": "<think>", "special": False}
    write_config(tmp_path, added_tokens_decoder={str(vocab["<think>"]): think})
    tokenizer = Tokenizer.load(tmp_path)
    ids = tokenizer.encode("a<think>b<think>")
    assert tokenizer.special_ids["<think>"] not in ids
    assert tokenizer.decode(ids) == "a<think>b<think>"


def test_control_tokens_are_hidden_and_readable_ones_shown(ai21):
    ids = [ai21.special_ids[name] for name in ("<|im_start|>", "<|endoftext|>", "<think>")]
    assert ai21.decode([*ids, *ai21.encode("cat")]) == "<think>cat"
    assert ai21.decode([ai21.vocab_size + 5, -1]) == ""


def test_tokens_listed_in_tokenizer_config_only_are_known(tmp_path):
    write_ai21(tmp_path)
    write_config(tmp_path, added_tokens_decoder={"900": {"content": "<|eom|>", "special": True}})
    tokenizer = Tokenizer.load(tmp_path)
    assert tokenizer.special_ids["<|eom|>"] == 900
    assert tokenizer.vocab_size == 901
    assert tokenizer.encode("cat<|eom|>", allow_special=True)[-1] == 900
    assert tokenizer.decode([900]) == ""


@settings(max_examples=200, deadline=None)
@given(text=st.one_of(TEXTS, WORDY))
def test_splitting_at_words_first_changes_nothing(tmp_path_factory, text):
    directory = tmp_path_factory.getbasetemp() / "plain-ai21"
    if not directory.exists():
        directory.mkdir()
        write_ai21(directory)
    ours = Tokenizer.load(directory)
    assert ours._by_word
    text = text.encode("utf-8", "replace").decode()
    if "<|" not in text:
        assert ours.encode(text) == library_ids(directory, text)


@pytest.mark.parametrize(
    "change",
    [
        lambda data: data["model"]["vocab"].update({"a▁": 5000}),
        lambda data: data["model"]["vocab"].update({"a\n": 5000}),
        lambda data: data["model"]["vocab"].update({"<0x0A>a": 5000}),
        lambda data: data["normalizer"]["normalizers"].append({"type": "NFKC"}),
        lambda data: data["model"].update(byte_fallback=False),
        lambda data: data.update(
            pre_tokenizer={"type": "Split", "pattern": {"String": "a"}, "behavior": "Isolated",
                           "invert": False}
        ),
    ],
)  # fmt: skip
def test_other_rules_are_not_split_at_words(tmp_path, change):
    write_ai21(tmp_path)
    data = json.loads((tmp_path / "tokenizer.json").read_text())
    change(data)
    (tmp_path / "tokenizer.json").write_text(json.dumps(data))
    tokenizer = Tokenizer.load(tmp_path)
    assert not tokenizer._by_word
    text = "the cat a  b\nHello " * 5000
    assert tokenizer.encode(text) == library_ids(tmp_path, text)


def long_text(chars: int, seed: int = 0) -> str:
    draw = random.Random(seed)
    words = ["the", "cat", "Hello,", "x" * 40, "é漢字", "1234", "\n", "\n\n    ", "  ", "\t", "}"]
    parts: list[str] = []
    size = 0
    while size < chars:
        parts.append(draw.choice(words) + draw.choice(["", " ", " ", "\n"]))
        size += len(parts[-1])
    return "".join(parts)


def test_a_long_text_in_pieces_is_the_whole_for_ai21(ai21, tmp_path):
    write_ai21(tmp_path, names=NAMES)
    text = long_text(6 * PIECE_CHARS)
    assert len(list(ai21._cut(text))) >= 5
    assert ai21.encode(text) == library_ids(tmp_path, text)


def test_a_long_text_in_pieces_is_the_whole_for_rank_files(ranks):
    text = long_text(6 * PIECE_CHARS)
    assert len(list(ranks._cut(text))) >= 5
    assert ranks.encode(text) == ranks._encoding.encode_ordinary(text)
    assert isinstance(ranks._encoding, tiktoken.Encoding)


@settings(max_examples=300, deadline=None)
@given(text=st.one_of(TEXTS, WORDY))
def test_the_smallest_pieces_are_the_whole_too(ai21, ranks, tmp_path_factory, text):
    directory = tmp_path_factory.getbasetemp() / "bare-ai21"
    if not directory.exists():
        directory.mkdir()
        write_ai21(directory)
    text = text.encode("utf-8", "replace").decode()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("runtime.tokenizer.PIECE_CHARS", 1)
        assert ranks.encode(text) == ranks._encoding.encode_ordinary(text)
        if "<|" not in text:
            assert Tokenizer.load(directory).encode(text) == library_ids(directory, text)


@pytest.mark.parametrize("unit", [" ", "\n", "a", "漢", "aGVsbG8gd29ybGQ", " \n"])
def test_a_megabyte_without_a_place_to_cut(either, unit, capfd):
    text = unit * (1_000_000 // len(unit))
    assert either.decode(either.encode(text)) == text
    assert "panicked" not in capfd.readouterr().err


def test_progress_reaches_the_whole_and_can_end_the_work(either):
    text = "the cat sat " * (3 * BATCH_CHARS // 12)
    seen: list[tuple[int, int]] = []
    either.encode(text, on_progress=lambda done, total: seen.append((done, total)))
    assert len(seen) >= 3
    assert seen == sorted(seen)
    assert seen[-1] == (len(text), len(text))

    def end(done: int, total: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        either.encode(text, on_progress=end)


def test_many_texts_at_once_are_each_encoded_alone(either):
    texts = ["the cat", "", "\n", long_text(2 * PIECE_CHARS), "<think>"]
    assert either.encode_many(texts) == [either.encode(text) for text in texts]
    assert either.encode_many([]) == []


def test_a_lone_surrogate_becomes_the_replacement_character(either):
    assert either.decode(either.encode("a\udcffb")) == "a\ufffdb"


# Decoding


def cut_at_stop(text: str, stops: list[str]) -> str:
    """By definition: the shortest beginning that ends with a stop string, less that string."""
    for end in range(len(text) + 1):
        found = [stop for stop in stops if stop and text[:end].endswith(stop)]
        if found:
            return text[: end - max(map(len, found))]
    return text


@settings(max_examples=300, deadline=None)
@given(data=st.data())
def test_streamed_text_is_the_decoded_text(ai21, ranks, data):
    tokenizer = data.draw(st.sampled_from([ai21, ranks]))
    ids = data.draw(st.lists(st.integers(0, tokenizer.vocab_size), max_size=40))
    ids += tokenizer.encode(data.draw(WORDY))
    stops = data.draw(st.lists(st.text(" \ntheca.<é\ufffd", max_size=4), max_size=3))
    stream = tokenizer.stream(stops)
    text = "".join(map(stream.push, ids)) + stream.flush()
    whole = tokenizer.decode(ids)
    assert text == cut_at_stop(whole, stops)
    assert stream.stopped == (text != whole or any(stop and stop in whole for stop in stops))


def test_decoding_valid_ids_is_the_librarys_decoding(ai21, tmp_path):
    write_ai21(tmp_path, names=NAMES)
    rules = tokenizers.Tokenizer.from_file(str(tmp_path / "tokenizer.json"))
    for text in ("the cat\n", " é漢🙂  x", "<think>\n a"):
        ids = ai21.encode(text, allow_special=True)
        assert ai21.decode(ids) == rules.decode(ids) == text


def test_a_character_of_several_tokens_comes_whole(ai21):
    stream = ai21.stream()
    ids = ai21.encode("🙂")
    assert len(ids) == 4
    assert [stream.push(number) for number in ids] == ["", "", "", "🙂"]
    assert stream.flush() == ""


def test_an_unfinished_character_ends_as_a_replacement(ai21):
    stream = ai21.stream()
    assert [stream.push(number) for number in ai21.encode("🙂")[:2]] == ["", ""]
    assert stream.flush() == "\ufffd"
    ids = [*ai21.encode("🙂")[:2], *ai21.encode("cat")]
    assert ai21.decode(ids) == "\ufffdcat"


def test_a_stop_string_across_tokens_never_shows(ranks):
    stream = ranks.stream(["\n\nUser:"])
    shown = [stream.push(number) for number in ranks.encode("Hello\n\nUs\n\nUser: no")]
    assert "".join(shown) == "Hello\n\nUs"
    assert stream.stopped
    assert stream.push(ranks.encode("x")[0]) == stream.flush() == ""


def test_what_only_looked_like_a_stop_comes_out_in_the_end(ranks):
    stream = ranks.stream(["END"])
    assert "".join(map(stream.push, ranks.encode("the E"))) == "the "
    assert stream.push(ranks.encode("N")[0]) == ""
    assert stream.flush() == "EN"
    assert not stream.stopped


def test_stops_by_definition():
    assert first_stop("xabcd", ["abcd", "bc"]) == 2
    assert first_stop("xabc", ["c", "abc"]) == 1
    assert first_stop("xyz", ["a"]) is None
    assert held_back("xaba", ["abac"]) == 3
    assert held_back("abac", ["abac"]) == 0
    assert held_back("abc", []) == 0


def test_a_decoder_that_drops_the_first_space_does_so_in_a_stream_too(tmp_path):
    write_ai21(tmp_path)
    data = json.loads((tmp_path / "tokenizer.json").read_text())
    data["decoder"]["decoders"].append({"type": "Strip", "content": " ", "start": 1, "stop": 0})
    (tmp_path / "tokenizer.json").write_text(json.dumps(data))
    tokenizer = Tokenizer.load(tmp_path)
    ids = tokenizer.encode(" the cat")
    stream = tokenizer.stream()
    assert tokenizer.decode(ids) == "the cat" == "".join(map(stream.push, ids)) + stream.flush()


def test_byte_level_vocabularies_decode(tmp_path):
    rules = tokenizers.Tokenizer(tokenizers.models.BPE(byte_fallback=False))
    rules.pre_tokenizer = tokenizers.pre_tokenizers.ByteLevel(add_prefix_space=False)
    rules.decoder = tokenizers.decoders.ByteLevel()
    trainer = tokenizers.trainers.BpeTrainer(
        vocab_size=300,
        initial_alphabet=tokenizers.pre_tokenizers.ByteLevel.alphabet(),
        special_tokens=["<|im_end|>"],
        show_progress=False,
    )
    rules.train_from_iterator(["the cat sat, é漢 the cat"], trainer)
    rules.save(str(tmp_path / "tokenizer.json"))
    tokenizer = Tokenizer.load(tmp_path)
    for text in ("the cat é漢🙂\n", " \t\x00<|im_end|>"):
        ids = tokenizer.encode(text)
        stream = tokenizer.stream()
        assert tokenizer.decode(ids) == text == "".join(map(stream.push, ids)) + stream.flush()
        assert 0 not in ids


# What is broken is named


def test_loading_a_rank_file_imports_no_torch(tmp_path):
    write_ranks(tmp_path)
    program = (
        "import sys, pathlib; from runtime.tokenizer import Tokenizer;"
        f"Tokenizer.load(pathlib.Path({str(tmp_path)!r})); assert 'torch' not in sys.modules"
    )
    root = Path(__file__).resolve().parents[2]
    subprocess.run([sys.executable, "-c", program], check=True, cwd=root)


# AI21's own file


def test_real_splitting_at_words_is_bit_identical(real):
    assert real._by_word
    rules = tokenizers.Tokenizer.from_file(str(REAL / "tokenizer.json"))
    source = Path(__file__).read_text() + Path(tiktoken.__file__).read_text()
    names = ["<think>", "<|im_end|>", "<tool_call>", "<|endoftext|>"]
    draw = random.Random(5)
    alphabet = [*" \n▁\t.é漢字🙂€<>|_", "   ", "assistant", " the", "Hello", "12", *names]
    texts = ["".join(draw.choices(alphabet, k=40)) for _ in range(1500)]
    texts += [source, long_text(5 * PIECE_CHARS)]
    for text in texts:
        plain = text
        for name in rules.get_added_tokens_decoder().values():
            plain = plain.replace(name.content, "")  # the library would take them for special
        assert real.encode(plain) == rules.encode(plain, add_special_tokens=False).ids


def test_real_facts(real):
    assert real.vocab_size == 65536
    assert real.special_ids["<|endoftext|>"] == 2
    assert real.special_ids["<|im_end|>"] == 519
    assert real.special_ids["<think>"] == 541
    assert "assistant" not in real.special_ids
    assert real.encode("\n") == [1554]
    assert real.encode("assistant") == [543]
    assert real.decode([22560]) == " Hello"
    assert real.encode("<|im_start|>a<|endoftext|>", allow_special=True) == [
        518, *real.encode("a"), 2,
    ]  # fmt: skip
    assert set(real.encode(" ".join(real.special_ids))).isdisjoint(real.special_ids.values())


def test_the_pattern_of_the_tests_is_the_one_on_disk(tmp_path):
    write_ranks(tmp_path)
    assert (
        json.loads((tmp_path / "tokenizer_config.json").read_text())["tiktoken_pattern"] == PATTERN
    )
