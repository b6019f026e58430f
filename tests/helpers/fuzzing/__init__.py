"""Damaged files for every reader: what each must do with any bytes, in a process of its own."""
