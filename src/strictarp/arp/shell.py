"""Lines as one types them into a shell, as far as setups of hosts use one: words, and what is piped in. Pure.

Understood: quotes, `;`, `&&` and line ends between commands, here-documents, here-strings, redirections to
a file, and `echo`, `printf` or `cat` piped into the next command. Not: variables, substitutions, loops.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

import msgspec

from strictarp.arp.unsupported import Unsupported

_TOKEN = re.compile(
    r"""(?P<blank>[ \t]+|\\\n)
      | (?P<comment>\#[^\n]*)
      | (?P<here><<-?)
      | (?P<operator>&&|\|\||<<<|2>&1|[0-9]?>>|[0-9]?>|[;|<&\n])
      | (?P<word>(?:[^\s;|&<>'"\\`$]|\\.|'[^']*'|"(?:[^"\\`$]|\\.)*")+)""",
    re.VERBOSE | re.DOTALL,
)
_PIECE = re.compile(r"""'([^']*)'|"((?:[^"\\]|\\.)*)"|\\(.)|([^'"\\]+)""", re.DOTALL)
_HERE_WORD = re.compile(r"[ \t]*(?:'([^']+)'|\"([^\"]+)\"|([\w.]+))")
_BETWEEN = ("\n", ";", "&&", "|", "||", "&", "2>&1")
_NULL = ("/dev/null", "&1")


class Command(msgspec.Struct, frozen=True):
    """A program with its arguments.

    given: what it reads. writes: the file that its output goes to, or empty. chained: only carried out when
    the one before it succeeded (`&&`).
    """

    words: tuple[str, ...]
    given: str = ""
    writes: str = ""
    chained: bool = False


class _Draft(msgspec.Struct):
    words: list[str] = []
    given: str = ""
    writes: str = ""
    chained: bool = False


def commands_of(line: str) -> list[Command]:
    """The commands of a line or script, in order. Raises Unsupported for what only a shell works out."""
    found: list[Command] = []
    piped: str | None = None
    for pipeline_goes_on, draft in _drafts(line):
        if piped is not None:
            draft.given = piped
        piped = None
        if pipeline_goes_on:
            piped = printed(draft.words, draft.given)
        elif draft.words:
            found.append(Command(tuple(draft.words), draft.given, draft.writes, draft.chained))
    return found


def _drafts(line: str) -> Iterator[tuple[bool, _Draft]]:
    """Each command with whether its output is piped on."""
    draft = _Draft()
    awaited: list[tuple[_Draft, str]] = []
    at = 0
    while at < len(line):
        token = _TOKEN.match(line, at)
        if token is None:
            raise Unsupported(f"command {line!r}: {line[at : at + 10]!r} is not understood")
        at = token.end()
        text = token[0]
        if token.lastgroup == "word":
            draft.words.append(unquoted(text))
        elif token.lastgroup == "here" and line[at : at + 1] != "<":
            at, end = _here_word(line, at)
            awaited.append((draft, end))
        elif token.lastgroup in ("here", "operator") and text not in (
            "\n",
            ";",
            "&&",
            "|",
            "||",
            "&",
            "2>&1",
        ):
            at = _redirected(draft, line, at, text)
        elif text == ";" and draft.words[:1] == ["nft"] and _opened(draft.words):
            draft.words.append(text)
        elif text in ("\n", ";", "&&", "||", "|"):
            if text == "||" and not re.match(r"\s*(true|:)\s*($|[;\n])", line[at:]):
                raise Unsupported(f"command {line!r}: {text!r}")
            if text == "\n" and awaited:
                at = _here_documents(line, at, awaited)
            yield text == "|", draft
            draft = _Draft(chained=text == "&&")
        elif text == "&":
            raise Unsupported(f"command {line!r}: {text!r}")
    if awaited:
        raise Unsupported(f"command {line!r}: the here-document does not end")
    yield False, draft


def _opened(words: list[str]) -> bool:
    """A brace stands open: a shell would split there, whoever runs words without a shell would not."""
    return words.count("{") > words.count("}")


def _here_word(line: str, at: int) -> tuple[int, str]:
    found = _HERE_WORD.match(line, at)
    if found is None:
        raise Unsupported(f"command {line!r}: a here-document without its word")
    return found.end(), next(group for group in found.groups() if group)


def _here_documents(line: str, at: int, awaited: list[tuple[_Draft, str]]) -> int:
    """Takes the documents that begin at a line's end; returns where the script goes on."""
    for draft, end in awaited:
        found = re.compile(rf"^\t*{re.escape(end)}[ \t]*$", re.MULTILINE).search(line, at)
        if found is None:
            raise Unsupported(f"command {line!r}: the here-document {end!r} does not end")
        draft.given = line[at : found.start()]
        at = found.end()
    awaited.clear()
    return at


def _redirected(draft: _Draft, line: str, at: int, operator: str) -> int:
    """`<<< TEXT`, `> FILE`, `2>/dev/null`; returns where the line goes on."""
    if operator in ("<<", "<<-"):
        operator, at = "<<<", at + 1
    target = re.compile(r"[ \t]*").match(line, at)
    at = target.end() if target else at
    word = _TOKEN.match(line, at)
    if word is None or word.lastgroup != "word":
        if line.startswith("&1", at):
            return at + 2
        raise Unsupported(f"command {line!r}: {operator!r} without its word")
    text = unquoted(word[0])
    if operator == "<<<":
        draft.given = text + "\n"
    elif operator in (">", ">>", "1>", "1>>"):
        draft.writes = "" if text in _NULL else text
    elif operator == "<" or text not in _NULL:
        raise Unsupported(f"command {line!r}: {operator}{text}")
    return word.end()


def unquoted(text: str) -> str:
    """A word without its quotes and backslashes."""
    parts: list[str] = []
    for single, double, escaped, plain in _PIECE.findall(text):
        parts.append(single or re.sub(r"\\([\\\"$`])", r"\1", double) or escaped or plain)
    return "".join(parts)


def printed(words: list[str], given: str = "") -> str:
    """What `echo`, `printf` or `cat` prints. Raises Unsupported for another program."""
    name, rest = (words[0], words[1:]) if words else ("", [])
    if name == "cat" and rest in ([], ["-"]):
        return given
    if name == "echo":
        escapes = False
        while rest and re.fullmatch(r"-[neE]+", rest[0]):
            escapes = escapes or "e" in rest[0]
            rest = rest[1:]
        text = " ".join(rest)
        return (_escaped(text) if escapes else text) + "\n"
    if name == "printf" and rest:
        text = _escaped(rest[0])
        for argument in rest[1:]:
            text = text.replace("%s", argument, 1)
        return text
    raise Unsupported(f"the output of {name!r}")


def _escaped(text: str) -> str:
    return text.replace("\\n", "\n").replace("\\t", "\t")
