"""API keys from the configuration and the environment."""
