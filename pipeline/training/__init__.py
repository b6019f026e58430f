"""From mined or drawn batches to the best epoch of an embedder."""
