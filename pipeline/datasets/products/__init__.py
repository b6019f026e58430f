"""The default dataset: products to buy, rendered from a seed by a small ray caster."""
