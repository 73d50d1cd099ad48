"""Writes ``protocol/vectors/registers``: one decision of the register core in each file, as data.

``python -m tests.vectors.registers`` writes the files anew; a test holds what is on disk against :func:`build`. A scenario says what BW
has committed about AE, where the conversation stands and what comes in; what follows is computed by the core. By hand
stands only what *kinds* of things must follow, so that a change of the core shows here.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, Final

from kpmsg import register
from kpmsg.frames import Page, PageRequest, Receipt, Request, Statement, Status, StatusRequest, statement_name
from kpmsg.register import (
    Admit,
    Asked,
    Believe,
    Change,
    Conversation,
    Head,
    Report,
    Shorten,
    Step,
    TakeBack,
    Withhold,
    extend,
)
from tests.simulation.store import Database, Document, Ledger

FOLDER: Final = Path(__file__).parents[2] / "protocol" / "vectors" / "registers"
AT: Final = "2026-03-02T10:00:00Z"
NONCE: Final = "fresh-nonce-000001"
OPEN: Final = "asked-nonce-000001"

Json = dict[str, Any]


# -- running one ---------------------------------------------------------------------------------------------------------


def run(scenario: Json) -> Json:
    """What the core makes of a scenario, in the form of its ``expect``."""
    given, input_ = scenario["given"], scenario["input"]
    ledger = _ledger(given)
    conversation = _conversation(given["conversation"])
    acts: dict[str, Callable[[], Step]] = {
        "ask": lambda: register.ask(conversation, ledger, NONCE),
        "override": lambda: register.override(conversation, ledger, AT),
        "documents": lambda: register.on_documents(
            conversation, _items(input_["documents"], "AE", "BW"), ledger, AT
        ),
        "receipt": lambda: register.on_receipt(
            conversation, Receipt(**_tuples(input_)), ledger, lambda: NONCE
        ),
        "status?": lambda: register.on_status_request(
            conversation, StatusRequest(**input_), ledger, lambda: NONCE, AT
        ),
        "page?": lambda: Step(
            conversation, (), (register.on_page_request(PageRequest(**_tuples(input_)), ledger, AT),)
        ),
        "status": lambda: register.on_status(conversation, Status(**input_), ledger, lambda: NONCE, AT),
        "page": lambda: _page(conversation, input_, ledger),
    }
    step = acts[scenario["act"]]()
    return {
        "changes": [_change(change) for change in step.changes],
        "say": [{_name(said): said.members()} for said in step.say],
        "conversation": _conversation_members(step.conversation),
        "settled": step.settled,
    }


def _page(conversation: Conversation, input_: Json, ledger: Ledger) -> Step:
    returned = {item.id: item for item in _items(input_["documents"], "BW", "AE")}
    page = Page(**_tuples(input_["page"]))
    return register.on_page(conversation, page, returned, ledger, lambda: NONCE, AT)


def _ledger(given: Json) -> Ledger:
    db = Database.empty(["AE"])
    db.held["AE"].append(extend(Head(), given["held"])[0])
    db.known["AE"].append(extend(Head(), given["known"])[0])
    for item in given["documents"]:
        (document,) = _items([item], "BW", "AE")
        db.insert(document)
        if item.get("withheld"):
            db.withheld[document.id] = ""
        elif document.claim is not None:
            db.claims[document.claim] = document.id
    db.received.update(given["known"])
    return Ledger(db, "BW", "AE")


def _items(rows: Sequence[Json], author: str, recipient: str) -> list[Document]:
    return [Document(row["id"], author, recipient, "notification", "", row.get("claim")) for row in rows]


def _tuples(members: Json) -> Json:
    return {name: tuple(value) if isinstance(value, list) else value for name, value in members.items()}


def _conversation(members: Json) -> Conversation:
    asked = None
    if members["asked"] is not None:
        ((name, request),) = members["asked"]["request"].items()
        asked = Asked(
            nonce=request["nonce"],
            request=StatusRequest(**request) if name == "status?" else PageRequest(**_tuples(request)),
            known=Head(**members["asked"]["known"]),
            search=None if members["asked"]["search"] is None else tuple(members["asked"]["search"]),
        )
    return Conversation(members["ready"], asked, tuple(_items(members["parked"], "AE", "BW")))


def _conversation_members(conversation: Conversation) -> Json:
    asked = conversation.asked
    parked = [{"id": item.id, "claim": item.claim} for item in conversation.parked]
    question: Json | None = None
    if asked is not None:
        search = None if asked.search is None else list(asked.search)
        question = {
            "request": {_name(asked.request): asked.request.members()},
            "known": asdict(asked.known),
            "search": search,
        }
    return {"ready": conversation.ready, "asked": question, "parked": parked}


def _name(said: Statement | Request) -> str:
    if isinstance(said, StatusRequest):
        return "status?"
    return "page?" if isinstance(said, PageRequest) else statement_name(said)


def _change(change: Change) -> Json:
    match change:
        case Admit(entries=entries):
            return {"admit": [asdict(entry) for entry in entries]}
        case Believe(entries):
            return {"believe": [asdict(entry) for entry in entries]}
        case Shorten(size):
            return {"shorten": {"size": size}}
        case TakeBack(items):
            return {"take-back": [item.id for item in items]}
        case Withhold(document_id, by):
            return {"withhold": {"id": document_id, "by": by}}
        case Report(kind):
            return {"report": kind}


# -- writing them --------------------------------------------------------------------------------------------------------


def d(n: int) -> str:
    """The id of the example document number ``n``."""
    return hashlib.sha256(f"example document {n}".encode()).hexdigest()


def ds(*numbers: int) -> list[str]:
    return [d(n) for n in numbers]


def head(*numbers: int) -> str:
    return extend(Head(), ds(*numbers))[1].head


def ours(*numbers: int, **more: Any) -> list[Json]:
    return [{"id": d(n), **more} for n in numbers]


def _question(known: Sequence[int], held: Sequence[int] = ()) -> Json:
    return {
        "nonce": OPEN,
        "size": len(known),
        "head": head(*known),
        "held_size": len(held),
        "held_head": head(*held),
    }


def asking(
    size: int, *numbers: int, search: list[int] | None = None, known: Sequence[int] | None = None
) -> Json:
    """An open `status?` about the register's head after the first ``size`` of ``numbers``."""
    whole = numbers if known is None else known
    return {
        "request": {"status?": _question(numbers[:size])},
        "known": {"size": len(whole), "head": head(*whole)},
        "search": search,
    }


def paging(*known: int, lacks: Sequence[int] = ()) -> Json:
    """An open `page?` for what comes after ``known``."""
    request = {"nonce": OPEN, "first": len(known) + 1, "before": head(*known), "lacks": ds(*lacks)}
    return {
        "request": {"page?": request},
        "known": {"size": len(known), "head": head(*known)},
        "search": None,
    }


def status(agrees: bool, asked: int, *numbers: int, nonce: str = OPEN) -> Json:
    return {
        "nonce": nonce, "asked": asked, "agrees": agrees, "size": len(numbers), "head": head(*numbers), "at": AT,
    }  # fmt: skip


def receipt(before: Sequence[int], *numbers: int, **changes: Any) -> Json:
    whole = [*before, *numbers]
    sound = {
        "first": len(before) + 1,
        "ids": ds(*numbers),
        "size": len(whole),
        "head": head(*whole),
        "at": AT,
    }
    return sound | changes


def page(before: Sequence[int], *numbers: int, documents: Sequence[Json] = (), **changes: Any) -> Json:
    whole = [*before, *numbers]
    sound = {
        "nonce": OPEN,
        "first": len(before) + 1,
        "ids": ds(*numbers),
        "head": head(*whole),
        "size": len(whole),
        "at": AT,
    }
    return {"page": sound | changes, "documents": list(documents)}


class Vectors:
    """Collects files."""

    def __init__(self) -> None:
        self.files: dict[str, Json] = {}

    def add(
        self,
        name: str,
        rule: str,
        description: str,
        input_: Json,
        follows: str,
        *,
        held: Sequence[int] = (),
        known: Sequence[int] = (),
        documents: Sequence[Json] = (),
        ready: bool = True,
        asked: Json | None = None,
        parked: Sequence[Json] = (),
    ) -> None:
        """``follows``: the kinds of the changes and of what is said, in order."""
        given = {
            "held": ds(*held),
            "known": ds(*known),
            "documents": [*ours(*known), *documents],
            "conversation": {"ready": ready, "asked": asked, "parked": list(parked)},
        }
        act = name.partition(" ")[0]
        scenario: Json = {
            "description": description, "rule": rule, "act": act, "nonce": NONCE, "at": AT, "given": given, "input": input_,
        }  # fmt: skip
        scenario["expect"] = expect = run(scenario)
        kinds = [kind for part in (*expect["changes"], *expect["say"]) for kind in part] + [
            "settled"
        ] * expect["settled"]
        assert " ".join(kinds) == follows, f"{name}: {' '.join(kinds)}"
        file = name.replace("status?", "status-asked").replace("page?", "page-asked").replace(" ", "-")
        assert file not in self.files, file
        self.files[file] = scenario


def build() -> dict[str, bytes]:
    """Every file, by its name."""
    v = Vectors()
    _taking_in(v)
    _receipts(v)
    _answers(v)
    _statuses(v)
    _pages(v)
    return {
        f"{name}.json": (json.dumps(scenario, indent=2) + "\n").encode() for name, scenario in v.files.items()
    }


def _taking_in(v: Vectors) -> None:
    new = {"documents": ours(1, 2)}
    v.add("documents new", "R3", "new documents are admitted in order and receipted", new, "admit receipt")
    v.add(
        "documents held",
        "R3",
        "what is held is receipted again and changes nothing",
        new,
        "receipt",
        held=(1, 2),
    )
    v.add(
        "documents mixed",
        "R3",
        "only what is new gets an entry",
        {"documents": ours(1, 3)},
        "admit receipt",
        held=(1, 2),
    )
    twice = {"documents": ours(3, 3)}
    v.add(
        "documents twice",
        "R3",
        "the same document twice in one frame is one entry",
        twice,
        "admit receipt",
        held=(1,),
    )
    v.add(
        "documents before ready",
        "R10",
        "before the first exchange documents are parked",
        new,
        "",
        ready=False,
    )
    v.add(
        "documents while asking", "R3", "an open question does not keep documents back", new, "admit receipt",
        known=(7,), asked=asking(1, 7),
    )  # fmt: skip
    v.add(
        "override admits", "R10", "an operator's decision admits what is parked", {}, "admit receipt",
        ready=False, parked=ours(1, 2),
    )  # fmt: skip
    v.add("ask", "R8", "a question names the register as far as it is known", {}, "status?", known=(1, 2, 3))


def _receipts(v: Vectors) -> None:
    two: Json = {"known": (1, 2), "documents": ours(3, 4)}
    v.add(
        "receipt next",
        "R5",
        "a receipt that extends what is known is believed",
        receipt((1, 2), 3, 4),
        "believe",
        **two,
    )
    v.add(
        "receipt copy", "R5", "a receipt for what is known already says nothing", receipt((1,), 2), "", **two
    )
    v.add("receipt empty current", "R5", "all was held, and the sizes agree", receipt((1, 2)), "", **two)
    v.add(
        "receipt empty shorter",
        "R5",
        "a register shorter than signed is a reason to ask",
        receipt((1,)),
        "status?",
        **two,
    )
    v.add(
        "receipt gap",
        "R5",
        "a receipt after a gap is a reason to ask",
        receipt((1, 2, 3), 4),
        "status?",
        **two,
    )
    odd = receipt((1, 2), 3, head=head(9))
    v.add(
        "receipt wrong head", "R5", "ids that do not lead to the head are not believed", odd, "status?", **two
    )
    v.add(
        "receipt other past",
        "R5",
        "a chain over other entries is not believed",
        receipt((1, 9), 3),
        "status?",
        **two,
    )
    strange = receipt((1, 2), 3, 8)
    v.add(
        "receipt unknown document",
        "R5, R6",
        "an id that we do not know is a reason to ask",
        strange,
        "status?",
        **two,
    )
    v.add(
        "receipt while asking", "R5", "an open question is enough", receipt((1, 2, 3), 4), "", asked=asking(2, 1, 2), **two,
    )  # fmt: skip
    v.add(
        "receipt withheld", "R7, R10", "what was withheld and is held all the same is reported",
        receipt((1,), 2), "believe report", known=(1,), documents=ours(2, claim="number 2", withheld=True),
    )  # fmt: skip


def _answers(v: Vectors) -> None:
    def question(*numbers: int, having: Sequence[int] = ()) -> Json:
        return _question(numbers, having)

    def wanted(before: Sequence[int]) -> Json:
        return {"nonce": OPEN, "first": len(before) + 1, "before": head(*before), "lacks": []}

    v.add("status? agrees", "R8", "both registers are the same", question(1, 2), "status", held=(1, 2))
    v.add("status? behind", "R8", "the asker knows less than is there", question(1), "status", held=(1, 2))
    v.add(
        "status? beyond", "R8", "the asker knows more than is there", question(1, 2, 3), "status", held=(1, 2)
    )
    v.add("status? differs", "R8", "the asker knows other entries", question(1, 9), "status", held=(1, 2))
    v.add("status? nothing", "R8", "two empty registers agree", question(), "status")
    v.add(
        "status? parked", "R10", "what is parked is dropped: the answer speaks for all that came before the question",
        question(1), "status", held=(1,), ready=False, parked=ours(2),
    )  # fmt: skip
    v.add(
        "status? hint shorter", "R8", "the asker's own register has lost something: it is asked back",
        question(having=(1,)), "status status?", known=(1, 2),
    )  # fmt: skip
    v.add(
        "status? hint differs", "R8", "the asker's own register has other entries: it is asked back",
        question(having=(1, 9)), "status status?", known=(1, 2),
    )  # fmt: skip
    v.add(
        "status? hint longer", "R8", "the asker's own register is longer: its receipts are on their way",
        question(having=(1, 2, 3)), "status", known=(1, 2),
    )  # fmt: skip
    v.add(
        "status? hint while asking", "R8", "one question at a time: the open one will show it",
        question(having=(1,)), "status", known=(1, 2), asked=asking(2, 1, 2),
    )  # fmt: skip
    v.add("page? middle", "R6", "the entries after the asker's head", wanted((1,)), "page", held=(1, 2, 3))
    v.add("page? all", "R6", "the whole register", wanted(()), "page", held=(1, 2, 3))
    v.add(
        "page? other head", "R6", "none, if the asker's head is another", wanted((9,)), "page", held=(1, 2, 3)
    )
    v.add("page? end", "R6", "none, if nothing follows", wanted((1, 2, 3)), "page", held=(1, 2, 3))
    v.add(
        "page? beyond", "R6", "none, if the register is shorter", wanted((1, 2, 3, 4)), "page", held=(1, 2, 3)
    )


def _statuses(v: Vectors) -> None:
    five = (1, 2, 3, 4, 5)
    v.add(
        "status agrees", "R8, R10", "the exchange is complete, and what was parked is admitted", status(True, 2, 1, 2),
        "admit receipt settled", known=(1, 2), ready=False, asked=asking(2, 1, 2), parked=ours(11, 12),
    )  # fmt: skip
    v.add(
        "status old nonce", "R5", "an answer to another question is ignored", status(True, 2, 1, 2, nonce="older-nonce-000001"),
        "", known=(1, 2), asked=asking(2, 1, 2),
    )  # fmt: skip
    v.add(
        "status unasked",
        "R5",
        "an answer without a question is ignored",
        status(True, 2, 1, 2),
        "",
        known=(1, 2),
    )
    v.add(
        "status longer", "R6", "what follows is asked for", status(True, 2, 1, 2, 3), "page?", known=(1, 2), asked=asking(2, 1, 2),
    )  # fmt: skip
    v.add(
        "status empty", "R6, R7", "everything was lost: known nothing, told to officers", status(False, 2),
        "shorten report settled", known=(1, 2), asked=asking(2, 1, 2),
    )  # fmt: skip
    v.add(
        "status shorter", "R6", "is it a beginning of what is known? its size is tried first", status(False, 5, 1, 2, 3),
        "status?", known=five, asked=asking(5, *five),
    )  # fmt: skip
    v.add(
        "status shorter found", "R6, R7", "it is a beginning: the rest was lost", status(True, 3, 1, 2, 3),
        "shorten report settled", known=five, asked=asking(3, *five, search=[0, 3], known=five),
    )  # fmt: skip
    v.add(
        "status search", "R6", "the last common head is searched by halves", status(False, 3, 1, 7, 8),
        "status?", known=five, asked=asking(3, *five, search=[0, 3], known=five),
    )  # fmt: skip
    v.add(
        "status search ends", "R6, R7", "the last common head is found: known ends there, and paging begins", status(True, 1, 1, 7, 8),
        "shorten report page?", known=five, asked=asking(1, *five, search=[0, 1], known=five),
    )  # fmt: skip
    v.add(
        "status after receipts", "R5", "a receipt was faster than a contradicting answer: ask anew", status(False, 2, 9),
        "status?", known=(1, 2, 3), asked=asking(2, 1, 2, known=(1, 2)),
    )  # fmt: skip


def _pages(v: Vectors) -> None:
    v.add(
        "page known documents", "R6", "entries for documents that we have are believed", page((1,), 2, 3),
        "believe settled", known=(1,), documents=ours(2, 3), asked=paging(1),
    )  # fmt: skip
    v.add(
        "page more follows", "R6", "the next page is asked for", page((1,), 2, size=9),
        "believe page?", known=(1,), documents=ours(2), asked=paging(1),
    )  # fmt: skip
    v.add(
        "page lacks", "R6", "documents that we have forgotten are asked for", page((1,), 2, 3),
        "page?", known=(1,), documents=ours(3), asked=paging(1),
    )  # fmt: skip
    v.add(
        "page lacks later", "R6", "what comes before a forgotten document is believed", page((1,), 2, 3),
        "believe page?", known=(1,), documents=ours(2), asked=paging(1),
    )  # fmt: skip
    v.add(
        "page lacks more", "R6", "what came is taken back, though the register has grown by what was not asked for",
        page((1,), 2, 3, 4, documents=ours(2)), "take-back believe page?", known=(1,), asked=paging(1, lacks=(2, 3)),
    )  # fmt: skip
    v.add(
        "page taken back", "R6", "our own documents come back, by our own signature", page((1,), 2, 3, documents=ours(3)),
        "take-back believe settled", known=(1,), documents=ours(2), asked=paging(1, lacks=(3,)),
    )  # fmt: skip
    v.add(
        "page partly returned", "R6", "as far as the documents that came", page((1,), 2, 3, documents=ours(2)),
        "take-back believe page?", known=(1,), asked=paging(1, lacks=(2, 3)),
    )  # fmt: skip
    v.add(
        "page unknown document", "R7", "a document without our signature: its entry is followed, and reported", page((1,), 2),
        "believe report settled", known=(1,), asked=paging(1, lacks=(2,)),
    )  # fmt: skip
    same = {"claim": "number 2"}
    v.add(
        "page withholds", "R10", "a new document that says the same has not left, and must not",
        page((1,), 2, documents=ours(2, **same)), "withhold take-back believe settled",
        known=(1,), documents=ours(4, **same), asked=paging(1, lacks=(2,)),
    )  # fmt: skip
    v.add(
        "page claim in the same page", "R7, R10", "both stand in their register: nothing to withhold, officers must see it",
        page((1,), 2, 4, documents=ours(2, **same)), "report take-back believe settled",
        known=(1,), documents=ours(4, **same), asked=paging(1, lacks=(2,)),
    )  # fmt: skip
    v.add(
        "page claim returned twice", "R7, R10", "two documents come back and say the same",
        page((1,), 2, 4, documents=ours(2, 4, **same)), "report take-back believe settled",
        known=(1,), asked=paging(1, lacks=(2, 4)),
    )  # fmt: skip
    v.add(
        "page empty", "R7", "restored between two answers: no contradiction, ask later", page((1, 2), size=0),
        "", known=(1, 2), asked=paging(1, 2),
    )  # fmt: skip
    v.add(
        "page contradicts", "R7", "ids that do not lead to the head it names", page((1,), 2, head=head(9)),
        "report", known=(1,), documents=ours(2), asked=paging(1),
    )  # fmt: skip
    v.add(
        "page late", "R5", "a receipt was faster than the page: ask anew", page((1,), 2, 3),
        "status?", known=(1, 2), documents=ours(3), asked=paging(1),
    )  # fmt: skip
    v.add(
        "page old nonce", "R5", "an answer to another question is ignored", page((1,), 2, nonce="older-nonce-000001"),
        "", known=(1,), documents=ours(2), asked=paging(1),
    )  # fmt: skip
    v.add(
        "page completes", "R10", "the last page completes the exchange, and what was parked is admitted", page((1,), 2),
        "believe admit receipt settled", known=(1,), documents=ours(2), ready=False, asked=paging(1), parked=ours(11),
    )  # fmt: skip


def main() -> None:
    FOLDER.mkdir(exist_ok=True)
    for path in FOLDER.iterdir():
        path.unlink()
    for name, content in build().items():
        (FOLDER / name).write_bytes(content)


if __name__ == "__main__":
    main()
