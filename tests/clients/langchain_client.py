"""LangChain as a client of the gateway. Reads one task a line as JSON, answers one line each."""

import json
import sys
from typing import Any

from langchain_anthropic import ChatAnthropic
from langchain_core.messages import HumanMessage, ToolMessage
from langchain_core.tools import tool
from langchain_openai import ChatOpenAI
from pydantic import BaseModel

URL, KEY, DIALECT = sys.argv[1:]
QUESTION = "When is low tide?"


class Tide(BaseModel):
    """A tide."""

    port: str
    hour: int


@tool
def tide_at(port: str) -> str:
    """When the tide is low."""
    return port


def chat(model: str) -> Any:
    if DIALECT == "anthropic":
        return ChatAnthropic(model=model, base_url=URL, api_key=KEY, max_retries=0, max_tokens=50)
    return ChatOpenAI(
        model=model, base_url=f"{URL}/v1", api_key=KEY, max_retries=0, stream_usage=True
    )


def text(model: str, picture: str) -> Any:
    answer = chat(model).invoke(QUESTION)
    return [answer.text, answer.usage_metadata["total_tokens"] > 0]


def stream(model: str, picture: str) -> Any:
    pieces = list(chat(model).stream(QUESTION))
    return ["".join(each.text for each in pieces), True]


def tools(model: str, picture: str) -> Any:
    able = chat(model).bind_tools([tide_at])
    turns: list[Any] = [HumanMessage(QUESTION)]
    first = able.invoke(turns)
    (call,) = first.tool_calls
    turns += [first, ToolMessage("14:10", tool_call_id=call["id"])]
    return [call["name"], call["args"], able.invoke(turns).text]


def image(model: str, picture: str) -> Any:
    source = {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{picture}"}}
    turn = HumanMessage([{"type": "text", "text": "What is it?"}, source])
    return [chat(model).invoke([turn]).text]


def form(model: str, picture: str) -> Any:
    made = chat(model).with_structured_output(Tide, method="json_schema")
    return made.invoke(QUESTION).model_dump()


def error(model: str, picture: str) -> Any:
    try:
        chat(model).invoke(QUESTION)
    except Exception as error:
        return getattr(error, "status_code", None)
    return None


TASKS = {each.__name__: each for each in (text, stream, tools, image, form, error)}

for line in sys.stdin:
    task = json.loads(line)
    try:
        told: Any = {"result": TASKS[task["task"]](task["model"], task["picture"])}
    except Exception as failure:
        told = {"failure": f"{type(failure).__name__}: {failure}"}
    print(json.dumps(told), flush=True)
