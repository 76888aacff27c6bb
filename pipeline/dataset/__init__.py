"""The data set: folders of Parquet shards with one schema that pandas, DuckDB and Hugging Face open unasked."""

from pipeline.dataset.cache import PixelStore
from pipeline.dataset.columns import Codes, Records, read_codes, read_rows
from pipeline.dataset.groups import group_names, group_numbers
from pipeline.dataset.reader import Dataset
from pipeline.dataset.schema import Row, make_row
from pipeline.dataset.stream import shuffled
from pipeline.dataset.writer import ShardWriter

__all__ = [
    "Codes",
    "Dataset",
    "PixelStore",
    "Records",
    "Row",
    "ShardWriter",
    "group_names",
    "group_numbers",
    "make_row",
    "read_codes",
    "read_rows",
    "shuffled",
]
