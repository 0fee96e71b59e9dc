"""Messages to token ids in a checkpoint's own chat format, with texts that stay texts.

A template is rendered with a stand-in for each message's text. Special tokens are recognized in
what the template wrote and never in a message: `<|im_end|>` in a document ends no turn. Template
text and message text between two special tokens are encoded together, as transformers would.
"""

from __future__ import annotations

import re
import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from runtime.errors import TokenizerError, UsageError
from runtime.template import ChatTemplate
from runtime.thinking import CLOSE, OPEN
from runtime.tokenizer import Tokenizer, read_json

CHATML = (
    "{{ bos_token }}{% for m in messages %}"
    "{{ '<|im_start|>' + m.role + '\n' + m.content + '<|im_end|>\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)
# Jamba 1.5 to 1.7 always saw a system turn, if only an empty one.
TURNS = (
    "{{ bos_token }}{% if not messages or messages[0].role != 'system' %}"
    "{{ '<|bom|><|system|> <|eom|>' }}{% endif %}{% for m in messages %}"
    "{{ '<|bom|><|' + m.role + '|> ' + m.content + '<|eom|>' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|bom|><|assistant|>' }}{% endif %}"
)
PLAIN = (
    "{{ bos_token }}{% for m in messages %}"
    "{{ m.content }}{{ '' if loop.last else '\n\n' }}{% endfor %}"
)
END_TOKENS = ("<|im_end|>", "<|eom|>")
ROLE = re.compile(r"[a-z_]{1,32}")
SPECIAL_KEYS = ("bos_token", "eos_token", "unk_token", "pad_token")


@dataclass(frozen=True)
class Message:
    """One turn of a conversation; `role` is system, user, assistant or what the template knows."""

    role: str
    content: str


@dataclass(frozen=True)
class _Part:
    """A piece of the prompt; only a template's own text may name special tokens."""

    text: str
    trusted: bool


CUT = _Part("", trusted=False)  # marks the place where split_encode cuts


class _StandIns:
    """Names that a template sees instead of texts, and what they stand for.

    White space around a text stays visible, so that a template's `trim` does what it would do.
    """

    def __init__(self) -> None:
        self._parts: dict[str, list[_Part]] = {}
        self._required: dict[str, str] = {}  # whose text must be written once

    def hide(self, text: str, required: str = "") -> str:
        """What the template sees for a text; `required` names whose text must not be dropped."""
        core = text.strip()
        if not core:
            return text  # white space alone names no token
        before, _, after = text.partition(core)
        return before + self._name([_Part(core, trusted=False)], required) + after

    def hide_cut(self, head: str, tail: str, required: str) -> str:
        """What the template sees for a text in two parts; nothing before CUT depends on `tail`."""
        core, rest = head.lstrip() or head, tail.rstrip() or tail
        before, after = head[: len(head) - len(core)], tail[len(rest) :]
        parts = [_Part(core, trusted=False), CUT, _Part(rest, trusted=False)]
        return before + self._name(parts, required) + after

    def resolve(self, text: str) -> list[_Part]:
        """The pieces of what the template wrote; TokenizerError if it dropped a required text."""
        names = "|".join(self._parts) or "(?!)"
        pieces: list[_Part] = []
        seen = dict.fromkeys(self._parts, 0)
        for piece in re.split(f"({names})", text):
            if piece in self._parts:
                seen[piece] += 1
                pieces += self._parts[piece]
            else:
                pieces.append(_Part(piece, trusted=True))
        for name, role in self._required.items():
            if seen[name] != 1:
                raise TokenizerError(
                    f"the chat template writes a {role} message {seen[name]} times, not once",
                    hint="this checkpoint's template does not support such a conversation",
                )
        return pieces

    def _name(self, parts: list[_Part], required: str) -> str:
        name = "".join(chr(0xE000 + secrets.randbelow(0x1900)) for _ in range(16))
        self._parts[name] = parts
        if required:
            self._required[name] = required
        return name


class ChatFormat:
    """How a checkpoint wants a conversation written; `load` reads it."""

    def __init__(
        self,
        tokenizer: Tokenizer,
        template: ChatTemplate,
        variables: Mapping[str, Any],
        *,
        kind: str,
        bos_id: int | None,
    ) -> None:
        self.kind = kind  # "template", "chatml", "turns" or "plain"
        self._tokenizer = tokenizer
        self._template = template
        self._variables = dict(variables)
        self._bos_id = bos_id
        written = [name for name in END_TOKENS if name in template.source]
        ids = tokenizer.special_ids
        self.end_ids = frozenset(ids[name] for name in written if name in ids)

    @classmethod
    def load(cls, directory: Path, tokenizer: Tokenizer) -> ChatFormat:
        """The checkpoint's template, or the family's format that its special tokens call for."""
        config = read_json(directory / "tokenizer_config.json")
        variables = {key: _token_text(config[key]) for key in SPECIAL_KEYS if config.get(key)}
        bos_id = tokenizer.special_ids.get(variables.get("bos_token", ""))
        if bos_id is None:
            bos_id = _bos_of(directory, tokenizer, variables)
        source, kind = _template_source(directory, config), "template"
        if source is None:
            kind, source = _built_in(tokenizer.special_ids)
            if config.get("add_bos_token") is False:
                variables["bos_token"] = ""
        return cls(tokenizer, ChatTemplate(source), variables, kind=kind, bos_id=bos_id)

    @property
    def starts_in_thought(self) -> bool:
        """Whether the prompt already opens `<think>`: the output then begins with a thought."""
        text = "".join(part.text for part in self._parts([Message("user", "text")], True))
        return text.rstrip().endswith(OPEN)

    def encode(
        self, messages: Sequence[Message], *, add_generation_prompt: bool = True
    ) -> list[int]:
        """The ids of a conversation, ready for the model's answer; BOS as the format has it."""
        return self._ids(self._parts(messages, add_generation_prompt))

    def split_encode(
        self,
        message: Message,
        at: int,
        *,
        before: Sequence[Message] = (),
        after: Sequence[Message] = (),
    ) -> tuple[list[int], list[int]]:
        """Ids of a conversation that holds `message`, in two parts to be fed one after another.

        What the first says of `message` is `message.content[:at]` alone, so a cache of it can be
        used again, as long as the template writes the same in front of it; a longer conversation
        may change that. A token ends at the cut, so the two need not equal `encode`'s ids.
        """
        if not 0 <= at <= len(message.content):
            raise UsageError(f"a message of {len(message.content)} characters has no place {at}")
        parts = self._parts([*before, message, *after], True, cut=(len(before), at))
        place = next(number for number, part in enumerate(parts) if part is CUT)
        return self._ids(parts[:place]), self._encode_parts(parts[place + 1 :])

    def _parts(
        self,
        messages: Sequence[Message],
        add_generation_prompt: bool,
        cut: tuple[int, int] | None = None,
    ) -> list[_Part]:
        """The prompt's pieces in order; `cut` is a message's number and where in it CUT stands."""
        stand_ins = _StandIns()
        shown = []
        for number, message in enumerate(messages):
            if not ROLE.fullmatch(message.role):
                raise UsageError(f"{message.role!r} is no role: lower-case letters only")
            place = cut[1] if cut is not None and number == cut[0] else None
            shown.append(self._shown(message, stand_ins, place))
        text = self._template.render(
            {
                "tools": None,
                "documents": None,
                **self._variables,
                "messages": shown,
                "add_generation_prompt": add_generation_prompt,
            }
        )
        return stand_ins.resolve(text)

    def _shown(self, message: Message, stand_ins: _StandIns, cut: int | None) -> dict[str, str]:
        """A message as the template sees it: its text stood in for, an earlier thought marked."""
        content, thought = message.content, ""
        if message.role == "assistant" and cut is None and CLOSE in content:
            thought, _, content = content.rpartition(CLOSE)
            content = content.lstrip("\n")
            thought = stand_ins.hide(thought.strip().removeprefix(OPEN).strip())
            thought = f"{OPEN}\n{thought}\n{CLOSE}\n\n"
            if CLOSE not in self._template.source:  # it would leave thoughts in the conversation
                thought = ""
        if cut is None:
            content = stand_ins.hide(content, required=message.role)
        else:
            content = stand_ins.hide_cut(content[:cut], content[cut:], message.role)
        return {"role": message.role, "content": thought + content}

    def _ids(self, parts: Sequence[_Part]) -> list[int]:
        ids = self._encode_parts(parts)
        while self._bos_id is not None and ids[:2] == [self._bos_id] * 2:
            del ids[0]  # a token that is both BOS and the first turn's mark, or written twice
        return ids

    def _encode_parts(self, parts: Sequence[_Part]) -> list[int]:
        """Ids of the pieces, plain text joined up to the next special token before encoding."""
        special = self._tokenizer.special_ids
        ids: list[int] = []
        plain: list[str] = []
        for part in parts:
            pieces = self._tokenizer.split_special(part.text) if part.trusted else [part.text]
            for piece in pieces:
                if part.trusted and piece in special:
                    ids += self._tokenizer.encode("".join(plain))
                    ids.append(special[piece])
                    plain.clear()
                else:
                    plain.append(piece)
        return ids + self._tokenizer.encode("".join(plain))


def stop_ids(directory: Path, tokenizer: Tokenizer | None = None) -> frozenset[int]:
    """Every id that ends an answer: of config.json, generation_config.json and the chat format."""
    if tokenizer is None:
        tokenizer = Tokenizer.load(directory)
    found: set[int] = set(ChatFormat.load(directory, tokenizer).end_ids)
    for name in ("config.json", "generation_config.json"):
        value = read_json(directory / name).get("eos_token_id")
        ids = value if isinstance(value, list) else [] if value is None else [value]
        if not all(type(number) is int for number in ids):
            raise TokenizerError(f"{directory / name}: eos_token_id {value!r} is no id")
        found.update(ids)
    eos = read_json(directory / "tokenizer_config.json").get("eos_token")
    if eos and (eos_id := tokenizer.special_ids.get(_token_text(eos))) is not None:
        found.add(eos_id)
    return frozenset(found)


def _built_in(special_ids: Mapping[str, int]) -> tuple[str, str]:
    """The family's format whose marks a vocabulary has: (kind, template)."""
    if {"<|im_start|>", "<|im_end|>"} <= special_ids.keys():
        return "chatml", CHATML
    if {"<|bom|>", "<|eom|>"} <= special_ids.keys():
        return "turns", TURNS
    return "plain", PLAIN


def _template_source(directory: Path, config: Mapping[str, Any]) -> str | None:
    """The checkpoint's template: chat_template.jinja, else tokenizer_config's, else None."""
    path = directory / "chat_template.jinja"
    try:
        return path.read_text(encoding="utf-8")
    except FileNotFoundError:
        pass
    except (OSError, UnicodeDecodeError) as error:
        raise TokenizerError(f"{path} can't be read: {error}") from error
    found = config.get("chat_template")
    if isinstance(found, list):  # several by name
        named = [entry for entry in found if isinstance(entry, dict)]
        found = next((e.get("template") for e in named if e.get("name") == "default"), None)
    if found is not None and not isinstance(found, str):
        raise TokenizerError(f"{directory}/tokenizer_config.json: 'chat_template' is no text")
    return found


def _token_text(value: object) -> str:
    """The name of a token that tokenizer_config gives as text or as an object with `content`."""
    text = value.get("content") if isinstance(value, dict) else value
    if not isinstance(text, str):
        raise TokenizerError(f"tokenizer_config.json: {value!r} is no token")
    return text


def _bos_of(directory: Path, tokenizer: Tokenizer, variables: dict[str, str]) -> int | None:
    """config.json's BOS where tokenizer_config has none; also set as the template's variable."""
    bos_id = read_json(directory / "config.json").get("bos_token_id")
    names = {number: name for name, number in tokenizer.special_ids.items()}
    if bos_id not in names:
        return None
    variables.setdefault("bos_token", names[bos_id])
    return int(bos_id)
