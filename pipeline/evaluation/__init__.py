"""How good retrieval is: ranking, metrics, intervals, classes, curves, failures, confusions."""
