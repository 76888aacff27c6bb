"""The exported classifier answers like the one it was made from, and needs no torch to."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch

from pipeline import backbones, registry
from pipeline.errors import UserError
from pipeline.images import Shape
from pipeline.params import read
from pipeline.prediction import onnx_export
from pipeline.prediction.ensemble import Ensemble, find_arm
from pipeline.prediction.model import open_model
from pipeline.prediction.onnx_file import About, session_of
from tests.builders import save
from tests.prediction.conftest import noise
from tests.stages.chain import Chain
from tests.tiny import NAMES, ROOT


@pytest.fixture(scope="module")
def exported(chain: Chain) -> Path:
    to = chain.root / "exported"
    onnx_export.write(find_arm(chain.root / "models/completed"), to)
    return to


def test_it_is_all_there_and_valid(chain: Chain, exported: Path) -> None:
    names = {"model.onnx", "model.json", "seed-0.safetensors", "seed-1.safetensors"}
    assert {path.name for path in exported.iterdir()} == names
    own = chain.root / "models/completed/balanced_softmax/seed-1.safetensors"
    assert (exported / "seed-1.safetensors").read_bytes() == own.read_bytes()
    onnx.checker.check_model(onnx.load(exported / "model.onnx"), full_check=True)


@pytest.mark.parametrize("number", [1, 3, 300])
def test_any_number_of_images_is_answered_like_torch_does(chain: Chain, exported: Path, number: int) -> None:
    ensemble = find_arm(chain.root / "models/completed").build()
    images = noise(number, seed=number)
    probs, logits = session_of(exported / "model.onnx").run(["probabilities", "logits"], {"images": images})
    with torch.inference_mode():
        expected = [values.numpy() for values in ensemble(torch.from_numpy(images))]
    assert probs == pytest.approx(expected[0], abs=1e-5)
    assert logits == pytest.approx(expected[1], abs=1e-4)
    assert (probs.argmax(axis=1) == expected[0].argmax(axis=1)).all()


def test_networks_of_every_head_and_of_timm_are_written_too(tmp_path: Path) -> None:
    given = read(ROOT / "params.yaml")["train_source"]
    networks = [
        backbones.create("resnet", {"depth": 8, "width": 4}, 3, 4, 0, head, given["heads"][head])
        for head in registry.names("pipeline.heads")
    ]
    networks.append(backbones.create("timm", given["backbones"]["timm"] | {"image_size": 32}, 3, 4, 0))
    ensemble, shape, path = Ensemble(networks, 2.0).eval(), Shape(16, 3, "crop"), tmp_path / "m.onnx"
    told = {"temperature": 2.0, "calibration": "none", "validation_images": 0, "networks": (), "values": ""}
    onnx_export.export(ensemble, About(class_names=NAMES, shape=shape, **told), path)
    onnx_export.refuse_other_answers(ensemble, shape, path)


def test_what_must_be_known_stands_beside_it_and_in_it(chain: Chain, exported: Path) -> None:
    about = json.loads((exported / "model.json").read_text(encoding="utf-8"))
    inside = {entry.key: entry.value for entry in onnx.load(exported / "model.onnx").metadata_props}
    assert json.loads(inside["counterweight"]) == about
    assert about["class_names"] == list(NAMES)
    assert about["shape"] == {"size": 8, "channels": 1, "how": "pad"}
    assert about["values"] == "0 (black) to 255, grey"
    assert about["temperature"] == find_arm(chain.root / "models/completed").temperature != 1
    probs, logits = session_of(exported / "model.onnx").run(None, {"images": noise(4)})
    powers = np.exp(logits / about["temperature"])
    assert probs == pytest.approx(powers / powers.sum(axis=1, keepdims=True), abs=1e-5)


def test_it_tells_nothing_of_the_machine_that_it_was_written_on(exported: Path) -> None:
    content = (exported / "model.onnx").read_bytes()
    assert str(ROOT).encode() not in content
    assert b"site-packages" not in content
    assert b".py" not in content


def test_a_file_that_answers_otherwise_is_refused(chain: Chain, exported: Path) -> None:
    arm = find_arm(chain.root / "models/completed")
    onnx_export.refuse_other_answers(arm.build(), arm.shape, exported / "model.onnx")
    other = find_arm(chain.root / "models/completed", seed=0)
    told = r"^export_model: onnxruntime's probabilities of 1 images differ from torch's by"
    with pytest.raises(UserError, match=told):
        onnx_export.refuse_other_answers(other.build(), other.shape, exported / "model.onnx")


def test_after_a_mismatch_nothing_is_kept(chain: Chain, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    arm = find_arm(chain.root / "models/completed")
    monkeypatch.setattr(onnx_export, "ATOL", -1.0)  # no answers are near enough
    with pytest.raises(UserError, match=r"nothing was written$"):
        onnx_export.write(arm, tmp_path / "to")
    assert list(tmp_path.iterdir()) == []


def test_it_is_asked_without_torch_and_says_what_the_arm_says(chain: Chain, exported: Path, new: Path) -> None:
    save(new / "999.png", b"nonsense")
    ask = """import sys
from pipeline.__main__ import main
status = main(["predict", sys.argv[1], "--model", sys.argv[2], "--out", "-"])
assert "torch" not in sys.modules
sys.exit(status)
"""
    done = subprocess.run(
        [sys.executable, "-c", ask, str(new), str(exported / "model.onnx")],
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        cwd=new,
        capture_output=True,
        text=True,
        check=True,
    )
    here = open_model(chain.root / "models/completed")
    lines = done.stdout.splitlines()
    assert lines[0].startswith("path,class,probability,class_2,")
    assert len(lines) == 17
    assert lines[-1] == f"{new}/999.png,,,,,,,no image format known here"
    for line in lines[1:-1]:
        path, name, prob = line.split(",")[:3]
        pixels = here_pixels(Path(path), here.shape)
        (probs,) = here.ask(pixels)
        assert name == NAMES[probs.argmax()]
        assert float(prob) == pytest.approx(probs.max(), abs=1e-5)


def here_pixels(path: Path, shape: Shape) -> np.ndarray[tuple[int, ...], np.dtype[np.uint8]]:
    from pipeline.decoding import decode
    from pipeline.images import fit

    return fit(decode(path.read_bytes()), shape.size, shape.channels, shape.how)[None, None]


def test_other_files_are_told_in_one_line(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"m\.onnx: is no ONNX file \(.*\)$") as caught:
        open_model(save(tmp_path / "m.onnx", b"nonsense"))
    assert "\n" not in str(caught.value)
    value = onnx.helper.make_tensor_value_info("x", onnx.TensorProto.FLOAT, [1])
    graph = onnx.helper.make_graph(
        [onnx.helper.make_node("Identity", ["x"], ["y"])],
        "g",
        [value],
        [onnx.helper.make_tensor_value_info("y", onnx.TensorProto.FLOAT, [1])],
    )
    model = onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 20)], ir_version=9)
    onnx.save(model, tmp_path / "other.onnx")
    told = r"other\.onnx: does not say its classes .*expected a file that export_model wrote$"
    with pytest.raises(UserError, match=told):
        open_model(tmp_path / "other.onnx")
