"""Health of the data: what is known of each image, and which images are duplicates."""
