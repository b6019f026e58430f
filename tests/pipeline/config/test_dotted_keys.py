from pipeline.config.dotted_keys import flatten, keep_chosen, show_value


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


def test_a_section_is_a_choice_where_its_name_is_that_of_a_block() -> None:
    values = {
        "seed": 7,
        "variants": {"name": {"train": {"epochs": 1}}},
        "head": {"name": "linear", "dim": 128},
        "data": {
            "name": "folder",
            "source": "x",
            "folder": {"table": None},
            "coco": {"year": 2014},
        },
    }
    kept = keep_chosen(values)
    assert kept.pop("data") == {"name": "folder", "source": "x", "folder": {"table": None}}
    assert kept == {key: value for key, value in values.items() if key != "data"}
