"""Names of classes, as people read them."""

from collections import Counter
from collections.abc import Mapping


def display_names(class_names: Mapping[int, str]) -> dict[int, str]:
    """Return label -> name, with the label added where two classes share a name."""
    count = Counter(class_names.values())
    return {
        label: name if count[name] == 1 else f"{name} ({label})"
        for label, name in class_names.items()
    }
