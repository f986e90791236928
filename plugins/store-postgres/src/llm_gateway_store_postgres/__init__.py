"""A store in PostgreSQL 14 and later."""
