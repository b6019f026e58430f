"""Whether the difference between two models is more than chance."""
