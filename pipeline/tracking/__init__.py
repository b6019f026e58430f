"""MLflow: what it is told of an execution of the pipeline, and the little that is read back."""
