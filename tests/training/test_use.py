import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pipeline.errors import UserError
from pipeline.images import Shape
from pipeline.metrics.classification import calibration_error
from pipeline.metrics.temperature import pooled, tempered
from pipeline.training.use import calibration_figures, describe, load_use

WHOLE: dict[str, Any] = {
    "shape": {"size": 8, "channels": 3, "how": "crop"},
    "calibration": "temperature",
    "validation_images": 30,
    "temperatures": {"loss": 1.5},
}


def test_what_is_described_is_what_is_read_again(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    logits = {f"{loss}/seed-{n}": rng.normal(0, 3, (40, 3)).astype(np.float32) for loss in "ab" for n in (0, 1)}
    use = describe(tmp_path, logits, rng.integers(0, 3, 40))
    assert set(use.temperatures) == {"a", "b", *logits}
    (tmp_path / "use.json").write_text(json.dumps(use.to_json()))
    assert load_use(tmp_path) == use
    assert use.shape is None  # no shape.json beside the training images


def test_figures_are_those_of_the_mean_of_the_networks() -> None:
    rng = np.random.default_rng(1)
    labels = rng.integers(0, 3, 200)
    shared = 9 * np.eye(3)[labels] + rng.normal(0, 9, (200, 3))  # far too sure, and all of them of the same
    logits = {f"loss/seed-{n}": shared + rng.normal(0, 1, (200, 3)) for n in (0, 1, 2)}
    use = describe(Path("nowhere"), logits, labels)
    found = calibration_figures(use, logits, labels)["loss"]
    mean = pooled(np.stack(list(logits.values())))
    for when, temperature in (("before", 1.0), ("after", use.temperatures["loss"])):
        error = calibration_error(labels, tempered(mean, temperature)[None])[0]
        assert found["val_calibration_error"][when] == pytest.approx(error, abs=1e-6)
    assert found["val_calibration_error"]["after"] < found["val_calibration_error"]["before"]


def test_a_file_of_ours_is_read(tmp_path: Path) -> None:
    (tmp_path / "use.json").write_text(json.dumps(WHOLE))
    use = load_use(tmp_path)
    assert use.shape == Shape(8, 3, "crop")
    assert [use.temperature(name) for name in ("loss", "loss/seed-0")] == [1.5, 1.0]


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (None, r"use\.json: cannot be read \(.*No such file.*\); run the stage that trains this model$"),
        ("{", r"use\.json: cannot be read \(Expecting property name"),
        (WHOLE | {"shape": {"size": 8, "channels": 3, "how": "stretch"}}, r"use\.json\.shape\.how should be 'crop' or"),
        (WHOLE | {"temperatures": {"loss": 0}}, r"use\.json\.temperatures\.loss should be greater than 0, got 0$"),
    ],
    ids=["missing", "damaged", "shape", "temperature"],
)
def test_a_damaged_file_is_one_line(tmp_path: Path, content: Any, told: str) -> None:
    if content is not None:
        (tmp_path / "use.json").write_text(content if isinstance(content, str) else json.dumps(content))
    with pytest.raises(UserError, match=told) as caught:
        load_use(tmp_path)
    assert "\n" not in str(caught.value)
