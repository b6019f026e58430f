"""Triplets mined before training, by embeddings or by labels, and the compiled loops of both."""
