"""Log probabilities in OpenAI's form; the vendor has three forms of its own.

Source: the types of Together's SDK 3.1, and answers of its engines: lists beside each other in
a whole answer, one number in a chunk, OpenAI's own form from some models.
"""

from typing import Any


def openai_form(given: Any, text: str) -> object:
    """`given` is what stands beside `text`; None where it says nothing."""
    if isinstance(given, dict) and isinstance(given.get("content"), list):
        return given
    if isinstance(given, (int, float)) and not isinstance(given, bool):
        return {"content": [entry(text, float(given), [])]}
    if not isinstance(given, dict):
        return None
    tokens, chances = given.get("tokens"), given.get("token_logprobs")
    if not isinstance(tokens, list) or not isinstance(chances, list):
        return None
    others = given.get("top_logprobs")
    tops = others if isinstance(others, list) else []
    rows = zip(tokens, chances, [*tops, *([None] * len(tokens))], strict=False)
    return {"content": [entry(str(token), chance, top) for token, chance, top in rows]}


def entry(token: str, chance: object, top: object) -> dict[str, Any]:
    """One token; `top` maps alternatives to their log probabilities."""
    known = top if isinstance(top, dict) else {}
    return {
        "token": token,
        "logprob": chance,
        "bytes": None,
        "top_logprobs": [
            {"token": name, "logprob": value, "bytes": None} for name, value in known.items()
        ],
    }
