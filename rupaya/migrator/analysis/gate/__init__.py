"""The gate: unsafe migrations are refused before they are merged, by what the server does for them."""
