"""All that is kept about a tenant: exported in one file, erased everywhere."""
