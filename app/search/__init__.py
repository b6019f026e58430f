"""Searching for people: photos from the world, the search page and its server."""
