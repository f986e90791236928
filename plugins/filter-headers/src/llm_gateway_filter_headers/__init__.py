"""Security headers on answers, hygiene of those of requests, allowed hosts."""
