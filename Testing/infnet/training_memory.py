"""What a training step keeps in a graphics card's memory, by estimate: python Testing/infnet/training_memory.py

The forward pass and the loss of the paper's recipe run on tensors that have a shape and a type and no numbers; what
autograd keeps for the backward pass is counted, each storage once. A weight takes 16 bytes: itself, its gradient and
Adam's two moments; in bfloat16 2 more, for its copy. What the counting leaves out: CUDA itself, the work space of its
libraries, the gradients of activations on their way, and the gaps of PyTorch's allocator.
"""

import argparse
import sys
from contextlib import contextmanager
from pathlib import Path

if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "InfNetSegmentation"))

import torch
from infnet.data.slice_dataset import Sample
from infnet.training.modules import InfectionModule
from infnet.training.recipe import preset
from torch._subclasses.fake_tensor import FakeTensorMode


def bytes_kept(encoder, batch_size, size, dtype=torch.float32):
    """Of the weights, and of what the backward pass of one step needs; autocast is taken for a network in ``dtype``."""
    with FakeTensorMode(), torch.device("cuda"), default_dtype(dtype):
        module = InfectionModule(preset("paper", network_options={"encoder": encoder}), steps_per_epoch=1)
        own = {p.untyped_storage()._cdata for p in module.parameters()}
        kept = {}  # the storages too, or another could take the place of one that is gone

        def note(tensor):
            storage = tensor.untyped_storage()
            if storage._cdata not in own:
                kept[storage._cdata] = storage
            return tensor

        image = torch.rand(batch_size, 1, size, size)
        truth = torch.zeros(batch_size, 1, size, size, dtype=torch.float32)
        with torch.autograd.graph.saved_tensors_hooks(note, lambda tensor: tensor):
            module.loss(Sample(image, truth[:, 0].long(), truth, truth, truth))
        weights = sum(p.numel() for p in module.parameters())
        return weights * (16 if dtype == torch.float32 else 18), sum(storage.nbytes() for storage in kept.values())


@contextmanager
def default_dtype(dtype):
    """A network that is on the fake device cannot be cast any more."""
    before = torch.get_default_dtype()
    torch.set_default_dtype(dtype)
    try:
        yield
    finally:
        torch.set_default_dtype(before)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--batch-size", type=int, default=24)
    parser.add_argument("--sizes", type=int, nargs="+", default=[352, 448])
    options = parser.parse_args()
    print(
        f"{'encoder':<20}{'size':>5}{'type':>16}{'weights, MB':>14}{'kept, MB':>10}{'an image, MB':>14}{'all, GB':>9}"
    )
    for encoder in ("res2net50", "efficientnet_lite2"):
        for size in options.sizes:
            for dtype in (torch.float32, torch.bfloat16):
                weights, kept = bytes_kept(encoder, options.batch_size, size, dtype)
                print(
                    f"{encoder:<20}{size:>5}{dtype!s:>16}{weights / 1e6:>14.0f}{kept / 1e6:>10.0f}"
                    f"{kept / 1e6 / options.batch_size:>14.1f}{(weights + kept) / 1e9:>9.2f}"
                )


if __name__ == "__main__":
    main()
