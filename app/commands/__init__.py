"""The commands of `lookalike`, a file each."""
