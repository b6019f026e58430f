"""Networks as embedders: backbone, pooling, head; their weights, and running them."""
