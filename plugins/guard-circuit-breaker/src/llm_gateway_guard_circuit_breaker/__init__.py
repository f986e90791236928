"""A circuit breaker for each deployment."""
