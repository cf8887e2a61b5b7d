# SPDX-License-Identifier: MIT
"""Tokens of the Click language, each with its position.

Blanks and comments are skipped; `# 100 "file"` and `#line 100 "file"` at the start of a line change the positions
that follow. A configuration string is read raw, up to the balancing parenthesis, at the parser's request.
"""

from __future__ import annotations

import re
from bisect import bisect_right
from dataclasses import dataclass

from vre.errors import ConfigError, Problem, Where
from workers.arguments import skip_quote

#: Identifiers may have slashes, but not first, last or doubled, and no component of digits alone.
_NAME = r"[A-Za-z0-9_@]+(?:/[A-Za-z0-9_@]+)*"
_TOKEN = re.compile(
    r"(?P<arrow>->|=>|~/?(?:IP)?>|~/>)|(?P<mark>::|\.\.\.|\|\||[-;,()\[\]{}|])|(?P<variable>\$\{?[A-Za-z0-9_]+\}?)"
    rf"|(?P<name>{_NAME})|(?P<number>[0-9]+)"
)
_SKIP = re.compile(r"[ \t\r\n\f\v]+|//[^\n\r]*|/\*.*?\*/", re.DOTALL)
_DIRECTIVE = re.compile(r'#[ \t]*(?:line[ \t]+)?([0-9]{1,9})(?:[ \t]+"([^"\n]*)")?[^\n\r]*')


@dataclass(frozen=True)
class Token:
    """One token: `kind` is `arrow`, `mark`, `variable`, `name`, `number` or `end`."""

    kind: str
    text: str
    at: int


class Source:
    """The text of a configuration and the positions of its characters."""

    def __init__(self, text: str, file: str, line: int = 1, column: int = 1) -> None:
        self.text = text.replace("\r\n", "\n").replace("\r", "\n")
        self._column = column
        self._index(file, line)

    def _index(self, file: str, line: int) -> None:
        self._lines = [0, *(m.end() for m in re.finditer("\n", self.text))]
        # Where each line directive takes effect: (offset, file, number of the line at the offset).
        self._marks: list[tuple[int, str, int]] = [(0, file, line)]
        for i, start in enumerate(self._lines):
            found = _DIRECTIVE.match(self.text, start)
            if found:
                after = self._lines[i + 1] if i + 1 < len(self._lines) else len(self.text)
                self._marks.append((after, found[2] or self._marks[-1][1], int(found[1])))

    def splice(self, at: int, text: str, file: str) -> None:
        """Insert the text of another file at offset `at`; line directives keep every position right."""
        here = self.where(at)
        back = f'\n# {here.line} "{here.file}"\n' + " " * (here.column - 1)
        self.text = f'{self.text[:at]}\n# 1 "{file}"\n{text}{back}{self.text[at:]}'
        _, first, line = self._marks[0]
        self._index(first, line)

    def where(self, at: int) -> Where:
        """Return the position of the character at offset `at`."""
        start, file, first = self._marks[bisect_right(self._marks, at, key=lambda m: m[0]) - 1]
        row = bisect_right(self._lines, at) - 1
        begin = bisect_right(self._lines, start) - 1
        column = at - self._lines[row] + (self._column if row == 0 else 1)
        return Where(file, first + row - begin, column)

    def line_of(self, at: int) -> str:
        """Return the line that the character at `at` is on."""
        row = bisect_right(self._lines, at) - 1
        end = self.text.find("\n", self._lines[row])
        return self.text[self._lines[row] : len(self.text) if end < 0 else end]

    def problem(self, at: int, message: str) -> Problem:
        """Return a mistake at offset `at`."""
        where = self.where(at)
        pad = " " * (where.column - 1 - (at - self._lines[bisect_right(self._lines, at) - 1]))
        return Problem(where, message, pad + self.line_of(at))


class Lexer:
    """Reads tokens one after the other, with one token of lookahead."""

    def __init__(self, source: Source) -> None:
        self.source = source
        self._at = 0
        self._ahead: Token | None = None

    def fail(self, at: int, message: str) -> ConfigError:
        """Return the error for a mistake that parsing cannot recover from."""
        return ConfigError([self.source.problem(at, message)])

    def peek(self) -> Token:
        """Return the next token without taking it."""
        if self._ahead is None:
            self._ahead = self._read()
        return self._ahead

    def take(self) -> Token:
        """Return the next token."""
        token = self.peek()
        self._ahead = None
        return token

    def accept(self, text: str) -> bool:
        """Take the next token if it is `text`."""
        if self.peek().text == text and self.peek().kind != "end":
            self.take()
            return True
        return False

    def expect(self, text: str) -> Token:
        """Take the next token, which must be `text`."""
        token = self.take()
        if token.text != text or token.kind == "end":
            raise self.fail(token.at, f"expected '{text}', found {_shown(token)}")
        return token

    def _skip(self) -> None:
        text = self.source.text
        while True:
            found = _SKIP.match(text, self._at)
            if found is None and (self._at == 0 or text[self._at - 1] == "\n"):
                found = _DIRECTIVE.match(text, self._at)
            if found is None:
                if text.startswith("/*", self._at):
                    raise self.fail(self._at, "comment without end")
                return
            self._at = found.end()

    def _read(self) -> Token:
        self._skip()
        if self._at >= len(self.source.text):
            return Token("end", "end of file", len(self.source.text))
        found = _TOKEN.match(self.source.text, self._at)
        if not found:
            raise self.fail(self._at, f"{self.source.text[self._at]!r} is not part of the Click language")
        kind = str(found.lastgroup)
        if kind == "name" and found[0].isdigit():
            kind = "number"
        elif kind == "name" and any(part.isdigit() for part in found[0].split("/")):
            raise self.fail(self._at, f"'{found[0]}': a part of a name may not be a number")
        token = Token(kind, found[0], self._at)
        self._at = found.end()
        if token.kind == "arrow" and token.text.startswith("~"):
            raise self.fail(token.at, f"'{token.text}' is FastClick's; write the elements that it stands for")
        return token

    def include(self, text: str, file: str) -> None:
        """Continue with the text of another file, then with what follows here."""
        assert self._ahead is None
        self.source.splice(self._at, text, file)

    def config(self) -> tuple[str, int]:
        """Return the configuration string after a `(` that has been consumed, up to its `)`.

        Returns
        -------
        (str, int)
            The text with comments and line directives blanked out, and where it begins.
        """
        assert self._ahead is None
        text, start, depth = self.source.text, self._at, 1
        out: list[str] = []
        i = start
        while i < len(text):
            c = text[i]
            blank = None
            if c in "\"'":
                end = skip_quote(text, i)
                if end > len(text):
                    raise self.fail(i, "string without end")
                out.append(text[i:end])
                i = end
                continue
            if c == "\\" and text.startswith("\\<", i):
                end = text.find(">", i) + 1
                if end == 0:
                    raise self.fail(i, "'\\<' without '>'")
                out.append(text[i:end])
                i = end
                continue
            if c == "/" and text[i + 1 : i + 2] in ("/", "*"):
                blank = re.compile(r"//[^\n]*|/\*.*?\*/", re.DOTALL).match(text, i)
                if blank is None:
                    raise self.fail(i, "comment without end")
            elif c == "#" and text[i - 1] == "\n":
                blank = _DIRECTIVE.match(text, i)
            if blank:
                out.append("".join("\n" if x == "\n" else " " for x in blank[0]))
                i = blank.end()
                continue
            depth += (c in "([{") - (c in ")]}")
            if depth == 0:
                if c != ")":
                    raise self.fail(i, f"expected ')', found '{c}'")
                self._at = i + 1
                return "".join(out), start
            out.append(c)
            i += 1
        raise self.fail(start - 1, "'(' without ')'")


def _shown(token: Token) -> str:
    return token.text if token.kind == "end" else f"'{token.text}'"
