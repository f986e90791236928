"""{{name}}: a {{kind}} of the LLM gateway."""
