"""Train, validation and test; query and gallery; and what a split leaves out."""
