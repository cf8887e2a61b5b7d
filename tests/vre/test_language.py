# SPDX-License-Identifier: MIT
"""The Click language: what configurations mean, and what is said of those that mean nothing."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vre.errors import ConfigError
from vre.language.checker import check
from vre.language.lexer import Source


def graph(text, **overrides):
    """Return (names, edges by name) of a configuration."""
    found = check(Source(text, "t.click"), overrides)
    names = [n.name for n in found.nodes]
    return names, sorted((names[a], o, names[b], i) for a, o, b, i in found.edges), found


def errors(text):
    """Return the mistakes of a configuration as `line:column message`."""
    with pytest.raises(ConfigError) as caught:
        check(Source(text, "t.click"))
    return [f"{p.where.line}:{p.where.column} {p.message}" for p in caught.value.problems]


def config(text, element, **overrides):
    """Return an element's configuration string."""
    found = check(Source(text, "t.click"), overrides)
    return next(n for n in found.nodes if n.name == element).config


def test_named_elements_consume_numbers_too():
    names, _, _ = graph("InfiniteSource -> Counter -> f :: Null -> Null -> Null -> Discard;")
    assert names == ["InfiniteSource@1", "Counter@2", "f", "Null@4", "Null@5", "Discard@6"]


@pytest.mark.parametrize(
    ("text", "edges"),
    [
        ("a :: Idle; b :: Discard; a -> b;", [("a", 0, "b", 0)]),
        ("a -> b; a :: InfiniteSource; b :: Discard;", [("a", 0, "b", 0)]),
        ("a, b :: InfiniteSource; d :: Discard; a, b -> d;", [("a", 0, "d", 0), ("b", 0, "d", 0)]),
        ("s :: InfiniteSource -> t :: Tee(2); a, b :: Discard; t => a, b;",
         [("s", 0, "t", 0), ("t", 0, "a", 0), ("t", 1, "b", 0)]),
        ("s :: InfiniteSource -> t :: Tee(3); a, b, c :: Discard; t [0,2] => a, b; t [1] -> c;",
         [("s", 0, "t", 0), ("t", 0, "a", 0), ("t", 1, "c", 0), ("t", 2, "b", 0)]),
        ("s :: InfiniteSource -> t :: Tee(3); a, b, c :: Discard; t [0-2] => a, b, c;",
         [("s", 0, "t", 0), ("t", 0, "a", 0), ("t", 1, "b", 0), ("t", 2, "c", 0)]),
        ("s :: InfiniteSource -> t :: Tee(3); a, b, c :: Discard; t [] => a, b, c;",
         [("s", 0, "t", 0), ("t", 0, "a", 0), ("t", 1, "b", 0), ("t", 2, "c", 0)]),
        ("s :: InfiniteSource -> (-> n :: Null ->) -> d :: Discard;", [("n", 0, "d", 0), ("s", 0, "n", 0)]),
        ("s :: InfiniteSource -> t :: Tee(2) => ([0] -> [0]; [1] -> n :: Null -> [1]) => a :: Discard, b :: Discard;",
         [("n", 0, "b", 0), ("s", 0, "t", 0), ("t", 0, "a", 0), ("t", 1, "n", 0)]),
        ("s :: InfiniteSource -> x :: { input -> p :: Paint(1) -> output } -> d :: Discard;",
         [("s", 0, "x/p", 0), ("x/p", 0, "d", 0)]),
        ("elementclass X { input -> Y -> output } elementclass Y { input -> p :: Null -> output }"
         "s :: InfiniteSource -> X -> d :: Discard;", [("X@2/Y@1/p", 0, "d", 0), ("s", 0, "X@2/Y@1/p", 0)]),
        ("elementclass N Null; s :: InfiniteSource -> n :: N -> d :: Discard;", [("n", 0, "d", 0), ("s", 0, "n", 0)]),
    ],
)  # fmt: skip
def test_connections(text, edges):
    assert graph(text)[1] == edges


def test_compounds_take_arguments_and_choose_overloads():
    text = """
    elementclass P { $a, KEY $k | input -> Paint($a) -> Strip($k) -> output }
    elementclass Q { $a | input -> Paint($a) -> output || $a, $b | input -> Paint($a) -> Paint($b) -> output
                     || input -> Paint(9) -> output; input [1] -> Paint(8) -> [1] output }
    InfiniteSource -> p :: P(3, KEY 14) -> q :: Q(1) -> r :: Q(1, 2) -> t :: Tee(2) [0,1] => s :: Q [0,1] => Discard, Discard;
    """
    names, edges, _ = graph(text)
    assert config(text, "p/Strip@2") == "14"
    assert "r/Paint@2" in names and "q/Paint@2" not in names
    assert ("t", 1, "s/Paint@2", 0) in edges


def test_an_extension_keeps_the_older_overloads():
    text = """
    elementclass A { $x | input -> Paint($x) -> output }
    elementclass A { input -> Null -> output || ... }
    InfiniteSource -> a :: A -> b :: A(4) -> Discard;
    """
    assert graph(text)[0][1:3] == ["a/Null@1", "b/Paint@1"]


@pytest.mark.parametrize(
    ("define", "argument", "value"),
    [
        ("define($x 5);", "$x", "5"),
        ("define($x $y, $y 7,);", "$x", "7"),
        ("define($x 5);", "${x}", "5"),
        ("", "${x-8}", "8"),
        ("define($x 5);", "${x-8}", "5"),
        ("define($a 3 4 5);", "${a[1]}", "4"),
        ("define($a 3 4 5, $n 2);", "${a[$n]}", "5"),
    ],
)
def test_variables(define, argument, value):
    assert config(f"{define} InfiniteSource -> p :: Paint({argument}) -> Discard;", "p") == value


def test_variables_are_not_substituted_in_single_quotes_and_the_command_line_wins():
    text = "define($x 5); InfiniteSource -> a :: Print('$x') -> p :: Paint($x) -> Discard;"
    assert config(text, "a") == "'$x'"
    assert config(text, "p", x="6") == "6"


def test_comments_and_strings_in_configurations():
    text = 'InfiniteSource(\\<68 65 // comment\n 6c>) -> p :: Print("a, /* b */ ) c" /* x */, 5 // y\n) -> Discard;'
    found = check(Source(text, "t"))
    assert found.nodes[0].values["data"] == b"hel"
    assert (found.nodes[1].values["label"], found.nodes[1].values["maxlength"]) == ("a, /* b */ ) c", 5)


def test_line_directives_move_places():
    text = '# 100 "other.click"\nIdle -> Discard;\nNope -> Discard;'
    with pytest.raises(ConfigError) as caught:
        check(Source(text, "t.click"))
    assert str(caught.value.problems[0].where) == "other.click:101:1"


@pytest.mark.parametrize(
    ("text", "messages"),
    [
        ("Nul -> Discard;", ["1:1 unknown element class 'Nul'; did you mean Null?"]),
        ("i :: InfiniteSource; i -> Discard; i -> Discard;",
         ["1:38 illegal reuse of 'i :: InfiniteSource' push output 0; use a Tee to copy packets"]),
        ("InfiniteSource -> p :: Print;", ["1:19 'p :: Print' output 0 unused"]),
        ("InfiniteSource -> ToDevice(e) -> Discard;", ["1:31 'ToDevice@2 :: ToDevice' has no output 0: it has none"]),
        ("FromDevice(e) -> Unqueue -> Discard;",
         ["1:15 'FromDevice@1' push output 0 connected to 'Unqueue@2' pull input 0; put a Queue between them"]),
        ("FromDevice(e) -> Queue -> Tee(1) -> Discard;",
         ["1:24 'Queue@2' pull output 0 connected to 'Tee@3' push input 0; put an Unqueue between them"]),
        ("InfiniteSource -> Paint(300) -> Strip(a) -> Queue(1, 2) -> Discard;",
         ["1:25 'Paint@2 :: Paint' COLOR: 300 is not from 0 to 255",
          "1:39 'Strip@3 :: Strip' LENGTH: 'a' is not an integer",
          "1:54 'Queue@4 :: Queue' too many arguments: '2' has no place"]),
        ("InfiniteSource -> DecIPTTL(ACTIV true) -> Discard;",
         ["1:28 'DecIPTTL@2 :: DecIPTTL' no keyword ACTIV; did you mean ACTIVE?"]),
        ("a :: Idle; a :: Null; a -> Discard;", ["1:12 element 'a' is declared twice; the first time at t.click:1:1"]),
        ("-> Null;", ["1:1 syntax error: '->' with nothing on its left"]),
        ("Idle -> ;", ["1:9 syntax error: '->' with nothing on its right"]),
        ("Idle -> Paint(1", ["1:14 '(' without ')'"]),
        ("Idle ~> Discard;", ["1:6 '~>' is FastClick's; write the elements that it stands for"]),
        ("provide(x);", ["1:1 'provide' is a reserved word"]),
        ("define($x 1); define($x 2); Idle -> Discard;", ["1:22 variable $x is defined twice in this scope"]),
        ("a, b :: Idle; c, d :: Discard; a, b -> c, d;",
         ["1:37 many-to-many connection: use '=>', or write the connections one by one"]),
        ("elementclass A { input -> A -> output } Idle -> A -> Discard;", ["1:27 compound class of"]),
        ("Idle -> { input -> Null -> output } -> [1] Discard;", ["has no input 1"]),
        ("FromDevice(e) -> q :: Queue -> Print -> Idle;", ["nothing pulls from 'q'"]),
        ("/* open", ["1:1 comment without end"]),
        ("Idle -> 1a/2 -> Discard;", ["a part of a name may not be a number"]),
    ],
)  # fmt: skip
def test_mistakes(text, messages):
    found = errors(text)
    assert len(found) >= len(messages)
    for message in messages:
        assert any(message in one for one in found), found


def test_libraries_are_read_once_and_keep_their_places(tmp_path):
    (tmp_path / "lib.click").write_text("elementclass L { input -> p :: Paint(4) -> output }\n")
    (tmp_path / "bad.click").write_text("\n  x :: Nope;\n")
    main = str(tmp_path / "main.click")
    found = check(Source("require(library lib.click, library lib.click);\nIdle -> L -> Discard;", main))
    assert [n.name for n in found.nodes] == ["Idle@1", "L@2/p", "Discard@3"]
    with pytest.raises(ConfigError) as caught:
        check(Source("require(library bad.click); Idle -> Nix;", main))
    assert [str(p.where) for p in caught.value.problems] == [f"{tmp_path}/bad.click:2:3", f"{main}:1:37"]
    with pytest.raises(ConfigError, match="no library 'gone"):
        check(Source("require(library gone.click); Idle -> Discard;", main))
    with pytest.raises(ConfigError, match="at file scope"):
        check(Source("Idle -> { require(library lib.click); input -> output } -> Discard;", main))


def test_carets_point_at_the_place():
    with pytest.raises(ConfigError) as caught:
        check(Source("\tIdle -> Discrad;", "t.click"))
    lines = str(caught.value).splitlines()
    assert lines[0].startswith("t.click:1:10: error: unknown element class 'Discrad'; did you mean Discard")
    assert lines[1].index("Discrad") - 1 == len(lines[2].expandtabs(1)) - 2


tokens = st.sampled_from(
    ["Idle", "Null", "a", "b", "::", "->", "=>", ";", ",", "(", ")", "[", "]", "{", "}", "|", "||", "0", "1", "$x", "input",
     "output", "elementclass", "define", "...", "Tee(2)", "\n", '"', "'", "//", "/*", "*/", "-", "\\<", "Discard"]
)  # fmt: skip


@settings(max_examples=400, deadline=None)
@given(st.lists(tokens, max_size=25))
def test_no_text_makes_the_parser_fail_otherwise(parts):
    try:
        check(Source(" ".join(parts), "t"))
    except ConfigError as error:
        assert error.problems
