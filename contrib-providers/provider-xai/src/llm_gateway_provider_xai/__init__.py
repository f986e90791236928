"""xAI as an upstream of the gateway."""
