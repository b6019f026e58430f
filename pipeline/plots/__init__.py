"""Curves, projections and sheets, for people."""
