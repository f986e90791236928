"""What Bedrock refuses: a wrong signature, a field its model does not have, turns out of order.

The fields are judged by the service model of botocore (`pip install llm-gateway-testkit[bedrock]`);
the signature is computed here, apart from any signer that it is to prove.
"""

import base64
import binascii
import hashlib
import hmac
import re
from collections.abc import Iterator, Mapping
from typing import Any
from urllib.parse import quote, unquote

from llm_gateway_testkit.steps import Received

_AUTHORIZATION = re.compile(
    r"AWS4-HMAC-SHA256 Credential=(?P<key>[^/]+)/(?P<scope>[^,]+), "
    r"SignedHeaders=(?P<names>[^,]+), Signature=(?P<signature>[0-9a-f]{64})"
)
_DOCUMENT_NAME = re.compile(r"[A-Za-z0-9\-()\[\]]+( [A-Za-z0-9\-()\[\]]+)*")
OPERATIONS = {
    "converse": "Converse",
    "converse-stream": "ConverseStream",
    "count-tokens": "CountTokens",
    "invoke": "InvokeModel",
}


def signature_fault(request: Received, key: str, secret: str, token: str | None) -> str | None:
    """Why the signature of `request` is wrong; None where it is right."""
    found = _AUTHORIZATION.fullmatch(request.headers.get("authorization", ""))
    if found is None:
        return "the authorization header is no signature"
    names = found["names"].split(";")
    needed = {"content-type", "host", "x-amz-date"} | ({"x-amz-security-token"} if token else set())
    if request.method == "GET":
        needed.discard("content-type")
    if names != sorted(names) or not needed <= set(names):
        return f"the signed headers are {names}"
    if found["key"] != key or request.headers.get("x-amz-security-token") != token:
        return "the key or the session token is another"
    date, region, service, end = found["scope"].split("/")
    moment = request.headers["x-amz-date"]
    if not moment.startswith(date) or end != "aws4_request" or service != "bedrock":
        return f"the scope is {found['scope']}"
    path, _, query = request.path.partition("?")
    lines = "".join(f"{name}:{request.headers[name].strip()}\n" for name in names)
    digest = hashlib.sha256(request.body).hexdigest()
    canonical = "\n".join(
        [request.method, quote(path, safe="/~"), _query(query), lines, found["names"], digest]
    )
    hashed = hashlib.sha256(canonical.encode()).hexdigest()
    text = f"AWS4-HMAC-SHA256\n{moment}\n{found['scope']}\n{hashed}"
    chain = b"AWS4" + secret.encode()
    for part in (date, region, service, end):
        chain = hmac.new(chain, part.encode(), "sha256").digest()
    wanted = hmac.new(chain, text.encode(), "sha256").hexdigest()
    return None if wanted == found["signature"] else "the signature does not match"


def _query(query: str) -> str:
    pairs = [each.partition("=") for each in query.split("&") if each]
    decoded = [(quote(unquote(n), safe="~"), quote(unquote(v), safe="~")) for n, _, v in pairs]
    return "&".join(f"{name}={value}" for name, value in sorted(decoded))


class ServiceModel:
    """The shapes of ``bedrock-runtime``; loaded when made, which takes a moment."""

    def __init__(self) -> None:
        import botocore.session

        session = botocore.session.get_session()
        self._model: Any = session.get_service_model("bedrock-runtime")

    def faults(self, operation: str, body: Mapping[str, Any]) -> Iterator[str]:
        """What of `body` the model of `operation` does not have, or has otherwise."""
        shape = self._model.operation_model(operation).input_shape
        in_path = {
            name for name, each in shape.members.items() if each.serialization.get("location")
        }
        required = set(shape.required_members) - in_path
        known = {name: each for name, each in shape.members.items() if name not in in_path}
        yield from _members(known, required, body, "")


def _members(
    known: Mapping[str, Any], required: set[str], value: Mapping[str, Any], path: str
) -> Iterator[str]:
    for name in sorted(value.keys() - known.keys()):
        yield f"{path}{name} is no known field"
    for name in sorted(required - value.keys()):
        yield f"{path}{name} is missing"
    for name, each in value.items():
        if name in known:
            yield from _faults(known[name], each, f"{path}{name}")


def _faults(shape: Any, value: Any, path: str) -> Iterator[str]:
    kind = shape.type_name
    if getattr(shape, "is_document_type", False):
        return
    if value is None:
        yield f"{path} is null"
    elif kind == "structure":
        yield from _structure(shape, value, path)
    elif kind == "list":
        yield from _list(shape, value, path)
    elif kind == "map":
        for key, each in value.items():
            yield from _faults(shape.value, each, f"{path}.{key}")
    else:
        yield from _scalar(shape, value, path)


def _structure(shape: Any, value: Any, path: str) -> Iterator[str]:
    if not isinstance(value, dict):
        yield f"{path} is no object"
        return
    if getattr(shape, "is_tagged_union", False) and len(value) != 1:
        yield f"{path} has {len(value)} members instead of one"
    yield from _members(shape.members, set(shape.required_members), value, f"{path}.")


def _list(shape: Any, value: Any, path: str) -> Iterator[str]:
    if not isinstance(value, list):
        yield f"{path} is no list"
        return
    yield from _range(shape, len(value), path)
    for at, each in enumerate(value):
        yield from _faults(shape.member, each, f"{path}[{at}]")


def _scalar(shape: Any, value: Any, path: str) -> Iterator[str]:
    kind = shape.type_name
    wanted = {"string": str, "boolean": bool, "integer": int, "long": int, "blob": str}
    types: Any = wanted.get(kind, (int, float))
    if not isinstance(value, types) or (isinstance(value, bool) and kind != "boolean"):
        yield f"{path} is no {kind}"
    elif kind == "string":
        yield from _range(shape, len(value), path)
        if shape.enum and value not in shape.enum:
            yield f"{path} is none of {shape.enum}"
        pattern = shape.metadata.get("pattern")
        if pattern and not re.fullmatch(pattern, value, re.DOTALL):
            yield f"{path} does not match {pattern}"
    elif kind == "blob":
        try:
            base64.b64decode(value, validate=True)
        except (binascii.Error, ValueError):
            yield f"{path} is no base64"
    elif kind != "boolean":
        yield from _range(shape, value, path)


def _range(shape: Any, size: float, path: str) -> Iterator[str]:
    low, high = shape.metadata.get("min"), shape.metadata.get("max")
    if (low is not None and size < low) or (high is not None and size > high):
        yield f"{path} is not within {low} and {high}"


def turn_fault(body: Mapping[str, Any]) -> str | None:
    """What the service itself refuses of turns that its model allows."""
    messages = body.get("messages", [])
    if messages and messages[0]["role"] != "user":
        return "A conversation must start with a user message."
    names: list[str] = []
    pending: list[str] = []
    tools = False
    for number, message in enumerate(messages):
        blocks = message["content"]
        if number and messages[number - 1]["role"] == message["role"]:
            return "roles must alternate between user and assistant"
        for at, block in enumerate(blocks):
            if "text" in block and not block["text"].strip():
                return (
                    f"The text field in the ContentBlock object at "
                    f"messages.{number}.content.{at} is blank."
                )
        results = [each["toolResult"]["toolUseId"] for each in blocks if "toolResult" in each]
        if sorted(results) != sorted(pending):
            return (
                f"Expected toolResult blocks at messages.{number}.content "
                f"for the following Ids: {', '.join(pending)}"
            )
        pending = [each["toolUse"]["toolUseId"] for each in blocks if "toolUse" in each]
        tools = tools or bool(results or pending)
        documents = [each["document"]["name"] for each in blocks if "document" in each]
        names += documents
        if documents and not any("text" in each for each in blocks):
            return "A text block is required beside a document."
    if tools and "toolConfig" not in body:
        return "The toolConfig field must be defined when using toolUse and toolResult."
    return _names_fault(names)


def _names_fault(names: list[str]) -> str | None:
    if len(set(names)) < len(names):
        return "Two documents have the same name."
    if not all(_DOCUMENT_NAME.fullmatch(each) for each in names):
        return "The document's name has other characters than are allowed."
    return None
