"""One record for each request: spooled to disk, shipped to the store, reported."""
