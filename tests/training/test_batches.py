from pathlib import Path
from threading import Event

import numpy as np
import pytest
import torch

from pipeline.dataset import Dataset, PixelStore
from pipeline.errors import UserError
from pipeline.training.batches import (
    Batch,
    class_balanced_probs,
    concatenate,
    epoch_rows,
    gather,
    in_order,
    to_float,
    to_uint8,
    weighted_rows,
)
from tests.tiny import bars, batch_of, write, write_bars


@pytest.mark.parametrize(("num_rows", "batch_size"), [(10, 4), (10, 10), (3, 8), (1, 2), (7, 1)])
def test_every_row_comes_once_an_epoch(num_rows: int, batch_size: int) -> None:
    steps = 3 * num_rows  # `batch_size` * 3 epochs
    rows = np.concatenate([epoch_rows(num_rows, batch_size, 0, step) for step in range(steps)])
    for epoch in rows.reshape(-1, num_rows):
        assert sorted(epoch) == list(range(num_rows))


def test_epochs_differ_and_a_batch_depends_on_seed_and_step_alone() -> None:
    first, second = epoch_rows(50, 50, 0, 0), epoch_rows(50, 50, 0, 1)
    assert (first != second).any()
    assert (epoch_rows(50, 50, 1, 0) != first).any()
    backwards = [epoch_rows(50, 8, 0, step) for step in (9, 3, 0)][::-1]
    for rows, step in zip(backwards, (0, 3, 9), strict=True):
        np.testing.assert_array_equal(rows, epoch_rows(50, 8, 0, step))


def test_class_balanced_probabilities_by_hand() -> None:
    labels = np.array([0, 0, 0, 0, 1])
    # power 1: each class 1/2; power 0: each row 1/5; power 1/2: classes as sqrt(4) : sqrt(1) = 2/3 : 1/3
    np.testing.assert_allclose(class_balanced_probs(labels, 1.0), [1 / 8] * 4 + [1 / 2])
    np.testing.assert_allclose(class_balanced_probs(labels, 0.0), [1 / 5] * 5)
    np.testing.assert_allclose(class_balanced_probs(labels, 0.5), [1 / 6] * 4 + [1 / 3])


def test_weighted_rows_follow_their_probabilities_and_depend_on_seed_and_step_alone() -> None:
    probs = np.array([0.0, 0.7, 0.0, 0.3, 0.0])
    cumulative = probs.cumsum()
    rows = weighted_rows(cumulative, 10_000, 0, 0)
    shares = np.bincount(rows, minlength=5) / 10_000
    assert shares == pytest.approx(probs, abs=0.02)
    assert not shares[probs == 0].any()
    np.testing.assert_array_equal(rows, weighted_rows(cumulative, 10_000, 0, 0))
    assert (rows != weighted_rows(cumulative, 10_000, 0, 1)).any()
    assert (rows != weighted_rows(cumulative, 10_000, 1, 0)).any()


def test_pixels_survive_the_way_to_floats_and_back() -> None:
    images = np.arange(256, dtype=np.uint8).reshape(1, 1, 16, 16)
    floats = to_float(images)
    assert (floats.min().item(), floats.max().item()) == (-1.0, 1.0)
    assert floats.flatten()[51].item() == pytest.approx(51 / 127.5 - 1)
    np.testing.assert_array_equal(to_uint8(floats), images)
    np.testing.assert_array_equal(to_uint8(torch.tensor([[[[-3.0, 0.0, 3.0]]]])), [[[[0, 128, 255]]]])


def test_a_batch_has_its_rows_pixels_labels_and_weights(tmp_path: Path) -> None:
    labels = [2, 0, 1]
    images = bars(labels, (3, 8, 8))
    folder = write(tmp_path / "data", images, labels, weight=0.5)
    batch = gather(PixelStore(Dataset.open(folder)), np.array([2, 0, 0]))
    np.testing.assert_array_equal(to_uint8(batch.images), images[[2, 0, 0]])
    assert batch.labels.tolist() == [1, 2, 2]
    assert batch.weights.tolist() == [0.5, 0.5, 0.5]
    assert batch.domains.tolist() == [0, 0, 0]


def test_batches_are_joined_in_order() -> None:
    one, two = (Batch(*(torch.full((n, 1, 1, 1) if i == 0 else (n,), n) for i in range(5))) for n in (1, 2))
    assert [part.flatten().tolist() for part in concatenate(one, two)[:5]] == [[1, 2, 2]] * 5
    assert concatenate(one, two).attributes is None
    told = [batch._replace(attributes=batch.labels + 3) for batch in (one, two)]
    attributes = concatenate(*told).attributes
    assert attributes is not None
    assert attributes.tolist() == [4, 5, 5]


def test_a_part_of_a_batch_has_the_values_of_its_own_images(tmp_path: Path) -> None:
    store = PixelStore(Dataset.open(write_bars(tmp_path / "data", [2, 2, 2])))
    batch = gather(store, np.array([5, 0, 3, 2]), attributes=torch.arange(10, 16))
    assert batch.attributes is not None
    assert batch.attributes.tolist() == [15, 10, 13, 12]
    part = batch.part(1, 2, torch.device("cpu"))
    assert part.attributes is not None
    assert (part.labels.tolist(), part.attributes.tolist()) == ([0, 1], [10, 12])


@pytest.mark.parametrize("ahead", [False, True])
@pytest.mark.parametrize("steps", [range(0), range(3, 4), range(2, 9)], ids=str)
def test_batches_come_in_order_whoever_makes_them(ahead: bool, steps: range) -> None:
    made = list(in_order(numbered, steps, ahead))
    assert [int(batch.labels[0]) for batch in made] == list(steps)


def test_the_next_batch_is_made_while_this_one_is_used_and_no_more() -> None:
    begun = {step: Event() for step in range(4)}

    def batch_at(step: int) -> Batch:
        begun[step].set()
        return numbered(step)

    coming = in_order(batch_at, range(4), ahead=True)
    next(coming)
    assert begun[1].wait(timeout=10)
    assert not begun[2].is_set()
    coming.close()  # type: ignore[attr-defined]
    assert not begun[2].is_set()


@pytest.mark.parametrize("ahead", [False, True])
def test_a_batch_that_cannot_be_made_is_told_where_it_is_wanted(ahead: bool) -> None:
    def batch_at(step: int) -> Batch:
        if step == 2:
            raise UserError("no such image")
        return numbered(step)

    coming = in_order(batch_at, range(4), ahead)
    assert [int(next(coming).labels[0]) for _ in range(2)] == [0, 1]
    with pytest.raises(UserError, match="no such image"):
        next(coming)


def numbered(step: int) -> Batch:
    return batch_of(np.zeros((1, 1, 2, 2), np.uint8), np.array([step]))
