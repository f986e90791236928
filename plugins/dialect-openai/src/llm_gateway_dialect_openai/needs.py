"""What OpenAI's own models demand, wherever they are hosted; nothing else here names one.

Source: OpenAI's API reference and the errors that its API gives, as of 2026-11.
"""

import re

# Models that answer on /responses only.
ONLY = re.compile(r"^(gpt-5\.[45]-pro|o\d+-pro|(gpt-[\d.]+-)?codex|gpt-[\d.]+-codex)(-|$)")
# Models that reason; others refuse to be asked for encrypted reasoning.
REASON = re.compile(r"^(o\d|codex|gpt-([5-9]|\d\d)(?!\d)(?!-chat))")
# First match wins. True: refuses function tools while reasoning, and reasons by default.
REASONS_BY_DEFAULT = (
    (re.compile(r"^gpt-5\.[45](-|$)"), False),
    (re.compile(r"^gpt-5\.([6-9]|\d\d)(-|$)"), True),
    (re.compile(r"^gpt-([6-9]|\d\d)(\.\d+)?(-|$)"), True),
)


def demanded(model: str, function_tools: bool, effort: object) -> bool:
    """Whether /chat/completions would refuse what /responses answers."""
    if ONLY.match(model):
        return True
    by_default = next((active for rule, active in REASONS_BY_DEFAULT if rule.match(model)), None)
    if by_default is None:
        return False
    if effort == "max":
        return True
    active = by_default if effort is None else effort != "none"
    return function_tools and active


def reasons(model: str) -> bool:
    """Whether encrypted reasoning may be asked for."""
    return REASON.match(model) is not None
