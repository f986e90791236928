"""Security and administration on record: chained, verifiable, searchable."""
