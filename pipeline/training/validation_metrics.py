"""What training measures after each epoch, which is also what `train.monitor` may name."""

# Fixed, so that `evaluate.k`, which is for reports, never changes what is trained.
VALIDATION_K = (1, 5)

# Of each, a higher value is better.
VALIDATION_METRICS = (
    *(f"{name}_at_{k}" for name in ("recall", "precision", "ndcg") for k in VALIDATION_K),
    "map",
    "map_at_r",
    "r_precision",
    "mrr",
    "macro_map",
)
