"""Reading the small JSON files of the pipeline, checked."""

from pathlib import Path
from typing import TypeVar

from pydantic import TypeAdapter, ValidationError

from pipeline.errors import UserError

T = TypeVar("T")


def read_json(path: Path, kind: type[T], *, what: str) -> T:
    """Return the JSON file at `path` as a `kind`: a dataclass, whose types are checked, or a dict.

    what: "a model's description", for messages.

    Raises:
        UserError: it is missing, or its content is not of that kind.
    """
    try:
        return TypeAdapter(kind).validate_json(path.read_bytes(), strict=True)
    except FileNotFoundError:
        raise UserError(f"{path}: no such file; run: dvc repro") from None
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        key = ".".join(map(str, first["loc"]))  # empty where the whole is no JSON
        fault = f"{key}: {first['msg']}" if key else first["msg"]
        raise UserError(
            f"{path}: not {what} ({fault}); run: dvc checkout, or if that does not help: dvc repro"
        ) from None
