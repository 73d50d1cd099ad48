"""Writes `protocol/asyncapi.yaml` from the frames, the document types and the transports: `python -m tests.schemas.asyncapi`.

AsyncAPI 3.0 has no words for a message whose lines are signed one by one, so a frame's payload is described as text, and what
its lines are stands in `x-kp-frame`, with the schemas of `protocol/frames/` and `protocol/documents/`. The rules are in the pages.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final

import yaml

from kpmsg import documents, frames, jws
from kpnode import broker
from kpnode.transports import https
from tests.schemas.frames import NAMES, key_of

FILE: Final = Path(__file__).parents[2] / "protocol" / "asyncapi.yaml"
Json = dict[str, Any]

SUMMARY: Final = {
    "documents": "Signed documents, in their author's order of creation",
    "receipt": "These documents are in our register of yours, and this is its head",
    "refusal": "These bytes could not be accepted",
    "status?": "How far is your register of my documents, and has it this head at this size?",
    "status": "How far it is, and whether it agrees",
    "page?": "Which entries follow this head?",
    "page": "These, and the documents that you lack",
    "file?": "A piece of a file that a document names, please",
    "file": "This is it; or the file is not to be had",
}
ANSWERS: Final = {
    "documents": ["receipt", "refusal"],
    "status?": ["status"],
    "page?": ["page"],
    "file?": ["file"],
}


def build() -> Json:
    """The whole description."""
    return {
        "asyncapi": "3.0.0",
        "info": {
            "title": "Exchange between Kimberley Process authorities",
            "version": "1.0.0",
            "description": "Generated; the rules are in README.md and the pages beside it. Advance notice, receipt and evidence: "
            "the certificate on paper prevails, and nothing here is endorsed by the Kimberley Process.",
            "license": {"name": "Apache-2.0"},
        },
        "defaultContentType": https.CONTENT_TYPE,
        "servers": _servers(),
        "channels": _channels(),
        "operations": _operations(),
        "components": {"messages": {key_of(name): _message(name) for name in SUMMARY}},
    }


def text() -> str:
    """The file."""
    head = "# Written by `python -m tests.schemas.asyncapi`; never by hand.\n"
    return head + yaml.safe_dump(build(), sort_keys=False, allow_unicode=True, width=110)


def _servers() -> Json:
    address = "The address of the authority that sends, with a dot for the slash"
    return {
        "broker": {
            "host": "{host}:{port}",
            "pathname": f"/{broker.vhost_of('XX').replace('XX', '{sender}')}",
            "protocol": "amqps",
            "protocolVersion": "0.9.1",
            "description": "The recipient's RabbitMQ, named in its grant. Mutual TLS, SASL EXTERNAL (T5).",
            "variables": {
                "host": {"description": "From the grant"},
                "port": {"default": "5671", "description": "From the grant"},
                "sender": {"description": address, "examples": ["BW", "EU.antwerp"]},
            },
        },
        "node": {
            "host": "{host}",
            "protocol": "https",
            "description": "The recipient's node itself, where both sides take part in direct exchange (T10).",
            "variables": {"host": {"description": "From the grant, or from the recipient's key record"}},
        },
    }


def _channels() -> Json:
    messages = {key_of(name): {"$ref": f"#/components/messages/{key_of(name)}"} for name in SUMMARY}
    return {
        "amqp": {
            "address": broker.INBOX,
            "title": "The sender's virtual host on the recipient's broker",
            "servers": [{"$ref": "#/servers/broker"}],
            "messages": messages,
            "bindings": {
                "amqp": {
                    "is": "routingKey",
                    "exchange": {
                        "name": broker.INBOX,
                        "type": "fanout",
                        "durable": True,
                        "autoDelete": False,
                        "vhost": "kp.{sender}",
                    },
                    "bindingVersion": "0.3.0",
                }
            },
        },
        "https": {
            "address": "/exchange/{sender}",
            "title": "One request to the recipient's node; its body is one or more frames, and so is the answer's",
            "servers": [{"$ref": "#/servers/node"}],
            "parameters": {"sender": {"description": "The sender's address, percent-encoded"}},
            "messages": messages,
            "bindings": {"http": {}},
        },
    }


def _operations() -> Json:
    operations: Json = {}
    for name, summary in SUMMARY.items():
        for action in ("send", "receive"):
            operation: Json = {
                "action": action,
                "channel": {"$ref": "#/channels/amqp"},
                "summary": summary,
                "messages": [_on("amqp", name)],
            }
            if action == "send":
                operation["bindings"] = {
                    "amqp": {"deliveryMode": 2, "mandatory": True, "ack": True, "bindingVersion": "0.3.0"}
                }
            if name in ANSWERS:
                operation["reply"] = {
                    "channel": {"$ref": "#/channels/amqp"},
                    "messages": [_on("amqp", answer) for answer in ANSWERS[name]],
                }
            operations[f"{action}-{key_of(name)}"] = operation
    for action in ("send", "receive"):
        operations[f"{action}-over-https"] = {
            "action": action,
            "channel": {"$ref": "#/channels/https"},
            "summary": "Any frames; those in answer come in the response",
            "messages": [_on("https", name) for name in SUMMARY],
            "bindings": {"http": {"method": "POST", "bindingVersion": "0.3.0"}},
            "reply": {
                "channel": {"$ref": "#/channels/https"},
                "messages": [_on("https", name) for name in SUMMARY],
            },
        }
    return operations


def _on(channel: str, name: str) -> Json:
    return {"$ref": f"#/channels/{channel}/messages/{key_of(name)}"}


def _message(name: str) -> Json:
    least, most = frames._LINES[name]
    asks = name.endswith("?")
    own = asks or name == "file"  # the others have everything in what is signed
    shape: Json = {
        "header": {"$ref": f"frames/{key_of(name)}.schema.json" if own else "frames/header.schema.json"},
        "lines": {"least": least, "most": most},
    }
    if name in frames.TYP:
        shape["statement"] = {
            "typ": frames.TYP[name],
            "payload": {"$ref": f"frames/{key_of(name)}.schema.json"},
        }
    if name in {"documents", "page"}:
        shape["documents"] = {
            "typ": jws.DOCUMENT,
            "payload": [{"$ref": f"documents/{kind.name}.schema.json"} for kind in documents.TYPES.values()],
        }
    assert name in NAMES.values() or name == "documents"
    return {
        "name": name,
        "title": SUMMARY[name],
        "contentType": https.CONTENT_TYPE,
        "payload": {
            "type": "string",
            "maxLength": frames.MAX_FRAME_BYTES,
            "description": "Lines separated by LF: a JSON header, then one JWS a line (in `file`, one of base64url).",
        },
        "x-kp-frame": shape,
    }


if __name__ == "__main__":
    FILE.write_text(text(), encoding="utf-8")
