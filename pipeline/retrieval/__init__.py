"""Searching and mining embeddings, and measuring how good they are."""
