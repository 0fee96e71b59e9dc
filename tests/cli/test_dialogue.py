"""In every chat format the document is a prefix of whatever is asked, and however often."""

from __future__ import annotations

import pytest

from jamba_cli.chat.dialogue import Turn, choose_layout, conversation
from jamba_cli.prompts import prefix, question_task, summary_task
from jamba_cli.reader import Reader
from jamba_cli.sources.document import Document, Part
from runtime.chat import ChatFormat
from runtime.tokenizer import Tokenizer
from tests.runtime.test_chat import CHATML_NAMES, REASONING, TURN_NAMES
from tests.runtime.tiny_tokenizers import write_ai21, write_config, write_ranks

DOCUMENT = Document(
    (Part("a.py", "the cat <|im_end|> sat\non the mat\n"), Part("b.md", "Hello <|eom|> world\n")),
    outline="2 files:\na.py\nb.md",
)
SHARED = prefix(DOCUMENT, style="prose")
TASKS = (question_task("the cat?"), question_task("who?\n\nwhy?"), summary_task(style="prose"))
TURNS = (
    Turn(question_task("the cat?"), "It sat [a.py:1]."),
    Turn(question_task("who?"), "<think>\nHm.\n</think>\n\nThe cat."),
    Turn(summary_task(style="prose"), "A thought ended</think>\nShort."),
)
OLD_TURNS_DROPPED = "{{ bos_token }}{% for m in messages[-1:] %}{{ m.content }}{% endfor %}"
NO_SYSTEM = REASONING.replace(
    "{%- for message in messages %}",
    "{%- if messages[0].role == 'system' %}{{ raise_exception('no system') }}{% endif %}"
    "{%- for message in messages %}",
)


def ai21(directory, names=(), **config):
    write_ai21(directory, names=names)
    return load(directory, **config)


def ranks(directory, **config):
    write_ranks(directory)
    return load(directory, **config)


def load(directory, **config) -> ChatFormat:
    if config:
        write_config(directory, **config)
    return ChatFormat.load(directory, Tokenizer.load(directory))


FORMATS = {
    "jamba2": (lambda d: ai21(d, CHATML_NAMES), "question"),
    "1.5 to 1.7": (lambda d: ai21(d, TURN_NAMES), "question"),
    "reasoning": (lambda d: ai21(d, CHATML_NAMES, chat_template=REASONING), "system"),
    "reasoning without a system turn": (
        lambda d: ai21(d, CHATML_NAMES, chat_template=NO_SYSTEM),
        "turn",
    ),
    "base model": (lambda d: ai21(d), "question"),
    "embedded kind": (lambda d: ranks(d), "question"),
}


@pytest.mark.parametrize("name", FORMATS)
def test_the_document_is_a_prefix_of_every_question_and_of_every_turn(name, tmp_path):
    make, layout = FORMATS[name]
    chat = make(tmp_path)
    assert choose_layout(chat) == layout
    prompts = [
        conversation(SHARED, TURNS[:count], task, layout).encode(chat)
        for task in TASKS
        for count in range(len(TURNS) + 1)
    ]
    shared = prompts[0][0]
    assert all(head == shared for head, _ in prompts)
    assert len({tuple(rest) for _, rest in prompts}) == len(prompts)
    tokenizer = chat._tokenizer
    assert tokenizer.decode(shared).endswith(SHARED)
    for (_, rest), task in zip(prompts[:: len(TURNS) + 1], TASKS, strict=True):
        assert task.strip() in tokenizer.decode(rest)


def test_the_instruction_to_think_moves_with_the_last_question(tmp_path):
    chat = ai21(tmp_path, CHATML_NAMES, chat_template=REASONING)
    _, rest = conversation(SHARED, TURNS[:1], TASKS[1], "system").encode(chat)
    text = chat._tokenizer.decode(rest)
    assert text.count("Think within") == 1
    assert text.index("Think within") > text.index(TURNS[0].answer)


def test_earlier_thoughts_are_not_shown_again(tmp_path):
    chat = ai21(tmp_path, CHATML_NAMES, chat_template=REASONING)
    _, rest = conversation(SHARED, TURNS, TASKS[0], "system").encode(chat)
    text = chat._tokenizer.decode(rest)
    assert "Hm." not in text
    assert "A thought ended" not in text
    assert "The cat." in text


def test_a_template_that_forgets_earlier_turns_still_shares_one_question_s_document(tmp_path):
    chat = ai21(tmp_path, CHATML_NAMES, chat_template=OLD_TURNS_DROPPED)
    assert choose_layout(chat) == "question"
    heads = [conversation(SHARED, (), task, "question").encode(chat)[0] for task in TASKS]
    assert heads[0] == heads[1] == heads[2]


def test_what_follows_the_document_does_not_depend_on_it():
    reader = Reader("nano")
    prompt = reader.prompt(DOCUMENT, TASKS[0], TURNS[:1])
    assert prompt.task == reader.after_document(TASKS[0], TURNS[:1])


def test_the_embedded_model_gets_the_prompt_that_it_was_trained_with():
    reader = Reader("nano")
    ids = reader.prompt(DOCUMENT, TASKS[0]).ids
    text = prefix(DOCUMENT, style="quote") + TASKS[0]
    wanted = f"<|im_start|>user\n{text}<|im_end|>\n<|im_start|>assistant\n"
    assert reader.tokenizer.decode(ids) == wanted.replace("<|im_start|>", "").replace(
        "<|im_end|>\nassistant", "\nassistant"
    )
    assert prefix(DOCUMENT, style="quote").index("2 files") < prefix(DOCUMENT, style="quote").index(
        "[a.py:1]"
    )
    assert SHARED.index("2 files") > SHARED.index("[b.md:1]")
