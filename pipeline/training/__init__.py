"""From mined or sampled batches to the best epoch of an embedder."""
