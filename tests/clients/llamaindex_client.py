"""LlamaIndex as a client of the gateway. Reads one task a line as JSON, answers one line each."""

import json
import sys
from typing import Any

from llama_index.core.base.llms.types import ChatMessage, ImageBlock, TextBlock
from llama_index.core.tools import FunctionTool
from llama_index.llms.openai_like import OpenAILike
from pydantic import BaseModel

URL, KEY, _ = sys.argv[1:]
QUESTION = "When is low tide?"


class Tide(BaseModel):
    """A tide."""

    port: str
    hour: int


def tide_at(port: str) -> str:
    """When the tide is low."""
    return port


def llm(model: str) -> Any:
    return OpenAILike(
        model=model,
        api_base=f"{URL}/v1",
        api_key=KEY,
        max_retries=0,
        is_chat_model=True,
        is_function_calling_model=True,
        should_use_structured_outputs=True,
        context_window=128_000,
    )


def text(model: str, picture: str) -> Any:
    answer = llm(model).chat([ChatMessage(role="user", content=QUESTION)])
    return [answer.message.content, answer.raw.usage.total_tokens > 0]


def stream(model: str, picture: str) -> Any:
    turns = [ChatMessage(role="user", content=QUESTION)]
    return ["".join(each.delta or "" for each in llm(model).stream_chat(turns)), True]


def tools(model: str, picture: str) -> Any:
    able, tool = llm(model), FunctionTool.from_defaults(tide_at)
    first = able.chat_with_tools([tool], user_msg=QUESTION)
    (call,) = able.get_tool_calls_from_response(first)
    turns = [
        ChatMessage(role="user", content=QUESTION),
        first.message,
        ChatMessage(role="tool", content="14:10", additional_kwargs={"tool_call_id": call.tool_id}),
    ]
    second = able.chat_with_tools([tool], chat_history=turns)
    return [call.tool_name, call.tool_kwargs, second.message.content]


def image(model: str, picture: str) -> Any:
    source = ImageBlock(image=picture.encode(), image_mimetype="image/png")
    turn = ChatMessage(role="user", blocks=[TextBlock(text="What is it?"), source])
    return [llm(model).chat([turn]).message.content]


def form(model: str, picture: str) -> Any:
    able = llm(model)
    schema = {
        "type": "json_schema",
        "json_schema": {"name": "Tide", "schema": Tide.model_json_schema()},
    }
    answer = able.chat([ChatMessage(role="user", content=QUESTION)], response_format=schema)
    return Tide.model_validate_json(answer.message.content).model_dump()


def error(model: str, picture: str) -> Any:
    try:
        llm(model).chat([ChatMessage(role="user", content=QUESTION)])
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
