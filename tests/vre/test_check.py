# SPDX-License-Identifier: MIT
"""`check` ends with a list of mistakes and their places, whatever it is given; nothing makes it long or large."""

from __future__ import annotations

import contextlib
import json
from pathlib import Path

import pytest
from click.testing import CliRunner

from vre.cli.check import check as check_command
from vre.config.reader import load_model
from vre.config.toml_places import spans
from vre.errors import MISTAKES, ConfigError, Problem
from vre.language.checker import check
from vre.language.lexer import Source

HEAD = "[nics.eth0]\n[nics.eth1]\n[routers.red]\n"


def mistakes(text):
    with pytest.raises(ConfigError) as caught:
        check(Source(text, "x.click"))
    assert str(caught.value).isprintable() or "\n" in str(caught.value)
    return caught.value.problems


def load(tmp_path, text):
    file = tmp_path / "lab.toml"
    file.write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(ConfigError) as caught:
        load_model(file)
    return caught.value.problems


def doubled(count):
    return "".join(f"elementclass C{i} {{ input -> a :: C{i + 1} -> b :: C{i + 1} -> output }}\n" for i in range(count))


LARGE = {
    "ports": ("FromDevice(eth0) -> t :: Tee; t[0-999999999] -> Discard;", "a port number is at most 1023"),
    "port": ("FromDevice(eth0) -> t :: Tee; t[" + "9" * 5000 + "] -> Discard;", "a port number is at most 1023"),
    "port in Arabic": ("FromDevice(eth0) -> [１]Discard;", "'１' is not part of the Click language"),
    "many ports": ("a :: Idle;" + "a [0-1023] => [0-1023] a;" * 200, "ports are mentioned"),
    "doubling": (doubled(30) + "elementclass C30 { input -> Counter -> output } FromDevice(eth0) -> C0 -> Discard;", "once they are expanded"),
    "doubling of nothing": (
        "".join(f"elementclass C{i} {{ C{i + 1}; C{i + 1} }}\n" for i in range(30)) + "elementclass C30 { Idle } C0;",
        "more than 20000",
    ),
    "wires": (
        "elementclass A { input -> output; input -> output }"
        "FromDevice(eth0) -> " + "A -> " * 60 + "Discard;",
        "",
    ),
    "variables": ("".join(f"define($v{i} $v{i + 1}$v{i + 1})" for i in range(40)) + "define($v40 xxxx) Idle($v0);", "once variables are substituted"),
    "itself": ("define($a $a$a) Idle($a);", ""),
    "groups": ("(" * 100_000, "nested more than 64 deep"),
    "classes": ("{" * 100_000, "nested more than 64 deep"),
    "parentheses": ("Idle(" + "(" * 100_000, "'(' without ')'"),
    "circle of pulls": ("FromDevice(eth0) -> q :: Queue -> [1] i :: Idle -> [0] i;", "nothing pulls from 'q'"),
    "overloads": ("elementclass A { " + "input -> output || " * 100 + "input -> output } Idle -> A -> Discard;", "more than 64 overloads"),
    "NUL": ("FromDevice(eth0) \0 -> Discard;", r"'\x00' is not part of the Click language"),
    "line": ('# 99999999999999999999 "x"\n bad ->;', ""),
    "library": ('require(library "' + "x" * 5000 + '")', "there is no library"),
    "library with NUL": ('require(library "a\0b")', "there is no library"),
}  # fmt: skip


@pytest.mark.parametrize("name", LARGE)
def test_a_text_that_would_become_too_large_is_refused(name):
    text, message = LARGE[name]
    if not message:
        with contextlib.suppress(ConfigError):
            check(Source(text, "x.click"))
        return
    assert any(message in problem.message for problem in mistakes(text))


def test_mistakes_are_reported_up_to_a_number_and_long_lines_in_part():
    found = mistakes("FromDevice(eth0) -> " + " -> ".join(f"Cuonter{i}" for i in range(5000)) + " -> Discard;")
    assert len(found) == MISTAKES + 1 and "more than 200 mistakes" in found[-1].message
    shown = str(found[150]).splitlines()
    assert len(shown[1]) < 200 and shown[1][len(shown[2]) - 1 :].startswith("Cuonter150")


def test_a_long_path_is_checked_in_steps_in_proportion_to_it(monkeypatch):
    from vre.language.checker import _Spread

    steps = []
    monkeypatch.setattr(_Spread, "connect", lambda self, n, plain=_Spread.connect: (steps.append(n), plain(self, n))[1])
    counts = []
    for size in (100, 200, 400):
        steps.clear()
        check(Source("FromDevice(eth0) -> " + "Counter -> " * size + "ToDevice(eth1);", "x.click"))
        counts.append(len(steps))
    assert counts[2] - counts[1] == 2 * (counts[1] - counts[0])


def test_output_of_escapes_and_places_in_files_with_strange_names():
    found = mistakes('# 7 "a\x1b[31mb"\nFromDevice(eth0) -> \x1b[31mX -> Discard;')
    assert "\x1b" not in str(found[0]) and "\\x1b[31mb:7:" in str(found[0])


TOML = [
    # Each is a file, and where in it, (line, column), the mistake is.
    (HEAD + 'config = "Idle;"\nentitlement = 0', 5, 1),
    (HEAD + 'config = """\nFromDevice(eth0) -> Cuonter -> Discard;"""', 5, 21),
    (HEAD + 'config = """FromDevice(eth0) -> Cuonter -> Discard;"""', 4, 33),
    (HEAD + "# comment with \"\"\" in it\nconfig = 'FromDevice(eth0) -> Cuonter -> Discard;'", 5, 31),
    (HEAD + "x = 'a # not a comment'\nconfig = 'FromDevice(eth0) -> Discard;'", 4, 1),
    ("[nics]\neth0.link = [\n  { rate = 1 }, # two\n  { size = 9 },\n]\n[routers.red]\nconfig = 'FromDevice(eth0) -> Discard;'", 4, 5),
    ("[nics]\neth0.link = [\n  { rate = 1 },\n  { rate = 0 },\n]\n[routers.red]\nconfig = 'FromDevice(eth0) -> Discard;'", 4, 5),
    ("[nics]\neth0 = { link = { rate = 1, size = 64, flwos = 1 } }\n[routers.red]\nconfig = 'FromDevice(eth0) -> Discard;'", 2, 40),
    ("[[nics.eth0.link]]\nrate = 1\n[[nics.eth0.link]]\nrate = 0\n[routers.red]\nconfig = 'FromDevice(eth0) -> Discard;'", 4, 1),
    ("[nics.eth0]\n[routers.red]\nconfig = 'FromDevice(eth0) -> Discard;'\n[router.x]\nconfig = 'Idle;'", 4, 2),
    ('[nics.eth0]\n[routers."r\\u0065d"]\nconfig = "FromDevice(eth0) -> Discard;"\nentitlement = 0', 4, 1),
    ("[nics.eth0]\n[routers]\nred = { entitlement = 0, config = 'FromDevice(eth0) -> Discard;' }", 3, 9),
    ("[nics.eth0]\n[routers]\nred = { config = 'FromDevice(eth0) -> Cuonter -> Discard;' }", 3, 39),
    ("[nics.eth0]\n[routers.red]\nconfig = 'FromDevice(eth0) -> Discard;'\nports.eth0.mac = '1'", 4, 1),
    ("nics = 5\n[routers.red]\nconfig = 'FromDevice(eth0) -> Discard;'", 1, 1),
    ("[nics.eth0]\n[[routers]]\nconfig = 'FromDevice(eth0) -> Discard;'", 2, 3),
    (HEAD + "config = 'FromDevice(eth0) -> Discard;'\ndefine = [1]", 5, 1),
    (HEAD + "config = 'FromDevice(eth0) -> Discard;'\nports = 5", 5, 1),
]  # fmt: skip


@pytest.mark.parametrize(("text", "line", "column"), TOML, ids=range(len(TOML)))
def test_a_mistake_in_a_platform_file_has_its_place(tmp_path, text, line, column):
    found = load(tmp_path, text)
    assert (line, column) in [(p.where.line, p.where.column) for p in found if p.where], [str(p) for p in found]


STRANGE = {
    "Latin-1": (HEAD.encode() + b"config = '\xe9'", "not text (UTF-8): byte 0xe9 in line 4"),
    "UTF-16": (HEAD.encode("utf-16"), "not text (UTF-8): byte 0xff in line 1"),
    "NUL": (HEAD + "config = 'a\0'", "not TOML"),
    "escaped NUL": (HEAD + 'config = "a\\u0000.click"', "text without a NUL"),
    "nothing": ("", "no routers"),
    "deep": ("a = " + "[" * 100_000, "not TOML"),
    "deep tables": ("a = " + "{a = " * 100_000, "not TOML"),
    "digits": ("[platform]\ncores = " + "9" * 5000, "not TOML"),
    "far": ("[platform]\ncores = 99999999999999999999999", "must be an integer from 1 to 256"),
    "date": ("[platform]\ncores = 1979-05-27", "must be an integer"),
    "nan": (HEAD + "config = 'Idle;'\nentitlement = nan", "from 0.001 to 1e+06"),
    "inf": (HEAD + "config = 'Idle;'\nentitlement = 1e400", "from 0.001 to 1e+06"),
    "cost": (HEAD + "config = 'Idle;'\ncost = 1e300", "from 1 to 1e+09"),
    "deadline": (HEAD + "config = 'Idle;'\ndeadline = '1e400s'", "deadline"),
    "rate": (HEAD.replace("[nics.eth0]", "[nics.eth0]\nlink = { rate = '1e300Gpps' }"), "rate"),
    "speed": (HEAD.replace("[nics.eth0]", "[nics.eth0]\nspeed = '1e-9bps'"), "speed"),
    "memory": (HEAD + "config = 'Idle;'\ndomu = { memory = '99999999G' }", "memory"),
    "long file": (HEAD.replace("[nics.eth0]", "[nics.eth0]\nlink = { pcap = '" + "x" * 5000 + "' }"), "pcap"),
    "long capture": (HEAD.replace("[nics.eth0]", "[nics.eth0]\nlink = { capture = '" + "x/" * 5000 + "' }"), "capture"),
    "long config": (HEAD + "config = '" + "x" * 5000 + ".click'", "config: cannot read"),
    "long name": (HEAD.replace("red", "r" * 300) + "config = 'FromDevice(eth0) -> Discard;'", "is no name"),
}  # fmt: skip


@pytest.mark.parametrize("name", STRANGE)
def test_a_strange_file_is_a_message(tmp_path, name):
    text, message = STRANGE[name]
    found = load(tmp_path, text)
    assert any(message in problem.message for problem in found), [str(p)[:300] for p in found]


def test_a_byte_order_mark_and_other_ends_of_lines_are_no_mistakes(tmp_path):
    file = tmp_path / "lab.toml"
    file.write_bytes(
        b"\xef\xbb\xbf" + (HEAD + "config = 'FromDevice(eth0) -> Discard;'").replace("\n", "\r\n").encode()
    )
    assert list(load_model(file).routers) == ["red"]


def test_errors_are_json_where_json_is_asked_for(tmp_path):
    file = tmp_path / "lab.toml"
    file.write_text(HEAD + "config = 'FromDevice(eth0) -> Cuonter -> Discard;'\nentitlement = -1")
    done = CliRunner().invoke(check_command, [str(file), "--json"])
    said = json.loads(done.output)
    assert done.exit_code == 2 and said["ok"] is False
    assert {(e["file"], e["line"], e["column"]) for e in said["errors"]} == {(str(file), 4, 31), (str(file), 5, 1)}
    assert "did you mean Counter" in said["errors"][0]["message"] + said["errors"][1]["message"]
    file.write_bytes(b"\xff")
    said = json.loads(CliRunner().invoke(check_command, [str(file), "--json"]).output)
    assert said["errors"][0]["line"] is None and "UTF-8" in said["errors"][0]["message"]


def test_each_key_of_a_file_has_its_place():
    text = 'a.b = 1\n[t."x.y"]\nk = """\n[no]\nz = 1\n"""\nl = [\n 1, [2, {m = 3}],\n]\n[[r]]\nn = 1\n[r.s]\n[[r]]\nn = 2\n'
    found = spans(text)
    shown = {path: text[span.key :].split()[0] for path, span in found.items()}
    assert set(found) >= {
        ("a",),
        ("a", "b"),
        ("t",),
        ("t", "x.y"),
        ("t", "x.y", "k"),
        ("r", "0", "n"),
        ("r", "0", "s"),
        ("r", "1", "n"),
    }
    assert ("no",) not in found and ("t", "x.y", "z") not in found
    assert shown["t", "x.y", "l", "1", "1", "m"] == "m" and text[found["r", "1", "n"].value] == "2"


@pytest.mark.parametrize(
    "arguments",
    [
        ["top", "--every", "nan"],
        ["top", "--every", "inf"],
        ["top", "--every", "9" * 400],
        ["top", "--count", "-1"],
        ["show", "decisions", "--count", "9" * 30],
        ["bench", "--seconds", "nan"],
        ["run", "x.toml", "--for", "1e400s"],
        ["run", "x.toml", "--for", "０s"],
        ["move", "red/x", "9" * 5000],
        ["check", "x" * 5000],
        ["elements", "Counter", "--new", "mine.py"],
        ["bench", "--out", "nowhere/x.json"],
        ["experiment", "baseline", "--out", "/dev/null/x"],
    ],
    ids=lambda arguments: " ".join(arguments)[:30],
)
def test_a_strange_number_on_the_command_line_is_a_message(arguments, capsys):
    from vre.cli.main import main

    with pytest.raises(SystemExit) as stop:
        main(arguments)
    assert stop.value.code == 2 and capsys.readouterr().err
    assert not list(Path.cwd().glob("mine.py"))


@pytest.mark.parametrize(
    ("table", "hint"),
    [
        ('[routers.r]\nconfig = "lab.clik"', "'lab.clik' is neither a configuration nor the name of a .click file; "
         "did you mean lab.click?"),
        ('[routers.r]\nconfig = "sub/"', "'sub/' is neither a configuration nor the name of a .click file"),
        ('[nics.e]\nlink = { captur = "x.pcap" }', "unknown key 'captur' in nics.e.link; did you mean capture"),
    ],
)  # fmt: skip
def test_what_was_meant_is_said_of_a_misspelt_file_or_link(tmp_path, table, hint):
    (tmp_path / "lab.click").write_text("Idle -> Discard;")
    file = tmp_path / "lab.toml"
    file.write_text(table)
    with pytest.raises(ConfigError) as raised:
        load_model(file)
    assert any(hint in problem.message for problem in raised.value.problems)


def test_what_a_platform_answers_says_error_once(monkeypatch, capsys):
    from vre.cli import live
    from vre.cli.main import main
    from vre.errors import PlatformError, Where

    mistake = str(Problem(Where("new.click", 1, 3), "unknown element class 'x'", "x"))
    for said in (mistake, "error: there is none", "there is none", "bring 1:2 up"):

        def answer(*_, said=said, **__):
            raise PlatformError(said)

        monkeypatch.setattr(live, "_ask", answer)
        with pytest.raises(SystemExit) as stop:
            main(["read", "red.entitlement"])
        shown = capsys.readouterr().err
        assert stop.value.code == 2 and shown.count("error: ") == 1 and said in shown


def test_a_mistake_that_the_platform_finds_in_a_configuration_shows_its_line(tmp_path):
    (tmp_path / "r.click").write_text("FromDevice(eth0)\n  -> out :: ToDevice(eth7);")
    file = tmp_path / "lab.toml"
    file.write_text('[nics.eth0]\n[routers.r]\nconfig = "r.click"')
    with pytest.raises(ConfigError) as raised:
        load_model(file)
    assert "r.click:2:6: error: 'out': there is no port 'eth7'" in str(raised.value)
    assert str(raised.value).endswith("\n      -> out :: ToDevice(eth7);\n         ^")
