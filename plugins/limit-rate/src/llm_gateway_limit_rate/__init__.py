"""Limits of callers: requests and tokens a minute, requests at once."""
