"""Keeps a conversation at the deployment that knows it."""
