"""Train, validation and test; query and gallery; and which images a split leaves without use."""
