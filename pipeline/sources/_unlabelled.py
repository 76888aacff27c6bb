"""Images that nobody has sorted yet: a file, all images below a folder, or those in an archive."""

import zipfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from pipeline.errors import UserError
from pipeline.images import SUFFIXES
from pipeline.sources import _tar, archive
from pipeline.sources._named import Folder, read_file
from pipeline.sources.imagefolder import file_names, is_image

Read = Callable[[str], bytes]


@contextmanager
def opened(given: str) -> Iterator[tuple[Sequence[str], Read]]:
    """Yields the names of the images, in the order in which they are best read, and what reads one of them.

    A file that is named is an image whatever its ending; below a folder the ending counts.

    Raises:
        UserError: there is nothing of that name, no image in it, or a folder or an archive that can't be read.
    """
    path = Path(given)
    if path.is_dir():
        names = sorted(filter(is_image, file_names(path)))
        yield _refuse_none(given, names), Folder(path).read
    elif not path.exists():
        raise UserError(f"{given}: does not exist")
    elif path.is_file() and not is_image(path.name) and (zipfile.is_zipfile(path) or _tar.is_tar(path)):
        with archive.opened(path) as (inside, read):
            yield _refuse_none(given, inside), read
    else:
        yield [""], lambda _: read_file(path)


def _refuse_none(given: str, names: Sequence[str]) -> Sequence[str]:
    if not names:
        raise UserError(f"{given}: holds no image; expected files that end in {', '.join(sorted(SUFFIXES))}")
    return names
