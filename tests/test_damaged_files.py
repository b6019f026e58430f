"""Any bytes in any file that is read: one line that names it, or what it was, and never a crash."""

import pytest

from tests.helpers.fuzzing.readers import READERS
from tests.helpers.fuzzing.run import find_fault_in_text, fuzz

EACH = 170  # cases of the long run: more than 10,000 in all


@pytest.mark.slow
def test_readers_withstand_damage() -> None:
    found = fuzz([*READERS], cases=3)
    assert found.faults == [], found.describe()
    assert found.outcomes.total() > 3 * len(READERS) * 0.9


@pytest.mark.long
def test_readers_withstand_much_damage() -> None:
    found = fuzz([*READERS], cases=EACH, first=3)
    print(found.describe())
    assert found.faults == [], found.describe()
    assert found.outcomes.total() > 10_000


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("a.csv: found nothing; allowed: a table", ""),
        ("a.csv: found nothing\nrun it again", "no file is named: 'run it again'"),
        ("a.csv: found '\x1b[2J'", "not to be printed: \"a.csv: found '\\x1b[2J'\""),
    ],
)
def test_an_error_is_one_line_of_a_file(text: str, fault: str) -> None:
    assert find_fault_in_text(text, ["a.csv"]) == fault


@pytest.mark.slow
def test_a_crash_of_scipy_is_one_line() -> None:
    found = fuzz(["dataset cars196"], first=32, cases=1)  # it ends with SIGSEGV
    assert found.outcomes == {("dataset cars196", "refused"): 1}
    assert found.faults == []
