"""The commands about files that go with documents: `attach` hands them to the node, `fetch` brings a partner's.

How large they may be and what they may be made of is `kpmsg.attachments`; that they are what was signed for, `kpmsg.client` compares.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path, PurePath
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

from kpmsg.cli.edge import DONE, Json, fail, keep, read, tell, write
from kpmsg.cli.node import Ca, KeyFile, Plaintext, Url, at_node

if TYPE_CHECKING:
    from rich.console import RenderableType

    from kpmsg.client import NodeClient

_MADE_OF: Final = {
    ".csv": "text/csv",
    ".jpeg": "image/jpeg",
    ".jpg": "image/jpeg",
    ".json": "application/json",
    ".pdf": "application/pdf",
    ".png": "image/png",
    ".tif": "image/tiff",
    ".tiff": "image/tiff",
    ".txt": "text/plain",
    ".xml": "application/xml",
}
_LEAST: Final = 6
"""Digits of a digest that name a file among those of one document."""


def attach(
    files: Annotated[list[str], typer.Argument(metavar="FILE", help="Scans, photographs, lists.")],
    url: Url,
    key_file: KeyFile = None,
    ca: Ca = None,
    insecure_plaintext: Plaintext = False,
    as_json: Json = False,
) -> None:
    """Hand files to the node, and print how a document names each: a line of JSON for --set '/attachments/-=...'.

    `kpmsg say --attach FILE` does both at once.
    """
    with at_node(url, key_file, ca, plaintext=insecure_plaintext, as_json=as_json) as node:
        for attachment in uploaded(node, files):
            write(f"{json.dumps(attachment)}\n")


def fetch(
    document: Annotated[str, typer.Argument(metavar="DOCUMENT", help="Its id (kpmsg show --ids).")],
    url: Url,
    digest: Annotated[
        str | None,
        typer.Argument(metavar="DIGEST", help="The file's digest, its beginning, or the file's name."),
    ] = None,
    out: Annotated[Path | None, typer.Option(help="A new file for it.")] = None,
    wait: Annotated[
        int, typer.Option(min=0, max=600, help="Seconds to wait for the partner to send it.")
    ] = 60,
    key_file: KeyFile = None,
    ca: Ca = None,
    insecure_plaintext: Plaintext = False,
    as_json: Json = False,
) -> None:
    """Fetch a file that a document names; without DIGEST, list them.

    It has been compared with what was signed. That it does no harm to whoever opens it, nobody has looked at.
    """
    with at_node(url, key_file, ca, plaintext=insecure_plaintext, as_json=as_json) as node:
        files = node.files(document)
        if digest is None:
            tell(_listed(files), {"files": files}, as_json)
            raise typer.Exit(DONE)
        if out is None:
            fail("give --out FILE")
        chosen = _chosen(files, digest)
        content = node.file(document, str(chosen.get("digest")), wait=wait)
    keep(out, content)
    told = {"file": str(out), "size": len(content), "digest": chosen.get("digest")}
    tell(_kept(str(out), chosen, len(content)), told, as_json)


def uploaded(node: NodeClient, files: Iterable[str]) -> Iterator[dict[str, Any]]:
    """How a document names each of the files, which are at the node then. Ends the program for one that cannot be sent."""
    from kpmsg.attachments import MAX_FILE

    given = [(file, _made_of(file), read(file, MAX_FILE)) for file in files]  # before anything is sent
    for file, media_type, content in given:
        if not content:
            fail(f"{file} is empty")
        held = node.upload(content, media_type)
        yield {
            "name": PurePath(file).name,
            "media_type": media_type,
            "sha256": held["digest"],
            "size": len(content),
        }


def _made_of(file: str) -> str:
    suffix = PurePath(file).suffix.lower()
    if suffix not in _MADE_OF:
        fail(f"{file}: what is it made of? Files are sent whose names end in {', '.join(sorted(_MADE_OF))}")
    return _MADE_OF[suffix]


def _chosen(files: Sequence[Mapping[str, Any]], wanted: str) -> Mapping[str, Any]:
    found = [
        each
        for each in files
        if each.get("name") == wanted
        or (len(wanted) >= _LEAST and str(each.get("digest")).startswith(wanted.lower()))
    ]
    if len({each.get("digest") for each in found}) != 1:
        fail(
            f"the document names {'no such file' if not found else 'several such files'}; see kpmsg fetch DOCUMENT"
        )
    return found[0]


def _listed(files: Sequence[Mapping[str, Any]]) -> Iterable[RenderableType]:
    from rich.text import Text

    from kpmsg.wording import readable

    if not files:
        yield Text("The document names no file.")
    for each in files:
        size = each.get("size")
        about = f"{readable(str(each.get('media_type')))}, {size} bytes, {readable(str(each.get('state')))}"
        yield Text(f"{readable(str(each.get('name')))}  ({about})")
        yield Text(f"  {readable(str(each.get('digest')))}", "dim")


def _kept(out: str, chosen: Mapping[str, Any], size: int) -> Iterable[RenderableType]:
    from rich.text import Text

    from kpmsg.wording import readable

    name = readable(str(chosen.get("name")))
    yield Text(f"{readable(out)}: {size} bytes, called {name} by the document; just as they were signed for.")
