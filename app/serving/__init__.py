"""The search page and its server."""
