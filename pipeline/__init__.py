"""The library: images, models and metrics. It knows nothing of DVC or of the command line."""
