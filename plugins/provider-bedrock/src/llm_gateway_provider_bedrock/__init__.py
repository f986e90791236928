"""Amazon Bedrock as an upstream of the LLM gateway."""
