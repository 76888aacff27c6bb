"""Makes torchvision, which timm and diffusers import, importable beside a torch without CUDA.

The wheels of the public index are built for CUDA. Beside a CPU build of torch their library does not load, and their
Python part ends in "operator torchvision::nms does not exist", since it describes two operators of that library. It is
enough that these have a signature; whoever calls one is told that it is not there.

Call `declare` before the first import of anything that imports torchvision.
"""

import importlib.machinery
import importlib.util
from pathlib import Path

import torch

SIGNATURE = "(Tensor dets, Tensor scores, float iou_threshold) -> Tensor"
_kept: list[torch.library.Library] = []  # what is not kept is undone


def declare() -> None:
    """Gives the two operators a signature where torchvision's library can't give them one."""
    if torch.version.cuda is not None or _kept or _loads():
        return
    library = torch.library.Library("torchvision", "FRAGMENT")  # type: ignore[no-untyped-call]
    for name in ("nms", "qnms"):
        library.define(f"{name}{SIGNATURE}")  # type: ignore[no-untyped-call]
    _kept.append(library)


def _loads() -> bool:
    """Whether the library is there and fits this torch."""
    spec = importlib.util.find_spec("torchvision")
    if spec is None or spec.origin is None:
        return False
    suffixes = importlib.machinery.EXTENSION_SUFFIXES
    for path in (Path(spec.origin).parent / f"_C{suffix}" for suffix in suffixes):
        if path.exists():
            try:
                torch.ops.load_library(path)  # type: ignore[no-untyped-call]
            except OSError:
                return False
            return True
    return False
