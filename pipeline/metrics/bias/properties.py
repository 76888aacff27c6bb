"""What can be said of an image without knowing what it shows: one small pure function a property.

All take images uint8 [N, H, W, C], C 1 or 3, and return one value an image.
"""

import numpy as np
import numpy.typing as npt

Images = npt.NDArray[np.uint8]
Floats = npt.NDArray[np.float32]

LUMA = np.array([0.299, 0.587, 0.114], dtype=np.float32)
COLOURS = ("red", "green", "blue")


def grey(images: Images) -> Floats:
    """Luma (ITU-R BT.601), [N, H, W], 0 to 255."""
    if images.shape[3] == 1:
        return images[..., 0].astype(np.float32)
    luma: Floats = images.astype(np.float32) @ LUMA
    return luma


def brightness(luma: Floats) -> Floats:
    """Mean luma, 0 (black) to 1 (white)."""
    return np.asarray(_flat(luma).mean(axis=1) / np.float32(255))


def contrast(luma: Floats) -> Floats:
    """Standard deviation of the luma (RMS contrast, Peli 1990), 0 (uniform) to 0.5."""
    return np.asarray(_flat(luma).std(axis=1) / np.float32(255))


def extremes(luma: Floats) -> tuple[Floats, Floats]:
    """Luma that 5 and 95 % of the pixels do not exceed, 0 to 1: the tone of the darkest and of the brightest parts."""
    flat = _flat(luma)
    ranks = [(flat.shape[1] - 1) * percent // 100 for percent in (5, 95)]
    ordered = np.partition(flat, ranks, axis=1)
    return ordered[:, ranks[0]] / np.float32(255), ordered[:, ranks[1]] / np.float32(255)


def laplacian(luma: Floats) -> Floats:
    """Laplacian inside the border, [N, H - 2, W - 2]; 0 where an image is too small to have an inside."""
    if min(luma.shape[1:]) < 3:
        return np.zeros((len(luma), 1, 1), dtype=np.float32)
    beside = luma[:, :-2, 1:-1] + luma[:, 2:, 1:-1] + luma[:, 1:-1, :-2] + luma[:, 1:-1, 2:]
    return np.asarray(beside - 4 * luma[:, 1:-1, 1:-1])


def sharpness(luma: Floats) -> Floats:
    """Variance of the Laplacian (Pech-Pacheco et al. 2000) on grey levels 0 to 255; 0 is flat."""
    return np.asarray(_flat(laplacian(luma)).var(axis=1))


def edge(luma: Floats) -> Floats:
    """The strongest edge, |Laplacian|, for the image's own range of grey levels, 0 to 4.

    Small only where nothing in the image is sharp; the variance is small too where much of it is plain background.
    """
    flat = _flat(luma)
    strongest = np.abs(_flat(laplacian(luma))).max(axis=1)
    return np.asarray(strongest / (flat.max(axis=1) - flat.min(axis=1) + 1))


def colourfulness(images: Images) -> Floats:
    """Colourfulness (Hasler & Süsstrunk 2003, eq. 3), 0 (grey) to about 110 (extreme)."""
    if images.shape[3] == 1:
        return np.zeros(len(images), dtype=np.float32)
    red, green, blue = (_flat(images[..., channel].astype(np.float32)) for channel in range(3))
    opponents = (red - green, (red + green) / 2 - blue)
    spread = np.sqrt(sum(opponent.var(axis=1) for opponent in opponents))
    distance = np.sqrt(sum(opponent.mean(axis=1) ** 2 for opponent in opponents))
    return np.asarray(spread + np.float32(0.3) * distance)


def mean_colour(images: Images) -> Floats:
    """Mean of each channel, [N, C], 0 to 1."""
    pixels = images.reshape(len(images), -1, images.shape[3])
    return np.asarray(pixels.mean(axis=1, dtype=np.float32) / np.float32(255))


def border(images: Images) -> Floats:
    """Pixels of the frame around the images, [N, P, C]: a 16th of the shorter side wide, at least one pixel."""
    height, width = images.shape[1:3]
    wide = max(1, min(height, width) // 16)
    frame = np.ones((height, width), dtype=np.bool_)
    frame[wide : height - wide, wide : width - wide] = False
    return images[:, frame].astype(np.float32)


def size(width: Floats, height: Floats) -> Floats:
    """Side of a square of as many pixels as an image had at its source, [N]; NaN where that is not known."""
    return np.asarray(np.sqrt(width * height))


def aspect(width: Floats, height: Floats) -> Floats:
    """Width over height at the source, [N]; NaN where that is not known."""
    return np.asarray(width / height)


def measure(images: Images) -> dict[str, Floats]:
    """All properties of a batch of images, by name, each float32 [N]."""
    luma, frame = grey(images), border(images)
    dark_parts, bright_parts = extremes(luma)
    found = {
        "brightness": brightness(luma),
        "contrast": contrast(luma),
        "sharpness": sharpness(luma),
        "edge": edge(luma),
        "colourfulness": colourfulness(images),
        "dark_parts": dark_parts,
        "bright_parts": bright_parts,
        "border_spread": frame.reshape(len(frame), -1).std(axis=1) / np.float32(255),
    }
    for channel, (mean, at_border) in enumerate(zip(mean_colour(images).T, frame.mean(axis=1).T, strict=True)):
        name = COLOURS[channel] if images.shape[3] == 3 else "grey"
        found |= {f"mean_{name}": mean, f"border_{name}": at_border / np.float32(255)}
    return {name: values.astype(np.float32) for name, values in found.items()}


def _flat(values: Floats) -> Floats:
    return values.reshape(len(values), -1)
