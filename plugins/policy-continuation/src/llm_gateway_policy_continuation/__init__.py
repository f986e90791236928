"""Continuation of streams that broke after content."""
