"""The report: one page with the dataset, metrics, curves, projections and sheets of a run."""
