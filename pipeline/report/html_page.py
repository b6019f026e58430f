"""The report as one HTML file, with its style, script, plotly and all images inside."""

import json
from base64 import b64encode
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pipeline.config.dotted_keys import show_value
from pipeline.data.files import written_whole
from pipeline.report.contents import Contents
from pipeline.report.metric_meanings import meanings_of
from pipeline.report.metric_rows import format_difference, format_value
from pipeline.report.shown_params import main_params, unrepeatable_params

TEMPLATE = Path(__file__).parent / "template"
# The metrics at the top of the page, if they were measured.
HEADLINES = ("recall_at_1", "precision_at_5", "map", "map_at_r", "knn_accuracy")


def write_report(contents: Contents, path: Path) -> None:
    """Write the page of `contents`; equal contents are equal bytes."""
    with written_whole(path) as (unfinished,):
        unfinished.write_text(render_page(contents), encoding="utf-8")


def render_page(contents: Contents) -> str:
    """Return the page as HTML; it escapes all text from the dataset and loads nothing."""
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    environment = Environment(
        loader=FileSystemLoader(TEMPLATE),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {
        "value": format_value,
        "difference": format_difference,
        "param": show_value,
        "data_uri": data_uri,
    }
    rows = {row.name: row for row in contents.estimates}
    return environment.get_template("report.html").render(
        contents=contents,
        headlines=[rows[name] for name in HEADLINES if name in rows],
        meanings=meanings_of(rows),
        main_params=main_params(contents.params),
        unrepeatable=unrepeatable_params(contents.params),
        style=(TEMPLATE / "report.css").read_text(encoding="utf-8"),
        script=(TEMPLATE / "report.js").read_text(encoding="utf-8"),
        plotly=_plotly(),
        data=as_script(_script_data(contents)),
    )


def as_script(values: Mapping[str, Any]) -> str:
    """Return JSON that is safe inside a <script> element, whatever text it holds.

    >>> as_script({"name": "</script>"})
    '{"name":"\\\\u003c/script\\\\u003e"}'
    """
    text = json.dumps(values, ensure_ascii=False, separators=(",", ":"), allow_nan=False)
    for sign in "<>&\u2028\u2029":
        text = text.replace(sign, f"\\u{ord(sign):04x}")
    return text


def data_uri(encoded: bytes, kind: str) -> str:
    """Return an image of `kind` (jpeg, webp) as a data URI.

    >>> data_uri(b"abc", "webp")
    'data:image/webp;base64,YWJj'
    """
    return f"data:image/{kind};base64,{b64encode(encoded).decode('ascii')}"


def _script_data(contents: Contents) -> dict[str, Any]:
    """Return what the page's script draws."""
    graphs = [*contents.graphs, *([contents.class_sizes] if contents.class_sizes else [])]
    return {
        "graphs": {
            graph.name: {
                "views": [{"name": view.name, "traces": view.traces} for view in graph.views],
                "layout": graph.layout,
            }
            for graph in graphs
        },
        "points": contents.points,
        "atlas": {"columns": contents.atlas.columns},
    }


def _plotly() -> str:
    from plotly.offline import get_plotlyjs

    source: str = get_plotlyjs()
    return source.replace("</script", "<\\/script")
