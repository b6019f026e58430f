"""Experiments in DVC: recipes, sweeps, tuning, and the one adapter to DVC."""
