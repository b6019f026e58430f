"""What people look at: curves, projections and sheets."""
