{{name}} is a {{kind}} of the LLM gateway.
