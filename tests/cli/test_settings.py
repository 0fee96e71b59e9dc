"""Settings: which value wins, and what is refused."""

from __future__ import annotations

import contextlib
import io
import os
import pty
import subprocess
import sys
import textwrap

import pytest
from entry_point import hermetic_environ

from jamba_cli.output import Output
from jamba_cli.passwords import password_source
from jamba_cli.settings import Settings, load_settings
from runtime.errors import UsageError


@pytest.fixture
def config(tmp_path):
    """Writes config.toml and returns the environment that names it."""

    def write(text: str) -> dict[str, str]:
        path = tmp_path / "config.toml"
        path.write_text(text)
        return {"JAMBA_CONFIG": str(path)}

    return write


@pytest.fixture(autouse=True)
def _own_config_directory(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "xdg"))
    monkeypatch.setenv("HOME", str(tmp_path))


def test_defaults():
    assert load_settings({}, {}) == Settings()
    assert load_settings({}, {}).model == "nano"


def test_each_layer_wins_over_the_next(config):
    environ = config('model = "file"\ndevice = "cpu"\ncontext = "64k"\n')
    assert load_settings({}, environ).model == "file"
    environ |= {"JAMBA_MODEL": "environment", "JAMBA_CONTEXT": "32k"}
    assert load_settings({}, environ).model == "environment"
    settings = load_settings({"model": "flag", "context": None}, environ)
    assert (settings.model, settings.device, settings.context) == ("flag", "cpu", 32768)
    assert settings.origins["model"] == "command line"
    assert settings.origins["context"] == "environment"
    assert settings.origins["device"].endswith("config.toml")


def test_empty_variable_is_not_set():
    assert load_settings({}, {"JAMBA_MODEL": ""}).model == "nano"


def test_config_in_the_user_s_directory(tmp_path):
    (tmp_path / "xdg" / "jamba").mkdir(parents=True)
    (tmp_path / "xdg" / "jamba" / "config.toml").write_text("progress = false")
    assert load_settings({}, {}).progress is False


def test_no_color_of_the_environment_wins_over_the_file_not_over_the_flag(config):
    environ = config('color = "always"')
    assert load_settings({}, environ).color == "always"
    environ["NO_COLOR"] = "1"
    assert load_settings({}, environ).color == "never"
    assert load_settings({"color": "always"}, environ).color == "always"


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ('modle = "x"', ["config.toml", "'modle'", "not a setting"]),
        ("[model]\nname = 'x'", ["config.toml", "model", "must be text"]),
        ("model = 3", ["config.toml", "model = 3", "must be text"]),
        ('device = "gpu"', ["config.toml", "device = gpu", "cuda:N"]),
        ('device = "cuda:x"', ["config.toml", "device = cuda:x"]),
        ("context = true", ["config.toml", "context = True", "must be a number"]),
        ("context = -5", ["config.toml", "context = -5"]),
        ("context_quota = 1.5", ["config.toml", "context_quota = 1.5", "such as 500M or 50G"]),
        ('context_quota = "4GiB"', ["config.toml", "context_quota = 4GiB", "powers of 1000"]),
        ('color = "blue"', ["config.toml", "color = blue", "auto, always, never"]),
        ('progress = "perhaps"', ["config.toml", "progress = perhaps", "true or false"]),
        ('over_budget = "cut"', ["config.toml", "over_budget = cut", "windows, fail, drop"]),
        ('"a\\u001b[31m" = 1', ["config.toml", r"'a\x1b[31m'"]),
        ("model = ", ["config.toml", "not valid TOML"]),
    ],
)
def test_bad_config_names_key_and_file(config, text, words):
    with pytest.raises(UsageError) as caught:
        load_settings({}, config(text))
    for word in words:
        assert word in caught.value.message


def test_config_that_is_no_text(config, tmp_path):
    environ = config("")
    (tmp_path / "config.toml").write_bytes(b"model = '\xff'")
    with pytest.raises(UsageError, match=r"config.toml: can't be read"):
        load_settings({}, environ)


def test_missing_config_is_an_error_only_if_it_was_named(tmp_path):
    with pytest.raises(UsageError, match="no such file"):
        load_settings({}, {"JAMBA_CONFIG": str(tmp_path / "none.toml")})


def test_bad_variable_names_the_variable():
    with pytest.raises(UsageError, match="environment: JAMBA_CONTEXT = lots"):
        load_settings({}, {"JAMBA_CONTEXT": "lots"})


def test_the_quota_is_in_powers_of_1000_wherever_it_stands(config):
    assert load_settings({}, config('context_quota = "40m"')).context_quota == 40_000_000
    assert load_settings({}, config("context_quota = 40_000_000")).context_quota == 40_000_000
    assert load_settings({}, {"JAMBA_CONTEXT_QUOTA": "1.5T"}).context_quota == 1_500_000_000_000
    with pytest.raises(UsageError, match=r"environment: JAMBA_CONTEXT_QUOTA = much: 'much' is not"):
        load_settings({}, {"JAMBA_CONTEXT_QUOTA": "much"})


def test_bad_config_is_exit_2_in_the_command(jamba, tmp_path):
    (tmp_path / "bad.toml").write_text("modle = 1")
    done = jamba("tokens", "x", JAMBA_CONFIG=str(tmp_path / "bad.toml"))
    assert done.returncode == 2
    assert "'modle' is not a setting\nhint: the settings are model, device," in done.stderr


def output() -> Output:
    return Output(stdout=io.StringIO(), stderr=io.StringIO())


def test_password_from_the_file_s_first_line(tmp_path):
    (tmp_path / "password").write_text("secret word \nsecond\n")
    ask = password_source(output(), tmp_path / "password", {"JAMBA_PDF_PASSWORD": "other"})
    assert ask("a.pdf") == "secret word "
    # Asked again for the same file: the first was wrong.
    assert ask("a.pdf") == "other"
    assert ask("a.pdf") is None
    assert ask("b.pdf") == "secret word "


def test_prompt_takes_the_bar_off_the_terminal(tmp_path):
    code = """
        from jamba_cli.output import Output
        from jamba_cli.passwords import password_source
        from jamba_cli.progress import make_reporter
        with Output() as output:
            reporter = make_reporter(output)
            reporter.phase("read", 5, "pages")
            ask = password_source(output, None, {})
            output.answer(repr([ask("a\\x1b[31m.pdf"), ask("b.pdf")]))
    """
    terminal, slave = pty.openpty()
    process = subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(code)], start_new_session=True,
        stdin=slave, stdout=slave, stderr=slave, env=hermetic_environ(tmp_path),
    )  # fmt: skip
    os.close(slave)
    shown = b""
    for prompt, answer in ((b"a\\x1b[31m.pdf: ", b"secret\n"), (b"b.pdf: ", b"\n")):
        while not shown.endswith(b"password of " + prompt):
            shown += os.read(terminal, 4096)
        assert shown.rstrip(b" ").rfind(b"\x1b[?25h") > shown.rfind("━".encode())
        os.write(terminal, answer)
    with contextlib.suppress(OSError):  # the end of a terminal
        while piece := os.read(terminal, 4096):
            shown += piece
    os.close(terminal)
    assert process.wait(timeout=10) == 0
    assert shown.count(b"secret") == 1  # not where it was typed
    assert b"['secret', None]" in shown


def test_no_password_and_no_terminal_is_none():
    assert password_source(output(), None, {})("a.pdf") is None


def test_password_file_that_is_missing(tmp_path):
    with pytest.raises(UsageError, match=r"--password-file .*none: No such file"):
        password_source(output(), tmp_path / "none", {})
