import io
import itertools
import tracemalloc
import zipfile

import cv2
import imagehash
import numpy as np
import pytest
from PIL import Image

from pipeline import near_duplicates
from pipeline.images import Pixels
from pipeline.near_duplicates import components, correlation, first_equal, near_pairs, perceptual_hash, thumbnail
from tests.decoding.test_fast import encoded, photo
from tests.tiny import DATA

ARCHIVE = DATA / "cifar10-lt100.zip"


def distance(one: Pixels, other: Pixels) -> int:
    first, second = (perceptual_hash(thumbnail(pixels)) for pixels in (one, other))
    assert first is not None
    assert second is not None
    return (first ^ second).bit_count()


@pytest.mark.parametrize("part", [2**15, 16])
def test_pairs_are_those_that_comparing_all_with_all_finds(part: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(near_duplicates, "PART", part)
    rng = np.random.default_rng(0)
    hashes = rng.integers(0, 2**64, 300, dtype=np.uint64)
    hashes[100:200] = hashes[:100] ^ (np.uint64(1) << rng.integers(0, 64, 100, dtype=np.uint64))
    hashes[200:250] = hashes[:50] ^ np.uint64(0x8000_0001_0001_0000)
    for most in (0, 1, 2, 4, 6):
        expected = {
            (a, b) for a, b in itertools.combinations(range(300), 2) if int(hashes[a] ^ hashes[b]).bit_count() <= most
        }
        assert {tuple(pair) for pair in near_pairs(hashes, most).tolist()} == expected
        new = {(a, b) for a, b in expected if b >= 150}
        assert {tuple(pair) for pair in near_pairs(hashes, most, new_from=150).tolist()} == new
        usable = rng.random(300) < 0.5
        some = {(a, b) for a, b in new if usable[a] and usable[b]}
        assert {tuple(pair) for pair in near_pairs(hashes, most, 150, usable).tolist()} == some


@pytest.mark.parametrize("part", [2**15, 3])
def test_equal_keys_are_told_with_the_first(part: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(near_duplicates, "PART", part)
    keys = np.array([7, 2**63, 7, 1, 2**63 + 1, 7, 1, 2**63], np.uint64)
    for new_from, expected in ((0, [(2, 0), (5, 0), (6, 3), (7, 1)]), (6, [(6, 3), (7, 1)]), (8, [])):
        rows, firsts = first_equal(keys, new_from)
        assert list(zip(rows.tolist(), firsts.tolist(), strict=True)) == expected
    assert [len(found) for found in first_equal(np.empty(0, np.uint64))] == [0, 0]


def test_components_by_hand() -> None:
    numbers, component = components(np.array([[9, 2], [5, 7], [2, 4], [4, 9]]))
    assert numbers.tolist() == [2, 4, 5, 7, 9]
    assert component.tolist() == [0, 0, 1, 1, 0]


def test_what_two_million_comparisons_need_in_memory_is_a_fraction_of_their_pairs() -> None:
    hashes = np.random.default_rng(0).integers(0, 2**64, 40_000, dtype=np.uint64)
    hashes &= ~np.uint64(0x1FC0)  # of the second band six bits are left: 625 images share each of its values
    tracemalloc.start()
    try:
        near_pairs(hashes, 4)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 8 * 2**20  # the band has 64 * 625 * 624 / 2 pairs, of 16 bytes each


def test_a_thousand_equal_hashes_are_a_chain() -> None:
    pairs = near_pairs(np.full(1000, 7, np.uint64), 4)
    assert pairs.tolist() == [[i, i + 1] for i in range(999)]
    assert near_pairs(np.empty(0, np.uint64), 4).shape == (0, 2)


def test_a_pair_of_groups_with_a_new_member_is_told() -> None:
    hashes = np.array([0, 1, 0], np.uint64)  # 0 and 1 are old and alike; the third equals the first
    found = {tuple(pair) for pair in near_pairs(hashes, 1, new_from=2).tolist()}
    assert (0, 2) in found


def test_it_agrees_with_the_reference_about_what_is_alike() -> None:
    for seed in range(20):
        picture = photo(seed, 96, 96)
        again = np.asarray(Image.open(io.BytesIO(encoded(picture, "JPEG", quality=60))))
        reference = imagehash.phash(Image.fromarray(picture)) - imagehash.phash(Image.fromarray(again))
        assert abs(distance(picture, again) - reference) <= 4


@pytest.mark.parametrize("change", ["jpeg", "half", "brighter"])
def test_a_look_alike_is_near_and_another_picture_is_far(change: str) -> None:
    near, far = [], []
    for seed in range(30):
        picture = photo(seed, 96, 96)
        changed = {
            "jpeg": lambda p=picture: np.asarray(Image.open(io.BytesIO(encoded(p, "JPEG", quality=50)))),
            "half": lambda p=picture: cv2.resize(p, (48, 48), interpolation=cv2.INTER_AREA),
            "brighter": lambda p=picture: cv2.convertScaleAbs(p, alpha=1.0, beta=12),
        }[change]()
        near.append(distance(picture, changed))
        far.append(distance(picture, photo(seed + 100, 96, 96)))
    assert np.mean(np.array(near) <= 4) >= 0.9
    assert min(far) > 10


def test_flat_and_tiny_images_are_not_compared() -> None:
    assert perceptual_hash(thumbnail(np.full((40, 40), 90, np.uint8))) is None
    assert perceptual_hash(thumbnail(photo(0, 16, 16))) is None


def test_correlation_is_one_for_the_same_and_minus_one_for_the_negative() -> None:
    small = thumbnail(photo(0))[None]
    np.testing.assert_allclose(correlation(small, small), [1.0])
    np.testing.assert_allclose(correlation(small, 255 - small), [-1.0])
    np.testing.assert_allclose(correlation(small, small // 2 + 20), [1.0], atol=0.01)


def test_real_photos_leak_between_train_and_test() -> None:
    if not ARCHIVE.is_file():
        pytest.skip(f"{ARCHIVE.name} is not in COUNTERWEIGHT_DATA")
    with zipfile.ZipFile(ARCHIVE) as archive:
        names = [name for name in archive.namelist() if name.endswith(".png") and "/automobile/" in f"/{name}"]
        small = [
            thumbnail(cv2.cvtColor(cv2.imdecode(np.frombuffer(archive.read(n), np.uint8), 1), cv2.COLOR_BGR2RGB))
            for n in names
        ]
    found = [perceptual_hash(item) for item in small]
    pairs = near_pairs(np.array([value or 0 for value in found], np.uint64), 4)
    sure = correlation(np.stack([small[a] for a, _ in pairs]), np.stack([small[b] for _, b in pairs])) >= 0.9
    leaks = [
        (names[a], names[b])
        for (a, b), ok in zip(pairs, sure, strict=True)
        if ok and "train" in names[a] and "test" in names[b]
    ]
    assert leaks, "CIFAR-10 is known for look-alikes of its test images among the training images"
