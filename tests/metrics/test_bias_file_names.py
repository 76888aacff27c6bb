import pytest

from pipeline.metrics.bias.file_names import folder, pattern


@pytest.mark.parametrize(
    ("path", "class_name", "expected"),
    [
        ("train/cat/IMG_2031.JPG", "cat", "IMG_#.JPG"),
        ("train/cat/IMG_7.JPG", "cat", "IMG_#.JPG"),
        ("Cat_12_b.png", "cat", "_#_b.png"),
        ("a (1+1).png", "(1+1)", "a .png"),
    ],
)
def test_pattern(path: str, class_name: str, expected: str) -> None:
    assert pattern(path, class_name) == expected


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("train/cat/1.png", ""),
        ("cat/1.png", ""),
        ("1.png", ""),
        ("Train/CAT/camera 2/1.png", "camera 2"),
        ("site 1/cat/day 3/1.png", "site 1/day 3"),
    ],
)
def test_folder(path: str, expected: str) -> None:
    assert folder(path, "cat") == expected
