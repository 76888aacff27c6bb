"""Reads what earlier stages wrote; what is missing or damaged is told in one line."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from pipeline.errors import UserError


def read_json(path: Path, keys: Sequence[str] = ()) -> dict[str, Any]:
    """A stage's metrics.

    Raises:
        UserError: the file is missing, is no JSON, or lacks one of `keys`.
    """
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror}); has its stage run?") from None
    except ValueError as error:
        raise UserError(f"{path}: is no JSON ({error}); run its stage again") from None
    missing = [key for key in keys if not isinstance(content, dict) or key not in content]
    if missing or not isinstance(content, dict):
        raise UserError(f"{path}: lacks {', '.join(missing) or 'every key'}; run its stage again")
    return content


def read_csv(path: Path, columns: Sequence[str], text: Sequence[str] = ()) -> pd.DataFrame:
    """A stage's table; the columns named in `text` stay text even where they look like numbers or like nothing.

    Raises:
        UserError: the file is missing, is no table, or lacks one of `columns`.
    """
    try:
        table = pd.read_csv(path, dtype=dict.fromkeys(text, str), keep_default_na=False)
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror}); has its stage run?") from None
    except ValueError as error:
        raise UserError(f"{path}: is no table ({error}); run its stage again") from None
    missing = [column for column in columns if column not in table]
    if missing:
        raise UserError(f"{path}: lacks the column {', '.join(missing)}; run its stage again")
    return table
