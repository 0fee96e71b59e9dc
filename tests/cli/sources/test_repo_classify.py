"""What a folder leaves out by name and by content, and what --include brings back."""

import pytest

from jamba_cli.sources.classify import (
    classify_name,
    generated_reason,
    is_pdf,
    pattern_names_credential,
)
from jamba_cli.sources.resolve import ReadOptions, read_sources


def write(root, files):
    for name, content in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content.encode() if isinstance(content, str) else content)


def outcome(root, **options):
    document = read_sources([str(root)], ReadOptions(**options))
    reasons = {item.path: item.reason for item in document.skipped}
    return {part.path for part in document.parts}, reasons


LEFT_OUT = {
    "binary": ["a.pyc", "lib/x.so", "w.safetensors", "report.docx"],
    "image": ["logo.png", "LOGO.JPG", "icon.svg"],
    "audio or video": ["talk.mp4"],
    "archive": ["a.zip", "b.tar.gz"],
    "lock file": ["package-lock.json", "go.sum", "uv.lock", "sub/Cargo.lock", "pnpm-lock.yaml"],
    "minified": ["jquery.min.js", "style.min.css"],
    "source map": ["app.js.map", "app.css.map"],
    "generated": ["api_pb2.py", "api_pb2_grpc.py", "api.pb.go", "zz_generated.deepcopy.go"],
    "looks like a credential": [
        ".env",
        ".env.production",
        ".env.local",
        "prod.env",
        ".envrc",
        "server.pem",
        "server.key",
        "cert.p12",
        "id_rsa",
        "id_rsa.old",
        "id_ed25519",
        ".netrc",
        ".npmrc",
        ".pypirc",
        ".git-credentials",
        ".aws/credentials",
        "credentials.json",
        "client_secret_1.json",
        "token.json",
        "secrets.yaml",
        "terraform.tfstate",
    ],
}
KEPT = [
    ".env.example",
    ".env.sample",
    ".env.template",
    ".env.local.example",
    ".environment",
    "credentials.py",
    "token.go",
    "tokens.rs",
    "secrets.md",
    "main.js",
    "key.py",
    "monkey",
    "lock.py",
    "world.map",
    "firmware.bin.txt",
    "data.dat",
    "administrator.py",
    "minimal.css",
]


def test_each_kind_is_left_out_by_name_with_its_reason(tmp_path):
    write(tmp_path, {name: "x = 1\n" for names in LEFT_OUT.values() for name in names})
    write(tmp_path, dict.fromkeys(KEPT, "x = 1\n"))
    kept, reasons = outcome(tmp_path)
    assert kept == set(KEPT)
    expected = {name: reason for reason, names in LEFT_OUT.items() for name in names}
    assert reasons == expected


def test_include_overrules_all_but_binary_and_unnamed_credentials(tmp_path):
    names = [name for names in LEFT_OUT.values() for name in names]
    write(tmp_path, dict.fromkeys(names, "x = 1\n"))
    write(tmp_path, {"real.pyc": b"\x00\x01", "ok.py": "x\n"})
    kept, reasons = outcome(tmp_path, include=("*", "*.*", "**/*", ".aws/", ".aws/**"))
    assert set(reasons) == {*LEFT_OUT["looks like a credential"], "real.pyc"}
    assert kept == {*names, "ok.py"} - set(LEFT_OUT["looks like a credential"])


@pytest.mark.parametrize(
    ("pattern", "brings"),
    [
        (".env", {".env"}),
        ("*.pem", {"conf/a.pem"}),
        ("conf/*.pem", {"conf/a.pem"}),
        (".env*", {".env", ".env.local"}),
        ("**/id_rsa*", {"conf/id_rsa"}),
        ("conf/", set()),
        ("conf/*", set()),
        ("*", set()),
        (".*", set()),
        ("*.json", set()),
        ("credentials.json", {"credentials.json"}),
    ],
)
def test_credentials_come_back_only_when_spelled_out(tmp_path, pattern, brings):
    secret = {".env", ".env.local", "conf/a.pem", "conf/id_rsa", "credentials.json"}
    write(tmp_path, dict.fromkeys(secret, "KEY=1\n"))
    write(tmp_path, {"ok.py": "x\n"})
    kept, reasons = outcome(tmp_path, include=(pattern,))
    assert kept == {"ok.py", *brings}
    assert set(reasons) == secret - brings


def test_a_pattern_that_could_be_anything_names_no_credential():
    assert not any(map(pattern_names_credential, ["*", "**", "src/", "*.py", "conf/**", "*e*"]))


def test_a_private_key_under_another_name_is_left_out(tmp_path):
    key = "-----BEGIN OPENSSH PRIVATE KEY-----\nabc\n-----END OPENSSH PRIVATE KEY-----\n"
    write(tmp_path, {"deploy": key, "about.md": f"A key looks like\n{key}"})
    kept, reasons = outcome(tmp_path)
    assert kept == {"about.md"}
    assert reasons == {"deploy": "looks like a credential"}
    assert "deploy" in outcome(tmp_path, include=("deploy",))[0]


def test_vendored_folders_are_one_entry_each(tmp_path):
    write(
        tmp_path,
        {
            "a.py": "x\n",
            "node_modules/p/i.js": "x\n",
            "web/vendor/v.go": "x\n",
            "third_party/lib/a.c": "x\n",
            "vendor.py": "x\n",
        },
    )
    kept, reasons = outcome(tmp_path)
    assert kept == {"a.py", "vendor.py"}
    assert set(reasons) == {"node_modules/", "web/vendor/", "third_party/"}
    assert all(reason.startswith("vendored folder") for reason in reasons.values())
    kept, reasons = outcome(tmp_path, include=("third_party/**",))
    assert kept == {"a.py", "vendor.py", "third_party/lib/a.c"}
    # A vendored folder that was named itself is read.
    assert outcome(tmp_path / "node_modules")[0] == {"p/i.js"}


def test_empty_and_large_files(tmp_path):
    write(tmp_path, {"a.py": "x\n", "empty.py": "", "blank.py": " \n\n", "big.txt": "x\n" * 600})
    kept, reasons = outcome(tmp_path, max_file_bytes=1024)
    assert kept == {"a.py"}
    assert reasons == {
        "empty.py": "empty",
        "blank.py": "empty",
        "big.txt": "too large (1.2 KiB, the limit is 1 KiB)",
    }
    assert "big.txt" in outcome(tmp_path, max_file_bytes=1024, include=("big.txt",))[0]
    named = read_sources([str(tmp_path / "big.txt")], ReadOptions(max_file_bytes=1024))
    assert len(named.parts[0].text) == 1200


@pytest.mark.parametrize(
    "line",
    [
        "// Code generated by protoc-gen-go. DO NOT EDIT.",
        "# @generated by cargo",
        "/* eslint-disable */\n/** @generated */",
        "# Generated by the protocol buffer compiler.  DO NOT EDIT!",
        "<!-- This file is auto-generated. Please do not edit. -->",
        "-- Code generated by sqlc. DO NOT EDIT.",
    ],
)
def test_markers_of_generated_code(line):
    assert generated_reason("a.x", f"{line}\ncode\n") == "generated"


@pytest.mark.parametrize(
    "text",
    [
        'MARKER = "Code generated by x. DO NOT EDIT."\n',
        "# the report is generated by make report\n",
        "# see generatedness\n# foo@generated.example\n",
        "x\n" * 50 + "# @generated\n",
    ],
)
def test_text_that_only_speaks_of_generated_code_stays(text):
    assert generated_reason("a.py", text) is None


def test_minified_code_is_known_by_its_mean_line():
    packed = "var a=1;" * 400
    assert generated_reason("a.js", packed) == "minified"
    assert generated_reason("a.css", packed) == "minified"
    assert generated_reason("a.js", "var a=1;\n" * 400) is None
    assert generated_reason("a.txt", packed) is None
    assert generated_reason("a.js", "module.exports = " + "x" * 200) is None


def test_pdfs_are_known_by_their_mark_texts_about_them_are_not():
    assert is_pdf(b"%PDF-1.7\n%\xe2\xe3")
    assert is_pdf(b"junk\0junk %PDF-1.4\n")
    assert not is_pdf(b"A PDF starts with %PDF-1.7 and then")
    assert not is_pdf(b"")


def test_a_suffix_alone_does_not_condemn_what_is_often_text():
    assert classify_name("table.dat") is None
    assert classify_name("gettext.lib") is None
