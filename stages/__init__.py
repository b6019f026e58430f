"""One thin Typer program a stage: read files, one call into `pipeline`, write files."""
