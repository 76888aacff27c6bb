from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

from pipeline.atomic import write_json
from pipeline.commands import tune_augmentation
from pipeline.commands.tune_augmentation import choose
from pipeline.errors import UserError
from pipeline.params import read
from pipeline.stages import train_classifier
from tests.stages.chain import Chain
from tests.tiny import NAMES, ROOT, bars, settings, write

SHORT = {"steps: 1000 ": "steps: 6 ", "steps: 2000 ": "steps: 6 "}


@pytest.fixture
def chain(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Chain:
    monkeypatch.setenv("COUNTERWEIGHT_WORKERS", "1")
    chain = Chain(tmp_path)
    chain.train_source()
    plan = {name: {"real": 5, "augment": count, "synthesize": 0} for name, count in zip(NAMES, (0, 2, 3), strict=True)}
    write_json(tmp_path / "plan.json", plan)
    text = (ROOT / "params.yaml").read_text(encoding="utf-8")
    for old, new in SHORT.items():
        assert old in text
        text = text.replace(old, new)
    (tmp_path / "params.yaml").write_text(text, encoding="utf-8")
    return chain


def tune(chain: Chain, **options: Any) -> Path:
    path = chain.root / "params.yaml"
    val = options.pop("val", chain.val)
    tune_augmentation.run(
        path, chain.train, val, chain.root / "plan.json", chain.root / "source", **({"seeds": 2} | options)
    )
    return path


def test_the_least_within_a_standard_error_of_the_best() -> None:
    # best: 1.0 with a mean of 0.80 and a standard error of 0.02 / sqrt(4) = 0.01
    best = [0.78, 0.80, 0.80, 0.82]
    error = np.std(best, ddof=1) / 2
    assert error == pytest.approx(0.00816, abs=1e-5)
    assert choose({0.0: [0.785] * 4, 0.5: [0.79] * 4, 1.0: best}) == 1.0
    assert choose({0.0: [0.785] * 4, 0.5: [0.793] * 4, 1.0: best}) == 0.5
    assert choose({2.0: [0.9], 1.0: [0.9], 1.5: [0.8]}) == 1.0


def test_it_tries_all_tells_each_and_writes_one_number(chain: Chain, capfd: pytest.CaptureFixture[str]) -> None:
    before = (chain.root / "params.yaml").read_text(encoding="utf-8")
    path = tune(chain, magnitudes=(0.5, 0.0, 0.75))
    told = [line for line in capfd.readouterr().err.splitlines() if line.startswith("magnitude ")]
    assert [line.split(":")[0] for line in told] == ["magnitude 0", "magnitude 0.5", "magnitude 0.75"]
    (chosen,) = [line for line in told if line.endswith(" <- chosen")]
    after = path.read_text(encoding="utf-8")
    changed = [(old, new) for old, new in zip(before.splitlines(), after.splitlines(), strict=True) if old != new]
    ((old, new),) = changed
    assert old.strip().startswith("magnitude: 1.0  ")
    assert new.partition("#")[2] == old.partition("#")[2]  # the comment is kept
    assert f"magnitude {read(path)['augment']['policy']['magnitude']:g}:" in chosen
    assert not [file for file in chain.root.iterdir() if file.name.startswith(".")]


def test_magnitudes_beyond_the_limits_are_left_out(chain: Chain, capfd: pytest.CaptureFixture[str]) -> None:
    path = tune(chain, magnitudes=(1.0, 3.0))
    assert "magnitude 3: left out: params.yaml: augment.policy.rotation_degrees is 45, beyond" in capfd.readouterr().err
    assert read(path)["augment"]["policy"]["magnitude"] == 1.0
    with pytest.raises(UserError, match=r"^tune_augmentation: no magnitude of 3.0, 4.0 is allowed: params"):
        tune(chain, magnitudes=(3.0, 4.0))


def test_it_judges_by_the_augmented_arm(chain: Chain) -> None:
    """What is added counts: images under the label of the next class spoil it."""
    added = {"weight": 20.0, "final_weight": 20.0, "batch_size": 8}
    schedule = {"steps": 40, "batch_size": 8}
    params = settings(train_classifier.Params, "train_classifier", recipe={"schedule": schedule}, added=added)
    nothing = write(chain.root / "nothing", bars([]), [], origin="augmented")
    wrong = write(chain.root / "wrong", bars([0, 1, 2] * 6), [1, 2, 0] * 6, origin="augmented")
    shared = {"train": chain.train, "val": chain.val, "source": chain.root / "source", "params": params, "seed": 1}
    without, spoilt = (tune_augmentation.val_balanced_accuracy(added=folder, **shared) for folder in (nothing, wrong))
    assert without > 0.6
    assert spoilt < 0.4


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"seeds": 0}, r"^tune_augmentation: seeds must be at least 1, got 0$"),
        ({"magnitudes": (-1.0,)}, r"is allowed: "),
    ],
    ids=str,
)
def test_a_user_s_mistake_is_one_line(chain: Chain, options: dict[str, Any], told: str) -> None:
    before = (chain.root / "params.yaml").read_text(encoding="utf-8")
    with pytest.raises(UserError, match=told) as caught:
        tune(chain, **options)
    assert "\n" not in str(caught.value)
    assert (chain.root / "params.yaml").read_text(encoding="utf-8") == before


def test_without_validation_images_it_says_so(chain: Chain) -> None:
    empty = write(chain.root / "empty", bars([]), [], split="val")
    with pytest.raises(UserError, match=r"empty: holds no image to judge by; ingest\.val_fraction says how many"):
        tune(chain, val=empty)


def test_a_wrong_section_is_told(chain: Chain) -> None:
    content = read(chain.root / "params.yaml")
    content["augment"]["policy"]["hue"] = 3
    (chain.root / "params.yaml").write_text(yaml.safe_dump(content), encoding="utf-8")
    with pytest.raises(
        UserError, match=r"params\.yaml: augment\.policy\.hue should be less than or equal to 0\.5, got 3$"
    ):
        tune(chain)
