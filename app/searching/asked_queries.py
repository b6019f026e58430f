"""What a person asks for: photos one by one, or photos and texts as one query."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from PIL import Image

from app.searching.query_parts import Query, QueryParts
from app.searching.untrusted_images import find_photos
from pipeline.errors import UserError, escape_unprintable

Read = Callable[[Path], Image.Image]


@dataclass(frozen=True)
class AskedQuery:
    """One query. photos, texts: what results are to be like; the others: what not."""

    photos: tuple[Path, ...]
    texts: tuple[str, ...] = ()
    other_photos: tuple[Path, ...] = ()
    other_texts: tuple[str, ...] = ()

    @property
    def name(self) -> str:
        """All parts, as in: photos/mug.jpg + "red" − photos/bowl.jpg."""
        return self._name(str)

    @property
    def short_name(self) -> str:
        """As `name`, with the names of files alone."""
        return self._name(lambda path: path.name)

    @property
    def has_texts(self) -> bool:
        """Whether a model has to understand text."""
        return bool(self.texts or self.other_texts)

    def read(self, read: Read) -> Query:
        """Return the query, its photos read by `read`."""
        return Query(
            QueryParts([read(path) for path in self.photos], texts=self.texts),
            QueryParts([read(path) for path in self.other_photos], texts=self.other_texts),
        )

    def _name(self, of: Callable[[Path], str]) -> str:
        wanted = [*map(of, self.photos), *(f'"{text}"' for text in self.texts)]
        others = [*map(of, self.other_photos), *(f'"{text}"' for text in self.other_texts)]
        return escape_unprintable(" + ".join(wanted) + "".join(f" − {each}" for each in others))


def list_asked(
    photos: Sequence[Path],
    *,
    texts: Sequence[str] = (),
    other_photos: Sequence[Path] = (),
    other_texts: Sequence[str] = (),
    together: bool = False,
) -> list[AskedQuery]:
    """Return the queries: one for each photo, or one of all parts.

    photos, other_photos: files, and folders of them. together: that all photos are one query, as
    they are where there is anything else.

    Raises:
        UserError: a file is missing, a text is empty, nothing is looked for, or what is looked for
            is not to be found.
    """
    if not all(text.strip() for text in (*texts, *other_texts)):
        raise UserError("a text: found none; allowed: words, such as --text 'red mug'")
    if not photos and not texts:
        raise UserError("nothing is looked for; allowed: images, folders of them, or --text WORDS")
    found = tuple(find_photos(photos))
    if not (together or texts or other_photos or other_texts):
        return [AskedQuery((photo,)) for photo in found]
    others = tuple(find_photos(other_photos))
    if both := [*map(str, {*found} & {*others}), *({*texts} & {*other_texts})]:
        raise UserError(f"{min(both)}: is wanted and unwanted; allowed: one of both")
    return [AskedQuery(found, tuple(texts), others, tuple(other_texts))]
