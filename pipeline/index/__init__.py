"""The index of the gallery: distances, relevance, building, search and filtered search."""
