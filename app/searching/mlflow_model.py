"""What MLflow runs to load a model that was registered: it copies this file beside the model."""

from mlflow.models import set_model

from app.searching.served_neighbors import ServedNeighbors

set_model(ServedNeighbors())
