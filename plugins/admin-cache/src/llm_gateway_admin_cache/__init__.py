"""Routes and commands for caches."""
