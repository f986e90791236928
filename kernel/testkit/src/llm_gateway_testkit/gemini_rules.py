"""What the Gemini API refuses of a request, in its own words.

The messages below are those of google-genai's types; a test compares the two. A field is
written in camel case, and snake case is taken as the vendor takes it.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from llm_gateway_testkit.steps import Received

# Message -> its fields; "name:Message" for a message, "name:Message[]" for a list of them.
MESSAGES: dict[str, str] = {
    "Content": "parts:Part[] role",
    "Part": """mediaResolution codeExecutionResult executableCode fileData:FileData
        functionCall:FunctionCall functionResponse:FunctionResponse inlineData:Blob text thought
        thoughtSignature videoMetadata toolCall toolResponse partMetadata audioTranscription
        mediaProcessing speechMetadata documentMetadata spreadsheetMetadata audioMetadata""",
    "Blob": "data displayName mimeType",
    "FileData": "displayName fileUri mimeType",
    "FunctionCall": "id args name partialArgs willContinue",
    "FunctionResponse": "willContinue scheduling parts:FunctionResponsePart[] id name response",
    "FunctionResponsePart": """inlineData:FunctionResponseBlob fileData:FunctionResponseFileData
        mediaProcessing mediaResolution videoMetadata documentMetadata spreadsheetMetadata
        audioMetadata""",
    "FunctionResponseBlob": "mimeType data displayName",
    "FunctionResponseFileData": "fileUri mimeType displayName",
    "Tool": """retrieval computerUse fileSearch googleSearch googleMaps codeExecution
        enterpriseWebSearch functionDeclarations:FunctionDeclaration[] googleSearchRetrieval
        parallelAiSearch urlContext mcpServers exaAiSearch""",
    "FunctionDeclaration": """description name parameters:Schema parametersJsonSchema
        response:Schema responseJsonSchema behavior""",
    "Schema": """additionalProperties defs ref anyOf:Schema[] default description enum example
        format items:Schema maxItems maxLength maxProperties maximum minItems minLength
        minProperties minimum nullable pattern properties propertyOrdering required title type""",
    "ToolConfig": """retrievalConfig functionCallingConfig:FunctionCallingConfig
        includeServerSideToolInvocations""",
    "FunctionCallingConfig": "allowedFunctionNames mode streamFunctionCallArguments",
    "GenerationConfig": """modelSelectionConfig responseJsonSchema audioTimestamp candidateCount
        enableAffectiveDialog frequencyPenalty logprobs maxOutputTokens mediaResolution
        presencePenalty responseLogprobs responseMimeType responseModalities responseSchema:Schema
        routingConfig seed speechConfig stopSequences temperature thinkingConfig:ThinkingConfig
        topK topP enableEnhancedCivicAnswers responseFormat translationConfig
        audioTranscriptionConfig""",
    "ThinkingConfig": "includeThoughts thinkingBudget thinkingLevel",
    "SafetySetting": "category method threshold",
}
# Bodies and configurations that the SDK spreads over its parameters.
REQUESTS: dict[str, str] = {
    "GenerateContentRequest": """contents:Content[] systemInstruction:Content tools:Tool[]
        toolConfig:ToolConfig safetySettings:SafetySetting[] cachedContent serviceTier labels
        store continuationToken modelArmorConfig generationConfig:GenerationConfig""",
    "CountTokensRequest": """contents:Content[] systemInstruction:Content tools:Tool[]
        generationConfig:GenerationConfig generateContentRequest""",
    "EmbedContentRequest": """model content:Content taskType title outputDimensionality
        embedContentConfig""",
    "BatchEmbedContentsRequest": "requests:EmbedContentRequest[]",
    "PredictRequest": "instances parameters",
}
VERTEX_ONLY = {
    ("GenerateContentRequest", "labels"),
    ("GenerateContentRequest", "modelArmorConfig"),
    ("GenerationConfig", "audioTimestamp"),
    ("GenerationConfig", "routingConfig"),
    ("FunctionCallingConfig", "streamFunctionCallArguments"),
    ("SafetySetting", "method"),
    ("EmbedContentRequest", "embedContentConfig"),
}
STUDIO_ONLY = {
    ("GenerateContentRequest", "store"),
    ("CountTokensRequest", "generateContentRequest"),
    ("EmbedContentRequest", "model"),
    ("EmbedContentRequest", "taskType"),
    ("EmbedContentRequest", "outputDimensionality"),
}
JSON_SCHEMA = frozenset(
    """$id $defs $ref $anchor type format title description enum items prefixItems minItems
    maxItems minimum maximum anyOf oneOf properties additionalProperties required
    propertyOrdering""".split()  # noqa: SIM905 - one line each otherwise
)
OPERATIONS = {
    "generateContent": "GenerateContentRequest",
    "streamGenerateContent": "GenerateContentRequest",
    "countTokens": "CountTokensRequest",
    "embedContent": "EmbedContentRequest",
    "batchEmbedContents": "BatchEmbedContentsRequest",
    "predict": "PredictRequest",
}
PATH = re.compile(
    r"/(?P<version>v1|v1beta|v1beta1)/(?P<vertex>projects/[^/]+/locations/[^/]+/"
    r"publishers/google/)?models/(?P<model>[^/:?]+):(?P<operation>\w+)"
)


class RefusedBody(Exception):
    """The vendor's words for what is wrong with a body."""


def check(request: Received, operation: str, model: str, vertex: bool) -> None:
    """Raises `RefusedBody` for what the vendor answers with 400."""
    try:
        body = request.json
    except (ValueError, RecursionError):
        raise RefusedBody("Invalid JSON payload received.") from None
    message = OPERATIONS[operation]
    body = _checked(body, message, "", vertex)
    if operation == "countTokens" and "generateContentRequest" in body:
        inner = dict(body["generateContentRequest"])
        if inner.pop("model", None) != f"models/{model}":
            raise RefusedBody("The model of the request must be that of the address.")
        body = _checked(inner, "GenerateContentRequest", "generate_content_request", vertex)
    if message in ("GenerateContentRequest", "CountTokensRequest"):
        _chat(body, model)
    elif message == "BatchEmbedContentsRequest":
        _batch(body, model, vertex)


def _checked(value: Any, message: str, at: str, vertex: bool) -> dict[str, Any]:
    """`value` with camel-case names; refuses what `message` does not have."""
    if not isinstance(value, dict):
        raise RefusedBody(f"Invalid value at '{at}' (type.{message}).")
    fields = dict(fields_of(message))
    found: dict[str, Any] = {}
    for given, each in value.items():
        name = _camel(given)
        absent = STUDIO_ONLY if vertex else VERTEX_ONLY
        if name not in fields or (message, name) in absent:
            raise RefusedBody(
                f'Invalid JSON payload received. Unknown name "{given}"'
                + (f" at '{at}'" if at else "")
                + ": Cannot find field."
            )
        where = f"{at}.{_snake(name)}" if at else _snake(name)
        found[name] = _member(each, fields[name], where, vertex)
    return found


def _member(value: Any, kind: str, where: str, vertex: bool) -> Any:
    if not kind or value is None:
        return value
    if not kind.endswith("[]"):
        return _checked(value, kind, where, vertex)
    rows = value if isinstance(value, list) else [value]
    return [
        _checked(each, kind.removesuffix("[]"), f"{where}[{at}]", vertex)
        for at, each in enumerate(rows)
    ]


def fields_of(message: str) -> Iterator[tuple[str, str]]:
    """Each field of `message` with the message it holds; empty for a plain value."""
    for each in (MESSAGES | REQUESTS)[message].split():
        name, _, kind = each.partition(":")
        yield name, kind


def _chat(body: Mapping[str, Any], model: str) -> None:
    modern = not model.startswith(("gemini-1", "gemini-2"))
    contents = body.get("contents")
    if not contents:
        raise RefusedBody("* GenerateContentRequest.contents: contents is not specified")
    for part in (body.get("systemInstruction") or {}).get("parts") or ():
        if set(part) != {"text"}:
            raise RefusedBody("The system instruction takes text only.")
    _generation(body.get("generationConfig") or {}, body, modern)
    _tools(body)
    _turns(contents, modern)


def _generation(config: Mapping[str, Any], body: Mapping[str, Any], modern: bool) -> None:
    if len(config.get("stopSequences") or ()) > 5:
        raise RefusedBody("The number of stop sequences must be at most 5.")
    if modern and {"presencePenalty", "frequencyPenalty"} & set(config):
        raise RefusedBody("Penalty is not enabled for this model")
    thinking = config.get("thinkingConfig") or {}
    if {"thinkingBudget", "thinkingLevel"} <= set(thinking):
        raise RefusedBody("You can only set one of thinking budget and thinking level.")
    if ("thinkingLevel" in thinking) and not modern:
        raise RefusedBody("Thinking level is not supported for this model.")
    if config.get("responseMimeType") == "application/json" and body.get("tools") and not modern:
        raise RefusedBody("Function calling with a response mime type is unsupported.")
    if "responseJsonSchema" in config:
        if config.get("responseMimeType") != "application/json":
            raise RefusedBody("A response schema needs the mime type application/json.")
        _json_schema(config["responseJsonSchema"], "generation_config.response_json_schema")
    if config.get("candidateCount", 1) != 1:
        raise RefusedBody("Multiple candidates is not enabled for this model")


def _tools(body: Mapping[str, Any]) -> None:
    names = set()
    for at, tool in enumerate(body.get("tools") or ()):
        for number, each in enumerate(tool.get("functionDeclarations") or ()):
            where = f"tools[{at}].function_declarations[{number}]"
            if not re.fullmatch(r"[A-Za-z_][A-Za-z0-9_.:\-]{0,127}", each.get("name") or ""):
                raise RefusedBody(f"Invalid function name at '{where}.name'.")
            names.add(each["name"])
            if "parametersJsonSchema" in each:
                _json_schema(each["parametersJsonSchema"], f"{where}.parameters_json_schema")
    config = (body.get("toolConfig") or {}).get("functionCallingConfig") or {}
    if config.get("mode", "AUTO") not in ("AUTO", "ANY", "NONE", "VALIDATED"):
        raise RefusedBody("Invalid value at 'tool_config.function_calling_config.mode'.")
    allowed = config.get("allowedFunctionNames") or ()
    if allowed and config.get("mode") not in ("ANY", "VALIDATED"):
        raise RefusedBody("Allowed function names need the mode ANY or VALIDATED.")
    if unknown := set(allowed) - names:
        raise RefusedBody(f"The allowed functions {sorted(unknown)} are not declared.")


def _json_schema(node: Any, where: str) -> None:
    if not isinstance(node, dict):
        raise RefusedBody(f"Invalid schema at '{where}'.")
    if unknown := sorted(set(node) - JSON_SCHEMA):
        raise RefusedBody(f"Unsupported keyword {unknown[0]!r} at '{where}'.")
    if "$ref" in node and any(not each.startswith("$") for each in node):
        raise RefusedBody(f"A reference at '{where}' has other members.")
    for name in ("properties", "$defs"):
        for key, each in (node.get(name) or {}).items():
            _json_schema(each, f"{where}.{name}.{key}")
    for name in ("anyOf", "oneOf", "prefixItems"):
        for each in node.get(name) or ():
            _json_schema(each, f"{where}.{name}")
    if node.get("type") == "array" and "items" not in node and "prefixItems" not in node:
        raise RefusedBody(f"{where}.items: missing field.")
    if "items" in node:
        _json_schema(node["items"], f"{where}.items")


def _turns(contents: Sequence[Mapping[str, Any]], modern: bool) -> None:
    """Roles alternate, results answer the calls before them, and calls are signed."""
    calls: list[Mapping[str, Any]] = []
    role = None
    for at, content in enumerate(contents):
        if content.get("role", "user") not in ("user", "model"):
            raise RefusedBody("Please use a valid role: user, model.")
        parts = content.get("parts") or ()
        if not parts:
            raise RefusedBody(f"contents[{at}].parts must not be empty.")
        results = [each["functionResponse"] for each in parts if "functionResponse" in each]
        _results(results, calls, modern)
        signed = [each for each in parts if "functionCall" in each]
        calls = [each["functionCall"] for each in signed]
        if calls and (content.get("role") != "model" or role != "user"):
            raise RefusedBody("A function call turn comes immediately after a user turn.")
        if signed and modern and not signed[0].get("thoughtSignature"):
            raise RefusedBody("Function call is missing a thought_signature in functionCall parts.")
        if not modern and any("id" in each for each in calls):
            raise RefusedBody('Invalid JSON payload received. Unknown name "id".')
        role = content.get("role", "user")


def _results(
    results: Sequence[Mapping[str, Any]], calls: Sequence[Mapping[str, Any]], modern: bool
) -> None:
    if len(results) != len(calls):
        raise RefusedBody(
            "Please ensure that the number of function response parts is equal to the number "
            "of function call parts of the function call turn."
        )
    for result, asked in zip(results, calls, strict=True):
        if not isinstance(result.get("response"), dict):
            raise RefusedBody("Invalid value at 'function_response.response' (a struct).")
        if result.get("name") != asked.get("name"):
            raise RefusedBody("A function response has another name than its call.")
        if modern and result.get("id") != asked.get("id"):
            raise RefusedBody("A function response has another id than its call.")
        if not modern and ("id" in result or "parts" in result):
            raise RefusedBody('Invalid JSON payload received. Unknown name "id".')


def _batch(body: Mapping[str, Any], model: str, vertex: bool) -> None:
    requests = body.get("requests") or ()
    if not 0 < len(requests) <= 100:
        raise RefusedBody("At most 100 requests can be in one batch.")
    for each in requests:
        if not vertex and each.get("model") != f"models/{model}":
            raise RefusedBody("The model of each request must be that of the address.")


def _camel(name: str) -> str:
    head, *rest = name.split("_")
    return head + "".join(each[:1].upper() + each[1:] for each in rest)


def _snake(name: str) -> str:
    return re.sub(r"[A-Z]", lambda found: "_" + found.group().lower(), name)
