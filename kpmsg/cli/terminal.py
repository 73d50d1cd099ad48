"""What a person at a terminal sees: explanations, verdicts and problems as lines of text, 80 columns wide if need be.

Nothing here decides anything or writes anywhere; `page` returns text. All strings that come from files go through
`kpmsg.wording.readable` before they get here, or here.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from io import StringIO
from typing import TYPE_CHECKING, Any, TextIO

from rich.console import Console, RenderableType
from rich.table import Table
from rich.text import Text

from kpmsg.errors import ClientError, Problem, Severity
from kpmsg.explanation import Explanation
from kpmsg.rules import Language
from kpmsg.verdict import Verdict
from kpmsg.wording import Fact, readable, safe, who

if TYPE_CHECKING:
    from kpmsg.client import Submitted  # it brings httpx, which most commands do not need

_LONG = 12
_STYLES = {"reject": "red", "hold": "yellow", "warn": "yellow"}
_WORDS: dict[Language, dict[Severity, str]] = {
    "en": {"reject": "wrong", "hold": "look at", "warn": "perhaps"},
    "fr": {"reject": "erreur", "hold": "à examiner", "warn": "à vérifier"},
    "pt": {"reject": "erro", "hold": "a examinar", "warn": "a verificar"},
    "es": {"reject": "error", "hold": "por examinar", "warn": "por comprobar"},
    "ru": {"reject": "ошибка", "hold": "на рассмотрение", "warn": "проверить"},
}
_SUMS: dict[Language, str] = {  # figures stand after their words, so that none has to agree with one
    "fr": "brouillons : {drafts}, règles enfreintes : {rejected}",
    "pt": "rascunhos: {drafts}, regras infringidas: {rejected}",
    "es": "borradores: {drafts}, reglas infringidas: {rejected}",
    "ru": "черновиков: {drafts}, нарушено правил: {rejected}",
}
_STANDINGS = {
    "verified": ("VERIFIED", "black on green"),
    "refused": ("REFUSED", "white on red"),
    "undecided": ("CANNOT TELL", "black on yellow"),
}


def explained(explanation: Explanation) -> Iterable[RenderableType]:
    """What a file says, between two warnings if it says much."""
    yield _banner()
    yield from _told(explanation)
    if explanation.parts or len(explanation.facts) > _LONG:
        yield ""
        yield _banner()


def _banner() -> Text:
    return Text(" NOTHING HERE HAS BEEN VERIFIED. Anybody can write such a file. ", "black on yellow")


def _told(explanation: Explanation) -> Iterable[RenderableType]:
    yield ""
    yield Text(explanation.headline, "bold")
    if explanation.id:
        yield Text.assemble("  ", ("document id ", "cyan"), explanation.id)
    facts = [("claimed key", f"{header.kid} ({header.alg})") for header in explanation.headers]
    if facts or explanation.facts:
        yield table([*facts, *explanation.facts])
    yield from broken(explanation.trouble)
    for part in explanation.parts:
        yield from _told(part)


def judged(verdict: Verdict, file: str, headline: str) -> Iterable[RenderableType]:
    """Who signed what for whom and when; or why that cannot be said. `headline`: what it says, if that is to be believed."""
    word, style = _STANDINGS[verdict.standing]
    yield Text.assemble((f" {word} ", style), f" {readable(file)}")
    yield ""
    when = ("keys as of", f"{verdict.at:%Y-%m-%d %H:%M:%S} UTC")
    if verdict.standing != "verified":
        yield table([("reason", readable(verdict.text)), ("code", readable(verdict.code)), when])
        return
    assert verdict.record is not None
    record = verdict.record.record
    yield Text(headline, "bold")
    facts = [("signed by", f"{who(verdict.signer)}, {readable(record.authority.name)}")]
    facts += [("with key", kid) for kid in verdict.kids]
    facts += [("for", who(verdict.recipient))] if verdict.recipient else []
    facts += [("document id", verdict.id)] if verdict.id else []
    issued = f"version {record.version}, issued {record.issued:%Y-%m-%d}"
    facts += [("dated", f"{readable(verdict.dated)} by the signer's clock")] if verdict.dated else []
    facts.append(("checked", f"{verdict.kind}: {verdict.text}"))
    yield table([*facts, when, ("key record", issued), ("fingerprint", record.fingerprint)])
    yield ""
    if verdict.compared:
        yield Text("The fingerprint is the one that you gave.", "green")
        return
    doubt = f"The fingerprint was NOT COMPARED: that the key record is that of {readable(record.address)} is not shown. "
    yield Text(f"{doubt}Get it from them by another way, and give it with --fingerprint.", "yellow")


def checked(
    file: str, names: Sequence[str], problems: Sequence[Problem], language: Language = "en"
) -> Iterable[RenderableType]:
    """What is wrong with drafts, and a line that sums it up. The problems' texts are in `language` already.

    `names`: of each draft, the number of its certificate, or nothing.
    """
    yield from _named(problems, names, language)
    drafts = len(names)
    rejected = sum(problem.severity == "reject" for problem in problems)
    total = f"{rejected or 'no'} broken rule{'' if rejected == 1 else 's'}"
    english = f"{drafts} draft{'' if drafts == 1 else 's'}, {total}"
    said = _SUMS[language].format(drafts=drafts, rejected=rejected) if language in _SUMS else english
    yield Text(f"{readable(file)}: {said}")


def taken(file: str, done: Submitted) -> Iterable[RenderableType]:
    """Documents that the node has made durable: state, what each is about, and its id."""
    rows = []
    for document in done.documents:
        name = str(document.get("type")).removeprefix("org.kimberley.").rpartition(".")[0]
        about = f"{document.get('certificate') or ''}  {name} to {document.get('partner')}".strip()
        state = str(document["delivery"]["state"])
        rows.append((readable(state), f"{readable(about)}\n{readable(str(document['id']))}"))
    note = " (submitted before; nothing was done twice)" if done.replayed else ""
    yield Text(f"{readable(file)}: {len(rows)} accepted{note}")
    yield table(rows)


def not_taken(
    file: str, error: ClientError, *, later: bool, names: Sequence[str] = ()
) -> Iterable[RenderableType]:
    """Why the node has not taken a file, and whether it helps to come again. `names`: as of `checked`."""
    again = " Run the same command again later; nothing is done twice." if later else ""
    text = readable(error.text).rstrip(".")
    yield Text(f"{readable(file)}: not accepted: {text} ({readable(error.code)}).{again}", "red")
    if error.code == "document-invalid":
        yield from _named(error.problems, names, "en")


def _named(problems: Sequence[Problem], names: Sequence[str], language: Language) -> Iterable[Text]:
    """Problems; those of one of several drafts below the number of its certificate, for nobody counts drafts from nought."""
    numbered = {f"/{n}": name for n, name in enumerate(names)} if len(names) > 1 else {}
    before = ""
    for problem in problems:
        name = numbered.get("/".join((problem.pointer or "").split("/")[:2]), "")
        if name and name != before:
            yield Text(f"{readable(name)}:", "bold")
        before = name
        yield from broken([problem], language)


def broken(problems: Iterable[Problem], language: Language = "en") -> Iterable[Text]:
    """Problems, a paragraph each."""
    for problem in safe(problems):
        word, style = _WORDS[language][problem.severity], _STYLES[problem.severity]
        place = f"{problem.pointer}: " if problem.pointer else ""
        yield Text.assemble((f"{word}: ", style), place, problem.text, (f" ({problem.code})", "dim"))


def table(facts: Sequence[Fact]) -> Table:
    """Labels and values that have gone through `readable`; long values are folded, none is cut."""
    hashes = any(len(line) == 64 for _, value in facts for line in value.split("\n"))
    grid = Table.grid(padding=(0, 0, 0, 2), pad_edge=True)
    grid.add_column(
        style="cyan", max_width=14 if hashes else 22
    )  # with their margins: 14 + 2 + 64 is just 80
    grid.add_column(overflow="fold")
    for label, value in facts:
        grid.add_row(Text(label), Text(value))
    return grid


def page(parts: Iterable[RenderableType], like: TextIO) -> str:
    """The text to write to `like`: as wide as it is, with colours if it is a terminal, and without blanks at line ends."""
    plain: dict[str, Any] = {"highlight": False, "markup": False, "emoji": False}
    terminal = Console(file=like, **plain)
    colours = terminal.is_terminal and terminal.color_system is not None
    drawn = Console(
        file=StringIO(),
        width=terminal.width,
        force_terminal=colours,
        color_system="standard" if colours else None,
        **plain,
    )
    for part in parts:
        drawn.print(part)
    assert isinstance(drawn.file, StringIO)
    return "".join(f"{line.rstrip()}\n" for line in drawn.file.getvalue().splitlines())
