"""Fallback chains by model and provider."""
