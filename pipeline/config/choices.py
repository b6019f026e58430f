"""A choice of params.yaml: a name, and for each name the options that its block holds."""

from typing import Annotated, Any

from annotated_types import Ge, Gt, Le
from pydantic import BaseModel, ConfigDict, create_model, model_validator
from pydantic.fields import FieldInfo
from pydantic_core import PydanticCustomError

from pipeline.errors import name_choices

Count = Annotated[int, Ge(1)]
Amount = Annotated[int, Ge(0)]
Positive = Annotated[float, Gt(0)]
NonNegative = Annotated[float, Ge(0)]
Share = Annotated[float, Ge(0), Le(1)]

# The options of each name: option -> type. The value of each stands in params.yaml, never here.
Options = dict[str, Any]


class Section(BaseModel):
    """A mapping of params.yaml: no unknown key, no missing one, no value converted on the quiet."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True, allow_inf_nan=False)


class Choice(Section):
    """A section with a `name` and one block of options for each name."""

    name: str

    @model_validator(mode="after")
    def _name_has_a_block(self) -> "Choice":
        blocks = {key for key, field in type(self).model_fields.items() if _is_block(field)}
        if self.name not in blocks:
            text = name_choices(self.name, blocks)
            raise PydanticCustomError("choice", "{text}", {"text": text})
        return self

    @property
    def options(self) -> dict[str, Any]:
        """The block of the chosen name, as plain values."""
        block: Section = getattr(self, self.name)
        return block.model_dump()


def choice(base: type[Choice], blocks: dict[str, Options]) -> type[Choice]:
    """Return `base` with one block for each name of `blocks`, as the model of a section."""
    fields: dict[str, Any] = {}
    for name, options in blocks.items():
        keys: dict[str, Any] = {key: (kind, ...) for key, kind in options.items()}
        fields[name] = (create_model(name, __base__=Section, **keys), ...)
    return create_model(base.__name__, __base__=base, **fields)


def _is_block(field: FieldInfo) -> bool:
    return isinstance(field.annotation, type) and issubclass(field.annotation, Section)
