import pandas as pd

from pipeline.report.hardest_classes import HardClass, hardest_classes

NAMES = {0: "cup", 1: "jug", 2: "pot"}


def results(**columns: list[float]) -> pd.DataFrame:
    return pd.DataFrame({"label": [0, 1, 2], "queries": [4, 5, 6], **columns})


def test_the_lowest_map_of_the_trained_model_comes_first_beside_the_baseline() -> None:
    baseline = results(map=[0.1, 0.2, 0.3], recall_at_1=[0.4, 0.5, 0.6])[:2]
    finetuned = results(map=[0.9, 0.8, 0.7], recall_at_1=[1.0, 0.5, 0.0], recall_at_5=[1.0] * 3)
    found = hardest_classes({"baseline": baseline, "finetuned": finetuned}, NAMES, most=2)
    assert found == [
        # The baseline found no query of this class.
        HardClass("pot", 6, {"map": (None, 0.7), "recall_at_1": (None, 0.0)}),
        HardClass("jug", 5, {"map": (0.2, 0.8), "recall_at_1": (0.5, 0.5)}),
    ]


def test_results_without_map_have_no_hardest_class() -> None:
    both = {"baseline": results(), "finetuned": results()}
    assert hardest_classes(both, NAMES) == []
