"""Images a second of a training, beside the original code's loop: python Testing/infnet/training_speed.py DATA

The original loop is written anew after the paper and its released code: Adam, float32, three steps a batch at
256², 352² and 448², slices read from their files every time. Ours is `infnet.training.fit` with the paper's recipe,
and with that of the shipped model, without its head for the findings. The network is Inf-Net on Res2Net-50 but for the
last. An image counts once a step.
Times are of the processor, all cores together, so other work on the machine matters little; no other processes load.
"""

import argparse
import sys
import tempfile
import time
from contextlib import suppress
from itertools import cycle, islice
from pathlib import Path
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
from torch.utils.data import DataLoader, Dataset
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


def original(folder, batch_size, batches):
    """Processor seconds of each step, and of loading in all, without a first batch."""
    network = InfNet("res2net50").train()
    optimizer = torch.optim.Adam(network.parameters(), 1e-4)
    loader = iter(DataLoader(Files(folder), batch_size, shuffle=True, drop_last=True))
    steps, loading = [], 0.0
    for number in range(batches + 1):
        start = time.process_time()
        batch = next(loader)
        loading += (time.process_time() - start) * (number > 0)
        for size in SIZES:
            start = time.process_time()
            image, truth = (functional.interpolate(x, (size, size), mode="bilinear", align_corners=True) for x in batch)
            optimizer.zero_grad()
            infection_loss(network(image), truth, "paper-released-code").backward()
            torch.nn.utils.clip_grad_value_(network.parameters(), 0.5)
            optimizer.step()
            if number:
                steps.append(time.process_time() - start)
    return sum(steps) + loading, loading, len(steps)


def ours(slices, recipe, precision, batches):
    """The same of `fit`: everything between its first batch's last step and the last one's."""
    marks, loading = [], [0.0]

    class Timed(SliceDataset):
        def __getitem__(self, draw):
            start = time.process_time()
            sample = super().__getitem__(draw)
            loading[0] += time.process_time() - start
            return sample

    def note(stage, done, total):
        marks.append((time.process_time(), loading[0]))
        if done == len(SIZES) * (batches + 1):
            raise CancelledError("Timed.")

    timed = patch("infnet.training.fit.SliceDataset", Timed)
    with tempfile.TemporaryDirectory() as folder, timed, suppress(CancelledError):
        fit(slices, recipe, Path(folder), "cpu", note, precision=precision)
    first, last = marks[-1 - len(SIZES) * batches], marks[-1]
    return last[0] - first[0], last[1] - first[1], len(SIZES) * batches


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("data", type=Path, help="folder with Imgs and GT, such as COVID-SemiSeg's labelled slices")
    parser.add_argument("--batch-size", type=int, default=4)
    parser.add_argument("--batches", type=int, default=2, help="that are timed, three steps each, after a first one")
    options = parser.parse_args()
    slices = list(islice(cycle(read_labelled_slices(options.data)), options.batch_size * (options.batches + 2)))
    given = {"batch_size": options.batch_size, "encoder_weights": "none"}
    paper = preset("paper", **given)
    shipped = preset(
        "modern", **given, network_options={"encoder": "efficientnet_lite2", "finest_level": 2}, multi_scale="all"
    )
    runs = {
        "original loop": lambda: original(options.data, options.batch_size, options.batches),
        "paper's recipe, float32": lambda: ours(slices, paper, "32", options.batches),
        "paper's recipe, bf16": lambda: ours(slices, paper, "bf16", options.batches),
        "EfficientNet-Lite2, bf16": lambda: ours(slices, shipped, "bf16", options.batches),
    }
    print(f"{'':<28}{'s an image':>12}{'images a s':>12}{'loading':>10}")
    for name, run in runs.items():
        seconds, loading, steps = run()
        an_image = seconds / (steps * options.batch_size)
        print(f"{name:<28}{an_image:>12.3f}{1 / an_image:>12.2f}{loading / seconds:>10.1%}", flush=True)


if __name__ == "__main__":
    main()
