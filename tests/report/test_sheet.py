"""Which images are shown, and which real one is nearest: known answers and brute force."""

from pathlib import Path

import numpy as np
import pytest

from pipeline.dataset import Dataset, ShardWriter, make_row
from pipeline.images import Pixels, decode_png, encode_png
from pipeline.report import sheet


def write(folder: Path, images: list[tuple[int, Pixels]], classes: int = 3) -> Dataset:
    with ShardWriter(folder, tuple("abc"[:classes]), shard_bytes=2000) as writer:
        for number, (label, pixels) in enumerate(images):
            writer.add(make_row(pixels, label, path=f"{number}.png", origin="real"))
    return Dataset.open(folder)


def flat(value: int, side: int = 4) -> Pixels:
    return np.full((side, side), value, dtype=np.uint8)


def test_nearest_by_hand(tmp_path: Path) -> None:
    train = write(tmp_path, [(0, flat(10)), (1, flat(100)), (2, flat(200)), (2, flat(100))])
    copy, near = sheet.nearest_real([flat(100), flat(197)], train)
    assert (copy.distance, copy.label) == (0.0, 1)  # of equally near ones the first
    assert (near.distance, near.label) == (3.0, 2)
    assert (decode_png(near.image) == 200).all()
    assert sheet.nearest_real([], train) == []


@pytest.mark.parametrize("shape", [(5, 5), (5, 5, 3)])
def test_nearest_against_brute_force(tmp_path: Path, shape: tuple[int, ...]) -> None:
    rng = np.random.default_rng(1)
    real = [rng.integers(0, 256, shape, dtype=np.uint8) for _ in range(700)]
    queries = [rng.integers(0, 256, shape, dtype=np.uint8) for _ in range(9)]
    train = write(tmp_path, [(number % 3, pixels) for number, pixels in enumerate(real)])
    assert len(train.shards) > 1
    for query, found in zip(queries, sheet.nearest_real(queries, train), strict=True):
        distances = [np.sqrt(np.mean((query.astype(float) - image) ** 2)) for image in real]
        best = int(np.argmin(distances))
        assert (decode_png(found.image) == real[best]).all()
        assert (found.label, found.distance) == (best % 3, pytest.approx(distances[best]))


def test_large_images_are_compared_and_shown_shrunk(tmp_path: Path) -> None:
    train = write(tmp_path, [(0, flat(10, 200)), (1, flat(90, 200))])
    [found] = sheet.nearest_real([flat(88, 200)], train)
    assert (found.label, found.distance) == (1, 2.0)
    assert len(sheet.data_uri(encode_png(np.zeros((200, 100), np.uint8)))) < 300


def test_first_images_stop_where_all_are_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    images = [(0, flat(1)), (1, flat(2)), (0, flat(3)), (0, flat(4))] + [(1, flat(9))] * 1200
    train = write(tmp_path, images)
    read, whole = [], sheet._batches
    monkeypatch.setattr(sheet, "_batches", lambda data: (read.append(1) or batch for batch in whole(data)))
    found = sheet.first_images(train, 2, [0, 1, 2])
    assert {label: [int(decode_png(i)[0, 0]) for i in pngs] for label, pngs in found.items()} == {
        0: [1, 3],
        1: [2, 9],
        2: [],
    }
    assert len(read) == 1
