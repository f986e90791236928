"""DeepSeek as an upstream of the gateway."""
