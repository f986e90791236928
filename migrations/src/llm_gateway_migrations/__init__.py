"""The tables of the gateway as SQL migrations, and what runs them."""
