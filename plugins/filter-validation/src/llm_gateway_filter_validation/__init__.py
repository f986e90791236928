"""The shape and the size of requests."""
