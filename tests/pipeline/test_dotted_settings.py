from pipeline.dotted_settings import flatten


def test_params_are_flattened_with_dots() -> None:
    nested = {"seed": 7, "miner": {"name": "none", "none": {}}, "evaluate": {"k": [1, 5]}}
    assert flatten(nested) == {
        "seed": 7,
        "miner.name": "none",
        "miner.none": {},
        "evaluate.k": [1, 5],
    }
