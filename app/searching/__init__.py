"""Search by image for people: images from outside, a model with its index, the catalog."""
