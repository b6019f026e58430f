"""The index of the gallery: distances, relevance, build, search and filtered search."""
