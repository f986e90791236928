"""pydantic-ai as a client of the gateway. Reads one task a line as JSON, answers one line each."""

import asyncio
import base64
import json
import sys
from typing import Any

from anthropic import AsyncAnthropic
from openai import AsyncOpenAI
from pydantic import BaseModel
from pydantic_ai import Agent, BinaryContent, NativeOutput
from pydantic_ai.exceptions import ModelHTTPError
from pydantic_ai.models.anthropic import AnthropicModel
from pydantic_ai.models.openai import OpenAIChatModel
from pydantic_ai.profiles import ModelProfile
from pydantic_ai.providers.anthropic import AnthropicProvider
from pydantic_ai.providers.openai import OpenAIProvider

URL, KEY, DIALECT = sys.argv[1:]
QUESTION = "When is low tide?"


class Tide(BaseModel):
    """A tide."""

    port: str
    hour: int


def chat(model: str) -> Any:
    if DIALECT == "anthropic":
        theirs = AsyncAnthropic(base_url=URL, api_key=KEY, max_retries=0)
        provider: Any = AnthropicProvider(anthropic_client=theirs)
        profile = ModelProfile(supports_json_schema_output=True)
        return AnthropicModel(model, provider=provider, profile=profile)
    ours = AsyncOpenAI(base_url=f"{URL}/v1", api_key=KEY, max_retries=0)
    return OpenAIChatModel(model, provider=OpenAIProvider(openai_client=ours))


async def text(model: str, picture: str) -> Any:
    answer = await Agent(chat(model)).run(QUESTION)
    return [answer.output, answer.usage.total_tokens > 0]


async def stream(model: str, picture: str) -> Any:
    async with Agent(chat(model)).run_stream(QUESTION) as run:
        pieces = [each async for each in run.stream_text(delta=True)]
    return ["".join(pieces), True]


async def tools(model: str, picture: str) -> Any:
    agent, seen = Agent(chat(model)), []

    @agent.tool_plain
    def tide_at(port: str) -> str:
        """When the tide is low."""
        seen.append({"port": port})
        return "14:10"

    answer = await agent.run(QUESTION)
    return ["tide_at", *seen, answer.output]


async def image(model: str, picture: str) -> Any:
    source = BinaryContent(base64.b64decode(picture), media_type="image/png")
    answer = await Agent(chat(model)).run(["What is it?", source])
    return [answer.output]


async def form(model: str, picture: str) -> Any:
    answer = await Agent(chat(model), output_type=NativeOutput(Tide)).run(QUESTION)
    return answer.output.model_dump()


async def error(model: str, picture: str) -> Any:
    try:
        await Agent(chat(model)).run(QUESTION)
    except ModelHTTPError as error:
        return error.status_code
    return None


TASKS = {each.__name__: each for each in (text, stream, tools, image, form, error)}


async def main() -> None:
    for line in sys.stdin:
        task = json.loads(line)
        try:
            told: Any = {"result": await TASKS[task["task"]](task["model"], task["picture"])}
        except Exception as failure:
            told = {"failure": f"{type(failure).__name__}: {failure}"}
        print(json.dumps(told), flush=True)


asyncio.run(main())
