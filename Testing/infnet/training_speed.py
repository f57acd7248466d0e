"""Images a second of a training, beside the original code's loop: python Testing/infnet/training_speed.py DATA

The original loop is written anew after the paper and its released code: Adam, float32, three steps a batch at
256², 352² and 448², slices read from their files every time. Ours is `infnet.training.fit` with the paper's recipe,
and with that of the shipped model, without its head for the findings. The network is Inf-Net on Res2Net-50 but for the
last. An image counts once a step.
On a CPU times are of the processor, all cores together, so other work on the machine matters little; with ``--device
cuda`` they are of the clock, and the most memory that PyTorch allocated on the card is told. No other processes load.
"""

import argparse
import sys
import tempfile
import time
from contextlib import suppress
from itertools import cycle, islice
from pathlib import Path
from typing import NamedTuple
from unittest.mock import patch

if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "InfNetSegmentation"))

import torch
from infnet.data.labelled_slices import read_labelled_slices
from infnet.data.slice_dataset import SliceDataset
from infnet.errors import CancelledError
from infnet.networks import InfNet
from infnet.training.fit import fit
from infnet.training.losses import infection_loss
from infnet.training.recipe import preset
from PIL import Image
from torch.nn import functional
from torch.utils.data import DataLoader, Dataset, RandomSampler
from torchvision.transforms import v2

SIZES = (256, 352, 448)


class Files(Dataset):
    """A slice and its truth, read, resized to 352² and normalised when they are asked for."""

    def __init__(self, folder):
        self.images = sorted((folder / "Imgs").iterdir())
        self.truths = sorted((folder / "GT").iterdir())
        self.scaled = v2.Compose([v2.Resize((352, 352)), v2.ToImage(), v2.ToDtype(torch.float32, scale=True)])
        self.normalised = v2.Normalize([0.485, 0.456, 0.406], [0.229, 0.224, 0.225])

    def __len__(self):
        return len(self.images)

    def __getitem__(self, number):
        image, truth = Image.open(self.images[number]).convert("RGB"), Image.open(self.truths[number]).convert("L")
        return self.normalised(self.scaled(image)), self.scaled(truth)


class Clock(NamedTuple):
    """Seconds so far, of the processor or, where a graphics card works, of the clock."""

    device: torch.device

    def __call__(self):
        if self.device.type == "cpu":
            return time.process_time()
        torch.cuda.synchronize(self.device)
        return time.perf_counter()


def original(folder, batch_size, batches, now):
    """Seconds of the steps, and of loading in all, without a first batch; and how many steps."""
    network = InfNet("res2net50").train().to(now.device)
    optimizer = torch.optim.Adam(network.parameters(), 1e-4)
    files = Files(folder)
    loader = iter(DataLoader(files, batch_size, sampler=RandomSampler(files, num_samples=batch_size * (batches + 1))))
    steps, loading = [], 0.0
    for number in range(batches + 1):
        start = now()
        batch = [x.to(now.device) for x in next(loader)]
        loading += (now() - start) * (number > 0)
        for size in SIZES:
            start = now()
            image, truth = (functional.interpolate(x, (size, size), mode="bilinear", align_corners=True) for x in batch)
            optimizer.zero_grad()
            infection_loss(network(image), truth, "paper-released-code").backward()
            torch.nn.utils.clip_grad_value_(network.parameters(), 0.5)
            optimizer.step()
            if number:
                steps.append(now() - start)
    return sum(steps) + loading, loading, len(steps)


def ours(slices, recipe, precision, batches, now):
    """The same of `fit`: everything between its first batch's last step and the last one's."""
    marks, loading = [], [0.0]

    class Timed(SliceDataset):
        def __getitem__(self, draw):
            start = now()
            sample = super().__getitem__(draw)
            loading[0] += now() - start
            return sample

    def note(stage, done, total):
        marks.append((now(), loading[0]))
        if done == len(SIZES) * (batches + 1):
            raise CancelledError("Timed.")

    timed = patch.multiple("infnet.training.fit", SliceDataset=Timed, _workers=lambda device, processes: 0)
    with tempfile.TemporaryDirectory() as folder, timed, suppress(CancelledError):
        fit(slices, recipe, Path(folder), str(now.device), note, precision=precision)
    first, last = marks[-1 - len(SIZES) * batches], marks[-1]
    return last[0] - first[0], last[1] - first[1], len(SIZES) * batches


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("data", type=Path, help="folder with Imgs and GT, such as COVID-SemiSeg's labelled slices")
    parser.add_argument("--batch-size", type=int, default=4)
    parser.add_argument("--device", type=torch.device, default="cpu")
    parser.add_argument("--batches", type=int, default=2, help="that are timed, three steps each, after a first one")
    options = parser.parse_args()
    now, batches, size = Clock(options.device), options.batches, options.batch_size
    slices = list(islice(cycle(read_labelled_slices(options.data)), size * (batches + 2)))
    given = {"batch_size": size, "encoder_weights": "none"}
    paper = preset("paper", **given)
    shipped = preset(
        "modern", **given, network_options={"encoder": "efficientnet_lite2", "finest_level": 2}, multi_scale="all"
    )
    runs = {
        "original loop": lambda: original(options.data, size, batches, now),
        "paper's recipe, float32": lambda: ours(slices, paper, "32", batches, now),
        "paper's recipe, bf16": lambda: ours(slices, paper, "bf16", batches, now),
        "EfficientNet-Lite2, bf16": lambda: ours(slices, shipped, "bf16", batches, now),
    }
    print(f"{'':<28}{'s an image':>12}{'images a s':>12}{'loading':>10}{'GB on the card':>16}")
    for name, run in runs.items():
        if now.device.type == "cuda":
            torch.cuda.reset_peak_memory_stats(now.device)
        seconds, loading, steps = run()
        an_image = seconds / (steps * size)
        memory = f"{torch.cuda.max_memory_allocated(now.device) / 1e9:.1f}" if now.device.type == "cuda" else ""
        print(f"{name:<28}{an_image:>12.4f}{1 / an_image:>12.2f}{loading / seconds:>10.1%}{memory:>16}", flush=True)


if __name__ == "__main__":
    main()
