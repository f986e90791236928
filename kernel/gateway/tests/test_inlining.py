"""Pictures by address become data where a provider takes no address, once, or a clear 400."""

import asyncio
from dataclasses import dataclass, field
from typing import Any

import pytest
from llm_gateway.inlining import Inlining
from llm_gateway_api import (
    ChatRequest,
    ClientError,
    Fetched,
    FetchError,
    FilePart,
    ImagePart,
    Message,
    TextPart,
    ToolResultPart,
)

PNG, PDF = b"\x89PNG\r\n\x1a\n", b"%PDF-1.7"


@dataclass
class Web:
    """Meets `Fetch`: answers from a table and says what was asked."""

    pages: dict[str, bytes | int]
    media_type: str = "application/octet-stream"
    asked: list[str] = field(default_factory=list)

    async def __call__(self, url: str, **limits: Any) -> Fetched:
        self.asked.append(url)
        await asyncio.sleep(0)
        page = self.pages.get(url, 404)
        if isinstance(page, int):
            return Fetched(url, page, {}, b"")
        if page == b"slow":
            raise FetchError("it took longer than 1 s")
        return Fetched(url, 200, {"content-type": self.media_type}, page)


@dataclass
class Call:
    """As much of a request under way as inlining sees."""

    request: Any
    deadline: float = float("inf")

    def canonical(self) -> Any:
        return self.request


class Vendor:
    """Takes addresses of its own cloud only."""

    def inlines(self, kind: str, url: str) -> bool:
        return not url.startswith("gs://")


def chat(*parts: Any) -> Call:
    first = Message("user", (TextPart("hello"),))
    return Call(ChatRequest("m", (first, Message("user", parts))))


async def applied(web: Web, call: Any, limit: int = 20) -> tuple[Any, ...]:
    await Inlining(web, limit).apply(call, Vendor())
    parts: tuple[Any, ...] = call.request.messages[1].parts
    return parts


async def test_addresses_become_data() -> None:
    """Pictures, documents and what a tool returned; each address is asked once."""
    web = Web({"http://a/p": PNG, "http://a/d": PDF})
    call = chat(
        ImagePart(url="http://a/p", detail="high"),
        TextPart("and"),
        ImagePart(url="http://a/p"),
        FilePart(url="http://a/d", filename="d.pdf"),
        ToolResultPart("c1", (ImagePart(url="http://a/p"),)),
        ImagePart(url="gs://mine/x"),
    )

    parts = await applied(web, call)

    picture = ImagePart(media_type="image/png", data="iVBORw0KGgo=")
    assert parts[0] == ImagePart(media_type="image/png", data="iVBORw0KGgo=", detail="high")
    assert parts[2] == picture
    assert parts[3] == FilePart("d.pdf", "application/pdf", "JVBERi0xLjc=")
    assert parts[4].parts == (picture,)
    assert parts[5] == ImagePart(url="gs://mine/x")
    assert sorted(web.asked) == ["http://a/d", "http://a/p"]


async def test_a_second_attempt_finds_the_data() -> None:
    web, call = Web({"http://a/p": PNG}), chat(ImagePart(url="http://a/p"))

    await applied(web, call)
    await applied(web, call)

    assert web.asked == ["http://a/p"]


@pytest.mark.parametrize(
    ("url", "says"),
    [
        ("http://a/none", "the answer was 404"),
        ("http://a/slow", "longer than 1 s"),
        ("http://a/page", "text/html, which is no picture"),
    ],
)
async def test_what_cannot_be_had_names_message_and_host(url: str, says: str) -> None:
    web = Web({"http://a/slow": b"slow", "http://a/page": b"<html>"}, "text/html; charset=utf-8")

    with pytest.raises(ClientError, match=says) as caught:
        await applied(web, chat(TextPart("see"), ImagePart(url=f"{url}?token=secret")
                                if "none" in url else ImagePart(url=url)))  # fmt: skip

    assert (caught.value.status, caught.value.param) == (400, "messages[1].content[1]")
    assert "at a cannot be had" in caught.value.message
    assert "secret" not in caught.value.message


async def test_too_many_addresses_are_refused_before_any_is_asked() -> None:
    web = Web({})

    with pytest.raises(ClientError, match="max_fetches_per_request"):
        await applied(web, chat(*(ImagePart(url=f"http://a/{n}") for n in range(3))), limit=2)

    assert web.asked == []


async def test_a_request_without_addresses_is_left_alone() -> None:
    web, call = Web({}), chat(ImagePart(data="AA", media_type="image/png"))
    before = call.request

    await applied(web, call)

    assert call.request is before and web.asked == []


@pytest.mark.parametrize(
    ("part", "concerns"),
    [
        (TextPart("http://a/p"), False),
        (ImagePart(url="http://a/p"), True),
        (FilePart(url="http://a/d"), True),
        (ToolResultPart("c1", (ImagePart(url="http://a/p"),)), True),
    ],
)
def test_only_what_may_hold_an_address_concerns_inlining(part: Any, concerns: bool) -> None:
    assert Inlining(Web({}), 20).concerns(chat(part).canonical()) is concerns
