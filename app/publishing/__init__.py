"""A model for other people: its files, and a card that says what it is and how well it does."""
