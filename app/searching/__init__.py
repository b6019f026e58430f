"""Search for people: the catalog, a model with its index, photos from outside, sheets."""
