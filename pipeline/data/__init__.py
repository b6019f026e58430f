"""Tables, packed images, label sets and embeddings on disk, and how they are joined by image_id."""
