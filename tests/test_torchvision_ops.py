import subprocess
import sys

import torch

from pipeline import torchvision_ops
from tests.tiny import ROOT


def run(code: str) -> str:
    command = [sys.executable, "-W", "error", "-c", code]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_what_imports_torchvision_can_be_imported_in_a_fresh_process() -> None:
    run(
        "from pipeline import torchvision_ops; torchvision_ops.declare(); torchvision_ops.declare()\n"
        "import timm\nfrom diffusers import UNet2DModel\nfrom lightning_fabric import Fabric\nimport albumentations\n"
    )


def test_no_stage_imports_timm_or_torchvision_before_it_needs_them() -> None:
    told = run(
        "import sys\nfrom pipeline import registry\nregistry.modules('pipeline.stages')\n"
        "registry.modules('pipeline.backbones')\n"
        "print([name for name in ('timm', 'torchvision') if name in sys.modules])\n"
    )
    assert told.strip() == "[]"


def test_beside_a_torch_with_cuda_nothing_is_declared() -> None:
    run(
        "import torch\ntorch.version.cuda = '13.0'\nfrom pipeline import torchvision_ops\ntorchvision_ops.declare()\n"
        "assert not torchvision_ops._kept"
    )


def test_the_signature_is_that_of_torchvision() -> None:
    torchvision_ops.declare()
    arguments = torch.ops.torchvision.nms.default._schema.arguments
    assert [argument.name for argument in arguments] == ["dets", "scores", "iou_threshold"]
