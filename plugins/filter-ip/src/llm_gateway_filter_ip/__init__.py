"""Who may call, by address, and who calls behind a proxy."""
