"""Requests signed with a shared secret."""
