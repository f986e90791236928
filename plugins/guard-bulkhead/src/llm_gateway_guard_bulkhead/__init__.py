"""Concurrent calls and a fair, bounded queue for each provider."""
