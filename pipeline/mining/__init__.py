"""Triplets mined offline, by embeddings or by labels, and the compiled loops of both."""
