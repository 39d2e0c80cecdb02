"""Parses the outline of an HCL file: blocks, and attributes as source text. Evaluates nothing.

Only what tells where a thing ends is understood: comments, brackets, quoted strings and heredocs
with templates inside (HCL native syntax specification,
https://github.com/hashicorp/hcl/blob/main/hclsyntax/spec.md). Whatever the text, the reading ends
in time that grows with its length, and raises nothing: Terraform says what is wrong with a file.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Final

_IDENTIFIER: Final = r"[^\W\d][\w-]*"
_COMMENT: Final = r"(?:\#|//)[^\n]*|/\*.*?(?:\*/|\Z)"
_HEREDOC: Final = rf"<<-?(?P<marker>{_IDENTIFIER})[ \t\r]*\n"
_TOKEN: Final = re.compile(
    rf"(?P<skip>{_COMMENT}|[ \t\r]+)|(?P<heredoc>{_HEREDOC})"
    rf"|(?P<word>{_IDENTIFIER})|(?P<quote>\")|(?P<newline>\n)|(?P<other>.)",
    re.DOTALL,
)
# Inside a template's expression only tokens that may hide the closing brace matter.
_IN_CODE: Final = re.compile(rf"{_COMMENT}|(?P<heredoc>{_HEREDOC})|[\"{{}}]", re.DOTALL)
# `$${` and `%%{` are text, `${` and `%{` begin an expression. A quoted string ends with its line.
_IN_QUOTES: Final = re.compile(r"\\.|[$%]{2}\{|(?P<code>[$%]\{)|[\"\n]", re.DOTALL)
_IN_HEREDOC: Final = re.compile(r"[$%]{2}\{|(?P<code>[$%]\{)|\n")
_QUOTED: Final = re.compile(r'"((?:[^"\\]|\\.)*)"', re.DOTALL)
_WHOLE_HEREDOC: Final = re.compile(rf"<<(-?)({_IDENTIFIER})[ \t\r]*\n(.*)\n[^\n]*", re.DOTALL)
_ESCAPE: Final = re.compile(r"\\(u[0-9a-fA-F]{4}|U[0-9a-fA-F]{8}|.)|([$%])\2\{", re.DOTALL)
_ESCAPED: Final = {"n": "\n", "r": "\r", "t": "\t"}
_NUMBER: Final = re.compile(r"[0-9]+(?:\.[0-9]+)?(?:[eE][+-]?(?P<exponent>[0-9]+))?")
_OPENING: Final = frozenset("([{")
_CLOSING: Final = frozenset(")]}")


@dataclass(frozen=True, slots=True, kw_only=True)
class HclBlock:
    """A block at the top of a file; of what is inside, attributes and the kinds of blocks.

    `line` counts from 1; 0 where it is not known.
    """

    kind: str
    labels: tuple[str, ...]
    attributes: Mapping[str, str]
    blocks: frozenset[str]
    line: int = 0


@dataclass(frozen=True, slots=True)
class _Token:
    """`kind` is word, text (quoted or heredoc), newline, or the very character."""

    kind: str
    start: int
    end: int


def read_blocks(text: str) -> list[HclBlock]:
    """The blocks at the top of a file, in order. Raises nothing."""
    return [item for item in _read_items(text) if isinstance(item, HclBlock)]


def read_attributes(text: str) -> dict[str, str]:
    """The attributes at the top of a file, as source text: a `.tfvars` has nothing else."""
    return dict(item for item in _read_items(text) if isinstance(item, tuple))


def _read_items(text: str) -> Iterator[HclBlock | tuple[str, str] | None]:
    text = text.removeprefix("\ufeff")
    reader = _Reader(text, list(_tokens(text)))
    while not reader.is_at_end():
        yield reader.read_item()


def literal(text: str) -> str | None:
    """The string that a quoted string or heredoc stands for; None for any other expression."""
    if found := _QUOTED.fullmatch(text):
        return None if _has_code(found[1], _IN_QUOTES) else _ESCAPE.sub(_unescaped, found[1])
    if found := _WHOLE_HEREDOC.fullmatch(text):
        indented, _, body = found.groups()
        if _has_code(body, _IN_HEREDOC):
            return None
        lines = body.split("\n")
        margin = min((len(line) - len(line.lstrip()) for line in lines if line.strip()), default=0)
        return "\n".join(line[margin:] for line in lines) if indented else body
    return None


def exponents(text: str) -> Iterator[tuple[int, str]]:
    """The numbers with an exponent that stand in no string, each behind its line, from 1."""
    counted, line, read_to = 0, 1, 0
    for token in _tokens(text):
        if token.start < read_to or not token.kind.isdecimal():
            continue
        # A word that begins with a digit such as "²" is not a number.
        if found := _NUMBER.match(text, token.start):
            read_to = found.end()
            if found["exponent"]:
                line += text.count("\n", counted, token.start)
                counted = token.start
                yield line, found[0]


def _has_code(text: str, pattern: re.Pattern[str]) -> bool:
    return any(found["code"] for found in pattern.finditer(text))


def _unescaped(found: re.Match[str]) -> str:
    if found[2]:
        return f"{found[2]}{{"
    escape = found[1]
    if escape[0] in "uU" and len(escape) > 1:
        number = int(escape[1:], 16)
        is_character = number < 0x110000 and not 0xD800 <= number < 0xE000
        return chr(number) if is_character else "\N{REPLACEMENT CHARACTER}"
    return _ESCAPED.get(escape, escape)


def _tokens(text: str) -> Iterator[_Token]:
    at = 0
    while found := _TOKEN.match(text, at):
        at = found.end()
        if found["skip"]:
            # A comment that ends with its line leaves the line's end to be seen.
            continue
        if found["quote"] or found["heredoc"]:
            at = _template_end(text, at, found["marker"] or '"')
            yield _Token("text", found.start(), at)
        elif found["word"]:
            yield _Token("word", found.start(), at)
        else:
            yield _Token("newline" if found["newline"] else found["other"], found.start(), at)


def _template_end(text: str, at: int, opened: str) -> int:
    """Where the quoted string or heredoc ends whose first character is at `at`.

    `opened` is a quotation mark or the heredoc's marker. A heredoc ends before its last line's end.
    """
    # The open quotes, markers and braces, the outermost first.
    stack = [opened]
    if opened != '"':
        at = _leave_at_marker(text, at, stack)
    while stack:
        pattern = {'"': _IN_QUOTES, "{": _IN_CODE}.get(stack[-1], _IN_HEREDOC)
        found = pattern.search(text, at)
        if found is None:
            return len(text)
        step = _step_in_code if stack[-1] == "{" else _step_in_text
        at = step(text, found, stack)
    return at


def _step_in_code(text: str, found: re.Match[str], stack: list[str]) -> int:
    """Go on behind what was met in an expression."""
    if found["heredoc"]:
        stack.append(found["marker"])
        return _leave_at_marker(text, found.end(), stack)
    if found[0] in {'"', "{"}:
        stack.append(found[0])
    elif found[0] == "}":
        stack.pop()
    return found.end()


def _step_in_text(text: str, found: re.Match[str], stack: list[str]) -> int:
    """Go on behind what was met in a quoted string or a heredoc."""
    is_quoted = stack[-1] == '"'
    if found["code"]:
        stack.append("{")
    elif is_quoted and found[0] in {'"', "\n"}:
        stack.pop()
        return found.start() if found[0] == "\n" else found.end()
    elif found[0] == "\n":
        return _leave_at_marker(text, found.end(), stack)
    return found.end()


def _leave_at_marker(text: str, at: int, stack: list[str]) -> int:
    """At the beginning of a line: close the heredoc on top of the stack if it ends here."""
    end = _marker_end(text, at, stack[-1])
    if end is None:
        return at
    stack.pop()
    return end


def _marker_end(text: str, at: int, marker: str) -> int | None:
    """Where the line at `at` ends if it is the last of a heredoc, else None."""
    end = text.find("\n", at, at + len(marker) + 4096)
    line = text[at : len(text) if end == -1 else end]
    if end == -1 and len(text) - at > len(marker) + 4096:
        return None
    return at + len(line) if line.strip() == marker else None


class _Reader:
    """Reads the tokens of a file once, and makes blocks of them."""

    def __init__(self, text: str, tokens: list[_Token]) -> None:
        self._text = text
        self._tokens = tokens
        self._at = 0
        self._counted = 0, 1  # up to where, and the line there

    def is_at_end(self) -> bool:
        return self._at >= len(self._tokens)

    def read_item(self) -> HclBlock | tuple[str, str] | None:
        """Read a block with what is in it, or an attribute; None for anything else."""
        begins = self._tokens[self._at].start
        head = self._read_head()
        if head is None:
            return None
        words, is_block = head
        if not is_block:
            return words[0], self._read_expression()
        line = self._line_of(begins)
        attributes: dict[str, str] = {}
        blocks: set[str] = set()
        while not self.is_at_end():
            if self._kind() == "}":
                self._at += 1
                break
            inner = self._read_head()
            if inner is None:
                continue
            if inner[1]:
                blocks.add(inner[0][0])
                self._skip_brackets()
            else:
                attributes.setdefault(inner[0][0], self._read_expression())
        return HclBlock(
            kind=words[0],
            labels=words[1:],
            attributes=attributes,
            blocks=frozenset(blocks),
            line=line,
        )

    def _line_of(self, start: int) -> int:
        """The line of a place behind the one that was asked for before."""
        before, line = self._counted
        self._counted = start, line + self._text.count("\n", before, start)
        return self._counted[1]

    def _read_head(self) -> tuple[tuple[str, ...], bool] | None:
        """Read `name =`, or `name labels {` (True). Anything else: go on by one token, None."""
        if self._kind() != "word":
            self._at += 1
            return None
        words = [self._take()]
        while self._kind() in {"word", "text"}:
            words.append(self._take())
        sign = self._kind()
        if sign == "{" or (sign == "=" and len(words) == 1):
            self._at += 1
            labels = (literal(word) or word for word in words[1:])
            return (words[0], *labels), sign == "{"
        return None

    def _read_expression(self) -> str:
        """Read to the end of the line, or to the bracket that closes what is around."""
        first = last = self._at
        depth = 0
        while (kind := self._kind()) and not (depth == 0 and kind in {"newline", *_CLOSING}):
            depth += (kind in _OPENING) - (kind in _CLOSING)
            last = self._at
            self._at += 1
        if first == self._at:
            return ""
        return self._text[self._tokens[first].start : self._tokens[last].end]

    def _skip_brackets(self) -> None:
        depth = 1
        while depth and (kind := self._kind()):
            depth += (kind in _OPENING) - (kind in _CLOSING)
            self._at += 1

    def _kind(self) -> str:
        return "" if self.is_at_end() else self._tokens[self._at].kind

    def _take(self) -> str:
        token = self._tokens[self._at]
        self._at += 1
        return self._text[token.start : token.end]
