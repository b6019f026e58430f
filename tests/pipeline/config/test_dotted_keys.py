from pipeline.config.dotted_keys import flatten, show_value


def test_params_are_flattened_with_dots() -> None:
    nested = {"seed": 7, "miner": {"name": "none", "none": {}}, "evaluate": {"k": [1, 5]}}
    assert flatten(nested) == {
        "seed": 7,
        "miner.name": "none",
        "miner.none": {},
        "evaluate.k": [1, 5],
    }


def test_values_are_spelt_as_in_params_yaml() -> None:
    values = [None, True, 0.1, [0.6, 1.0], "pk", {}]
    assert [show_value(value) for value in values] == [
        *("null", "true", "0.1", "[0.6, 1.0]", "pk", "none")
    ]
