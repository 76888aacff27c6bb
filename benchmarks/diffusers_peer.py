"""The peer of `benchmarks.completion`: a class-conditional DDPM, trained and sampled as the diffusers tutorial does.

`python -m benchmarks.diffusers_peer` fills the same plan from the same training images as `synthesize` does, after so
many seconds of training; its images go into the completed arm as they come.
"""

import argparse
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from pipeline import plan as plans
from pipeline import torchvision_ops
from pipeline.atomic import write_json
from pipeline.dataset import Dataset, PixelStore, ShardWriter, make_row

torchvision_ops.declare()
from diffusers import DDIMScheduler, DDPMScheduler, UNet2DModel  # noqa: E402 - they import torchvision
from diffusers.training_utils import EMAModel  # noqa: E402

BATCH, SAMPLED_AT_ONCE, SAMPLING_STEPS = 64, 256, 50


def train(images: Tensor, labels: Tensor, num_classes: int, seconds: float) -> tuple[UNet2DModel, int]:
    """The averaged network after `seconds` of training, and the updates it took."""
    network = _network(images, num_classes)
    noiser = DDPMScheduler(num_train_timesteps=1000, beta_schedule="squaredcos_cap_v2")
    optimiser = torch.optim.AdamW(network.parameters(), lr=5e-4)
    average = EMAModel(network.parameters(), decay=0.999, use_ema_warmup=True)
    end, updates = time.monotonic() + seconds, 0
    while time.monotonic() < end:
        rows = torch.randint(len(images), (BATCH,))
        clean, noise = images[rows], torch.randn(BATCH, *images.shape[1:])
        times = torch.randint(1000, (BATCH,))
        noisy = noiser.add_noise(clean, noise, times)
        loss = F.mse_loss(network(noisy, times, class_labels=labels[rows]).sample, noise)
        optimiser.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(network.parameters(), 1.0)
        optimiser.step()
        average.step(network.parameters())
        updates += 1
    average.copy_to(network.parameters())
    return network.eval(), updates


def _network(images: Tensor, num_classes: int) -> UNet2DModel:
    levels = 2 if images.shape[-1] < 16 else 3
    return UNet2DModel(
        sample_size=images.shape[-1],
        in_channels=images.shape[1],
        out_channels=images.shape[1],
        layers_per_block=1,
        block_out_channels=(32, 64, 64)[:levels],
        down_block_types=("DownBlock2D", "AttnDownBlock2D", "AttnDownBlock2D")[:levels],
        up_block_types=("AttnUpBlock2D", "AttnUpBlock2D", "UpBlock2D")[-levels:],
        num_class_embeds=num_classes,
    )


@torch.inference_mode()
def sample(network: UNet2DModel, labels: Tensor, shape: tuple[int, int, int]) -> Iterator[np.ndarray]:
    """uint8 [C, H, W] images of these classes, by DDIM."""
    solver = DDIMScheduler(num_train_timesteps=1000, beta_schedule="squaredcos_cap_v2")
    solver.set_timesteps(SAMPLING_STEPS)
    for part in labels.split(SAMPLED_AT_ONCE):
        images = torch.randn(len(part), *shape)
        for time_step in solver.timesteps:
            noise = network(images, time_step, class_labels=part).sample
            images = solver.step(noise, time_step, images).prev_sample
        yield from ((images.clamp(-1, 1) + 1) * 127.5).round().to(torch.uint8).numpy()


def main() -> None:
    """Trains, samples and writes the images as a data set."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.diffusers_peer", description=__doc__)
    parser.add_argument("--train", type=Path, nargs="+", required=True)
    parser.add_argument("--plan", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--metrics", type=Path, required=True)
    parser.add_argument("--seconds", type=float, required=True)
    parser.add_argument("--seed", type=int, required=True)
    given = parser.parse_args()
    torch.manual_seed(given.seed)
    data = Dataset.open(*given.train)
    store, wanted = PixelStore(data), plans.read(given.plan)
    images = torch.from_numpy(store.images()).float() / 127.5 - 1
    network, updates = train(images, torch.from_numpy(store.labels), data.num_classes, given.seconds)
    counts = [wanted[name].synthesize for name in data.class_names]
    labels = torch.repeat_interleave(torch.arange(data.num_classes), torch.tensor(counts))
    for old in given.out.glob("*.parquet"):
        old.unlink()
    with ShardWriter(given.out, data.class_names) as writer:
        for number, image in enumerate(sample(network, labels, store.image_shape)):
            pixels = image[0] if len(image) == 1 else np.ascontiguousarray(image.transpose(1, 2, 0))
            writer.add(make_row(pixels, int(labels[number]), path=f"{number}.png", origin="synthetic", seed=number))
    write_json(given.metrics, {"updates": updates, "refused_share": 0.0, "short": [], "classes": {}})


if __name__ == "__main__":
    main()
