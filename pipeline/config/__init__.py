"""params.yaml as typed values: its sections, and what cannot go together."""
