"""Figures for people (projections, sheets, bars of confused classes), and tables of curves.

A new one is a file here, called in sheet_files.py (of result tables) or projection_figures.py (of
vectors).
"""
