"""The report: one page with the data, figures, curves, projections and sheets of a run."""
