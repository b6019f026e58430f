"""Figures for people (projections, sheets, bars of confused classes), and tables of curves."""
