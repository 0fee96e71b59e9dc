"""A checkpoint's chat template in jinja2's sandbox: code from the Hub, so bounded and caught."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Mapping
from datetime import datetime
from typing import Any

import jinja2
from jinja2 import nodes
from jinja2.exceptions import SecurityError
from jinja2.ext import Extension, loopcontrols
from jinja2.parser import Parser
from jinja2.runtime import Context
from jinja2.sandbox import ImmutableSandboxedEnvironment
from jinja2.utils import Namespace

from runtime.errors import TokenizerError

TEMPLATE_CHARS = 1 << 18
OUTPUT_CHARS = 1 << 22
VALUE_SIZE = 1 << 20  # of a text or list that an operator makes
LOOP_STEPS = 200_000
RENDER_S = 2.0
WIDE_FORMAT = re.compile(r"%[^a-zA-Z%]*(\d{4}|\*)")


class GenerationTag(Extension):
    """`{% generation %}…{% endgeneration %}`, which marks text for training: the text alone."""

    tags = {"generation"}  # noqa: RUF012  jinja2 declares it as an instance's

    def parse(self, parser: Parser) -> list[nodes.Node]:
        """The nodes inside the tag."""
        next(parser.stream)
        return parser.parse_statements(("name:endgeneration",), drop_needle=True)


class TemplateDict:
    """`dict` for templates, without the way to Python's types that the class itself would open."""

    def __call__(self, *args: Any, **kwargs: Any) -> dict[Any, Any]:
        """A dictionary."""
        return dict(*args, **kwargs)


class TemplateNamespace(Namespace):
    """`namespace` for templates; names with an underscore in front are refused."""

    def __init__(*args: Any, **kwargs: Any) -> None:  # `self` may be a value's name
        self, values = args[0], dict(*args[1:], **kwargs)
        for name in values:
            TemplateNamespace._check(name)
        Namespace.__init__(self, values)

    def __setitem__(self, name: str, value: Any) -> None:
        TemplateNamespace._check(name)
        Namespace.__setitem__(self, name, value)

    @staticmethod
    def _check(name: object) -> None:
        if isinstance(name, str) and name.startswith("_"):
            raise SecurityError(f"a namespace can't hold {name!r}")


class BoundedEnvironment(ImmutableSandboxedEnvironment):
    """The sandbox with what transformers offers templates, and limits on loops and sizes.

    Loops and macros count steps and look at the clock; `*`, `**`, `%` and `+` are checked for size.
    Filters that repeat text can still use memory up to a small multiple of what they are given.
    """

    intercepted_binops = frozenset({"*", "**", "%", "+"})

    def __init__(self) -> None:
        super().__init__(
            trim_blocks=True,
            lstrip_blocks=True,
            extensions=[GenerationTag, loopcontrols],
            optimized=False,  # folding constants would run a bomb while compiling
        )
        self.filters["tojson"] = _to_json
        self.filters["center"] = _center
        self.filters["format"] = _format
        self.globals.update(
            raise_exception=_raise_exception,
            strftime_now=lambda form: datetime.now().strftime(form),
            dict=TemplateDict(),
            namespace=TemplateNamespace,
        )
        self.steps_left = LOOP_STEPS
        self.deadline_s = 0.0

    def compile_bounded(self, source: str) -> jinja2.Template:
        """The template, with a step counted in every round of a loop and call of a macro."""
        tree = self.parse(source)
        bodies = [(node.body, node.lineno) for node in tree.find_all(nodes.For)]
        bodies += [(node.body, node.lineno) for node in tree.find_all(nodes.Macro)]
        bodies += [(node.body, node.lineno) for node in tree.find_all(nodes.CallBlock)]
        for body, line in bodies:
            step = nodes.Call(nodes.EnvironmentAttribute("step"), [], [], None, None)
            body.insert(0, nodes.Output([step], lineno=line))
        tree.set_environment(self)
        return self.from_string(tree)

    def begin(self) -> None:
        """Starts the clock and the count of steps of one rendering."""
        self.steps_left = LOOP_STEPS
        self.deadline_s = time.monotonic() + RENDER_S

    def step(self) -> str:
        """Counts a round; SecurityError when there were too many or time is up."""
        self.steps_left -= 1
        if self.steps_left < 0 or time.monotonic() > self.deadline_s:
            raise SecurityError("the template runs too long")
        return ""

    def call_binop(self, context: Context, operator: str, left: Any, right: Any) -> Any:
        """An operator on two values; SecurityError if the result would be huge."""
        if operator == "*":
            texts = [value for value in (left, right) if hasattr(value, "__len__")]
            counts = [value for value in (left, right) if isinstance(value, int)]
            too_big = bool(texts and counts) and len(texts[0]) * counts[0] > VALUE_SIZE
        elif operator == "**":
            too_big = abs(left) > 1 << 16 or abs(right) > 64
        elif operator == "%":
            too_big = isinstance(left, str) and WIDE_FORMAT.search(left) is not None
        else:
            sized = hasattr(left, "__len__") and hasattr(right, "__len__")
            too_big = sized and len(left) + len(right) > VALUE_SIZE
        if too_big:
            raise SecurityError(f"the template makes too large a value by {operator!r}")
        return super().call_binop(context, operator, left, right)


def _center(value: Any, width: int = 80) -> str:
    if width > VALUE_SIZE:
        raise SecurityError("the template centres a text in too wide a field")
    return str(value).center(width)


def _format(value: Any, *args: Any, **kwargs: Any) -> str:
    if WIDE_FORMAT.search(str(value)):
        raise SecurityError("the template formats into too wide a field")
    return str(str(value) % (kwargs or args))


def _to_json(value: Any, *args: Any, **options: Any) -> str:
    """JSON as transformers writes it: no HTML escapes, non-ASCII characters kept."""
    return json.dumps(value, **{"ensure_ascii": args[0] if args else False, **options})


def _raise_exception(message: str) -> None:
    raise jinja2.TemplateError(message)


class ChatTemplate:
    """One compiled chat template."""

    def __init__(self, source: str) -> None:
        if len(source) > TEMPLATE_CHARS:
            raise TokenizerError(f"the chat template has {len(source):,} characters")
        self.source = source
        self._environment = BoundedEnvironment()
        try:
            self._template = self._environment.compile_bounded(source)
        except (jinja2.TemplateError, RecursionError, MemoryError, *_LOGIC_ERRORS) as error:
            raise TokenizerError(f"the chat template is broken: {_line(error)}") from error

    def render(self, variables: Mapping[str, Any]) -> str:
        """The text for these variables; TokenizerError for whatever the template does wrong."""
        parts: list[str] = []
        size = 0
        self._environment.begin()
        try:
            for part in self._template.generate(**variables):
                size += len(part)
                if size > OUTPUT_CHARS:
                    raise SecurityError("the template writes too much")
                parts.append(part)
        except (jinja2.TemplateError, RecursionError, MemoryError, *_LOGIC_ERRORS) as error:
            raise TokenizerError(f"the chat template fails: {_line(error)}") from error
        return "".join(parts)


# What wrong template code raises from inside Python's own operations.
_LOGIC_ERRORS = (TypeError, ValueError, LookupError, AttributeError, ArithmeticError)


def _line(error: BaseException) -> str:
    return " ".join(str(error).split())[:300] or type(error).__name__
