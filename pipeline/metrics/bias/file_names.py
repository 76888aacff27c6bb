"""What a file's name and folder say beside the class: often where, when and by whom it was taken."""

import re
from pathlib import PurePosixPath

SPLITS = {"train", "training", "val", "valid", "validation", "test", "testing"}


def pattern(path: str, class_name: str) -> str:
    """The file's name with numbers as # and without its class: IMG_2031.JPG and IMG_7.JPG are both IMG_#.JPG."""
    name = re.sub(re.escape(class_name), "", PurePosixPath(path).name, flags=re.IGNORECASE)
    return re.sub(r"\d+", "#", name)


def folder(path: str, class_name: str) -> str:
    """The folders that are neither the class nor a split: train/cat/camera 2/7.png is in "camera 2"."""
    parts = PurePosixPath(path).parts[:-1]
    return "/".join(part for part in parts if part.lower() not in SPLITS | {class_name.lower()})
