"""What may happen to an image and how much; the files of `policies` are policies that one can name."""

from collections.abc import Mapping
from dataclasses import field
from pathlib import Path
from typing import Annotated, Any

from pydantic import AfterValidator, Field, TypeAdapter, model_validator
from pydantic_core import ArgsKwargs, PydanticCustomError

from pipeline import params
from pipeline.params import did_you_mean, section
from pipeline.transforms import by_name
from pipeline.transforms.geometry import Border

FOLDER = Path(__file__).parent / "policies"
MOVES = ("rotation_degrees", "shift", "scale", "shear", "horizontal_flip", "vertical_flip", "crop")
RECOLOURS = ("brightness", "contrast", "saturation", "hue", "channel_mix")
HIDES = ("cutout",)
_TOP = {"rotation_degrees": 180.0, "scale": 0.95, "crop": 0.95, "hue": 0.5}
_FLIPS = ("horizontal_flip", "vertical_flip")

Share = Annotated[float, Field(ge=0, le=1)]
BelowOne = Annotated[float, Field(ge=0, lt=1)]


def names() -> list[str]:
    """The policies that can be named."""
    return sorted(path.stem for path in FOLDER.glob("*.yaml"))


def _known(name: str) -> str:
    if name not in names():
        told = f"a policy ({', '.join(names())}{did_you_mean(name, names())})"
        raise PydanticCustomError("policy", "{told}", {"told": told})
    return name


@section
class Policy:
    """Ranges of the random changes; each is drawn uniformly from -x to x.

    Attributes:
        name: a file of `policies`; what is given beside the name counts instead of what the file says.
        rotation_degrees: turn around the centre.
        shift: share of the side.
        whole_pixels: moves by whole pixels, all as probable, which blurs nothing: a crop of the padded image.
        scale: relative change of size, drawn for each axis.
        shear: slant along x.
        horizontal_flip, vertical_flip: probability of a mirror image.
        crop: the most of the area that is cut away before scaling back.
        brightness, contrast, saturation: relative changes, contrast about the image's mean, saturation about grey.
        hue: turn in shares of the colour circle; unlike one in HSV it keeps the luma.
        channel_mix: share of each channel that goes to each other one.
        cutout: side of a square that is hidden, as a share of the shorter side; it does not vary.
        border: what lies outside the image.
        extra: transforms of Albumentations, after all others.
        pick: at most so many of the changes happen to one image, drawn anew for each; 0: all.
        magnitude: what all ranges, but for the probabilities and `extra`, are multiplied by.
    """

    name: Annotated[str, AfterValidator(_known)] = "none"
    rotation_degrees: Annotated[float, Field(ge=0, le=180)] = 0.0
    shift: Share = 0.0
    whole_pixels: bool = False
    scale: BelowOne = 0.0
    shear: Share = 0.0
    horizontal_flip: Share = 0.0
    vertical_flip: Share = 0.0
    crop: BelowOne = 0.0
    brightness: Share = 0.0
    contrast: Share = 0.0
    saturation: Share = 0.0
    hue: Annotated[float, Field(ge=0, le=0.5)] = 0.0
    channel_mix: Share = 0.0
    cutout: Share = 0.0
    border: Border = "black"
    extra: list[Annotated[dict[str, Any], AfterValidator(by_name.check)]] = field(default_factory=list)
    pick: Annotated[int, Field(ge=0)] = 0
    magnitude: Annotated[float, Field(ge=0)] = 1.0

    @model_validator(mode="before")
    @classmethod
    def _over_the_file(cls, given: Any) -> Any:
        """What is given, over what the named file says."""
        values = (given.kwargs or {}) if isinstance(given, ArgsKwargs) else given
        if isinstance(values, dict) and values.get("name") in names():
            return params.read(FOLDER / f"{values['name']}.yaml") | values
        return given

    def span(self, change: str) -> float:
        """The most of a change (or the probability of a flip), magnitude included."""
        value: float = getattr(self, change)
        return value if change in _FLIPS else min(value * self.magnitude, max(value, _TOP.get(change, 1.0)))

    @property
    def moves(self) -> bool:
        """Whether it may move pixels."""
        return any(self.span(change) for change in MOVES)

    @property
    def recolours(self) -> bool:
        """Whether it may change colours."""
        return any(self.span(change) for change in RECOLOURS)

    @property
    def hides(self) -> bool:
        """Whether it may hide a part of an image."""
        return any(self.span(change) for change in HIDES)


def values_of(policy: Policy) -> dict[str, Any]:
    """All of a policy, as it could stand in params.yaml."""
    values: dict[str, Any] = TypeAdapter(Policy).dump_python(policy)
    return values


def overridden(policy: Policy, values: dict[str, Any]) -> dict[str, Any]:
    """Values of a policy with others instead; where these name a policy, it is that one with them."""
    return values if "name" in values else values_of(policy) | values


def beyond(policy: Policy, limits: Mapping[str, float], where: str, limits_at: str) -> list[str]:
    """What a policy does that a data set's labels would not survive, in a line each."""
    found = [
        f"{where}.{change} is {policy.span(change):g}, beyond {limits_at}.{change}, {limit:g}"
        for change, limit in limits.items()
        if policy.span(change) > limit
    ]
    found += [
        f"{where}.extra.{number}: {spec['name']} would get around {limits_at}.{change}, {limit:g}; "
        f"use the policy's own {change}"
        for number, spec in enumerate(policy.extra)
        for change, limit in limits.items()
        if spec["name"] in by_name.SAME_AS[change]
    ]
    return found
