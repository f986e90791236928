"""Retries with backoff, jitter and a budget."""
