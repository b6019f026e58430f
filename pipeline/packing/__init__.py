"""A dataset, wherever it is, into packed and checked images."""
