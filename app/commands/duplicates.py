"""`lookalike duplicates`: groups of the same images, printed, drawn and kept as a table."""

import logging
from collections.abc import Sequence
from pathlib import Path

import pyarrow as pa

from app.output_folder import OutputFolder
from app.overrides_file import append_overrides
from app.searching.catalog import Catalog, require_files
from pipeline.data.tables import CATALOG, DUPLICATES, HEALTH, SPLITS, read_table
from pipeline.errors import escape_unprintable
from pipeline.figures.duplicate_sheets import ON_A_SHEET, draw_first_groups
from pipeline.health.findings import DuplicateGroup, list_groups
from pipeline.packing.overrides import DROP

PRINTED = 20  # groups
MOST_SHEETS = 10

logger = logging.getLogger(__name__)


def list_duplicates(root: Path, *, out: Path) -> list[DuplicateGroup]:
    """Print the groups of exact and near duplicates; write sheets and duplicates.parquet to `out`.

    Groups across classes come first, then those across train, val and test. Return all of them.

    Raises:
        UserError: the project at `root` lacks a table, or `out` holds a file that no earlier run
            of the command wrote.
    """
    paths = [root / f"data/{kind.name}.parquet" for kind in (HEALTH, CATALOG, SPLITS)]
    require_files(root, paths)
    folder = OutputFolder(out, kind=DUPLICATES, what="duplicates", sheets=["sheet*.png"], root=root)
    health, table, splits = (
        read_table(path, kind) for path, kind in zip(paths, (HEALTH, CATALOG, SPLITS), strict=True)
    )
    catalog, groups = Catalog(root), list_groups(health, table, splits)
    split_of = dict(zip(splits["image_id"].to_pylist(), splits["split"].to_pylist(), strict=True))
    class_of = {
        image_id: ", ".join(catalog.classes_of(image_id))
        for group in groups
        for image_id in group.image_ids
    }
    print(_format(groups, class_of, split_of))
    with folder.writing() as results:
        results.add_table(_table(groups, catalog, split_of))
        for start in range(0, min(len(groups), MOST_SHEETS * ON_A_SHEET), ON_A_SHEET):
            read_image = catalog.images.decode
            results.add_sheet(
                draw_first_groups(
                    groups, read_image, class_of=class_of, splits=splits, first=start + 1
                )
            )
    logger.info("wrote %s", ", ".join(str(path) for path in results.written))
    return groups


def propose_drops(groups: Sequence[DuplicateGroup], path: Path) -> int:
    """Add to the table at `path` a drop of each exact duplicate across classes; return how many.

    All images of such a group: which of the classes is right, the pixels do not tell. Images that
    the table names are left as they are.
    """
    wrong = {
        image_id
        for group in groups
        if group.kind == "exact" and group.across_classes
        for image_id in group.image_ids
    }
    return len(append_overrides(path, [(each, DROP, "") for each in sorted(wrong)]))


def _format(
    groups: Sequence[DuplicateGroup], class_of: dict[str, str], split_of: dict[str, str]
) -> str:
    """Return the first groups, a line for each image, and how many of each kind there are."""
    lines = []
    for group in groups[:PRINTED]:
        across = [name for name in ("classes", "splits") if getattr(group, f"across_{name}")]
        lines.append(group.kind + (f", across {' and '.join(across)}" if across else ""))
        lines += [
            f"  {split_of[each]:6}  {class_of[each]}  {escape_unprintable(each)}"
            for each in group.image_ids
        ]
    if len(groups) > PRINTED:
        lines.append(f"… and {len(groups) - PRINTED:,} groups more")
    counts = {kind: sum(group.kind == kind for group in groups) for kind in ("exact", "near")}
    total = ", ".join(f"{count:,} of {kind} duplicates" for kind, count in counts.items())
    return "\n".join([*lines, f"groups: {total}"])


def _table(
    groups: Sequence[DuplicateGroup], catalog: Catalog, split_of: dict[str, str]
) -> pa.Table:
    rows = [
        {
            "kind": group.kind,
            "group": number,
            "image_id": image_id,
            "classes": catalog.classes_of(image_id),
            "split": split_of[image_id],
            "across_classes": group.across_classes,
            "across_splits": group.across_splits,
        }
        for number, group in enumerate(groups, start=1)
        for image_id in group.image_ids
    ]
    return pa.Table.from_pylist(rows, schema=pa.schema(DUPLICATES.columns))
