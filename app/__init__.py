"""For people: the `lookalike` command. What it does to a project, a person could do by hand."""
