"""No trace of a test image in anything that trains, draws, chooses or is trained on, through all stages' outputs."""

import json
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from pipeline.dataset import Dataset
from pipeline.isolation import ids_digest, refuse_seen
from plugins.dvc_graph import read_graph
from tests.e2e.conftest import Project
from tests.tiny import ROOT

pytestmark = pytest.mark.e2e
GRAPH = read_graph(ROOT)
MAY_SEE = {"ingest", "analyze_bias", "evaluate", "report"}  # what makes the split, what counts it, what judges by it
DATA = ("real/train", "real/val", "augmented", "synthetic", "source_domain")
KEYS = ("id", "pixel_hash", "parent_id")


def test_no_output_of_a_stage_that_learns_names_a_test_image(finished: Project) -> None:
    test = Dataset.open(finished.root / "data/real/test").frame(["id", "pixel_hash"])
    traces = {*test["id"], *test["pixel_hash"]}
    assert len(traces) == 2 * len(test)
    files = [file for name in GRAPH if name not in MAY_SEE for file in files_of(finished.root, GRAPH[name].outs)]
    tables, texts = 0, 0
    for file in files:
        if file.suffix == ".parquet":
            columns = [name for name in KEYS if name in pq.read_schema(file).names]
            tables += bool(columns)
            for column in pq.read_table(file, columns=columns).columns:
                assert traces.isdisjoint(column.to_pylist()), file
        elif file.suffix in (".json", ".csv", ".yaml"):
            texts += 1
            content = file.read_text(encoding="utf-8")
            assert not any(trace in content for trace in traces), file
    assert tables >= 3  # augmented, synthetic and source images at least
    assert texts >= 10


def test_training_and_validation_images_are_no_test_images_either(finished: Project) -> None:
    data = finished.root / "data"
    refuse_seen(Dataset.open(data / "real/test"), [Dataset.open(data / name) for name in DATA])


def test_what_was_made_was_made_of_training_images(finished: Project) -> None:
    data = finished.root / "data"
    train = set(Dataset.open(data / "real/train").frame(["id"])["id"])
    assert set(Dataset.open(data / "augmented").frame(["parent_id"])["parent_id"]) <= train
    assert Dataset.open(data / "synthetic").frame(["parent_id"])["parent_id"].isna().all()


def test_the_verdict_names_the_splits_that_it_is_about(finished: Project) -> None:
    metrics = json.loads((finished.root / "results/evaluate/metrics.json").read_text(encoding="utf-8"))
    for split, entry in metrics["splits"].items():
        dataset = Dataset.open(finished.root / "data/real" / split)
        assert entry == {"images": dataset.num_rows, "ids": f"sha256:{ids_digest(dataset)}"}


def files_of(root: Path, outs: tuple[str, ...]) -> list[Path]:
    """All files of some outs."""
    paths = [root / out for out in outs]
    return [file for path in paths for file in (sorted(path.rglob("*")) if path.is_dir() else [path]) if file.is_file()]
