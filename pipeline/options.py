"""A choice of params.yaml: a name, and one block of options for each name."""

from collections.abc import Mapping
from typing import Annotated, Any, Final, Generic, Literal, TypeVar

from annotated_types import Ge, Gt, Le, Lt, MinLen
from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Discriminator,
    Tag,
    create_model,
    field_validator,
)
from pydantic.fields import FieldInfo
from pydantic_core import PydanticCustomError

from pipeline.errors import name_choices

# Upper bounds are far above what anybody means: a slip of the keyboard is told by its name, not by
# the memory that runs out.
MOST = 10**9
Count = Annotated[int, Ge(1), Le(MOST)]
Amount = Annotated[int, Ge(0), Le(MOST)]
Width = Annotated[int, Ge(1), Le(2**16)]  # numbers of a vector
Side = Annotated[int, Ge(8), Le(2**13)]  # pixels
Processes = Annotated[int, Ge(0), Le(2**10)]
Positive = Annotated[float, Gt(0)]
NonNegative = Annotated[float, Ge(0)]
Share = Annotated[float, Ge(0), Le(1)]
Factor = Annotated[float, Gt(0), Le(1)]


def _distinct(values: list[int]) -> list[int]:
    repeated = [value for value in values if values.count(value) > 1]
    if repeated:
        text = f"found {repeated[0]} more than once; allowed: different numbers"
        raise PydanticCustomError("message", "{text}", {"text": text})
    return values


Lengths = Annotated[list[Count], AfterValidator(_distinct)]
Counts = Annotated[Lengths, MinLen(1)]

# A value, or `auto`: one that fits the data, which the stage that uses it chooses. The tags keep
# pydantic from reporting a wrong value twice.
AUTO: Final = "auto"
VALUE = "value"
_Auto = Annotated[Literal["auto"], Tag(AUTO)]
_by_tag = Discriminator(lambda value: AUTO if value == AUTO else VALUE)
AutoCount = Annotated[Annotated[Count, Tag(VALUE)] | _Auto, _by_tag]
AutoBuckets = Annotated[Annotated[int, Ge(1), Le(2**14), Tag(VALUE)] | _Auto, _by_tag]
AutoSide = Annotated[Annotated[Side, Tag(VALUE)] | _Auto, _by_tag]
AutoPositive = Annotated[Annotated[float, Gt(0), Tag(VALUE)] | _Auto, _by_tag]
AutoFraction = Annotated[Annotated[float, Gt(0), Lt(1), Tag(VALUE)] | _Auto, _by_tag]


class Section(BaseModel):
    """A mapping of params.yaml: unknown and missing keys are errors, no value is converted.

    The options of a name are a subclass beside the code that uses them. It has no defaults: the
    values are in params.yaml.
    """

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True, allow_inf_nan=False)

    def auto_keys(self) -> list[str]:
        """Return the keys whose value is `auto`."""
        return [key for key in type(self).model_fields if getattr(self, key) == AUTO]


Block = TypeVar("Block")


class Choice(Section, Generic[Block]):
    """A section with a `name` and one block of options for each name. Block: their types."""

    name: str

    @field_validator("name")
    @classmethod
    def _has_a_block(cls, name: str) -> str:
        blocks = {key for key, field in cls.model_fields.items() if _is_block(field)}
        if name not in blocks:
            text = name_choices(name, blocks)
            raise PydanticCustomError("message", "{text}", {"text": text})
        return name

    @property
    def options(self) -> Block:
        """The block of the chosen name."""
        block: Block = getattr(self, self.name)
        return block


def choice(base: type[Choice[Any]], blocks: Mapping[str, type[Section]]) -> type[Choice[Any]]:
    """Return `base` with one block for each name of `blocks`, as the model of a section."""
    fields: dict[str, Any] = {name: (options, ...) for name, options in blocks.items()}
    return create_model(base.__name__, __base__=base, **fields)


def _is_block(field: FieldInfo) -> bool:
    return isinstance(field.annotation, type) and issubclass(field.annotation, Section)
