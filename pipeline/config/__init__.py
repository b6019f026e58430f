"""params.yaml as typed values: its sections, its choices, and what cannot go together."""
