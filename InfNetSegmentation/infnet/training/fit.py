"""One training run: from labelled slices and a recipe to a trained network."""

import hashlib
import logging
import os
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from functools import partial
from pathlib import Path
from typing import Any, Literal

import lightning
import torch
from lightning.fabric.plugins.environments.torchelastic import TorchElasticEnvironment
from lightning.pytorch.callbacks import Callback, WeightAveraging
from lightning.pytorch.loggers import CSVLogger
from lightning.pytorch.strategies import DDPStrategy
from safetensors.torch import save
from torch import nn
from torch.utils.data import DataLoader

from infnet.data.labelled_slices import LabelledSlice
from infnet.data.slice_dataset import SeededSampler, SliceDataset
from infnet.devices import choose_device, choose_precision
from infnet.errors import CancelledError, DeviceError, InputError, OutOfMemoryError, is_out_of_memory
from infnet.networks.pretrained import load_imagenet_weights
from infnet.reporting import Progress, silent
from infnet.training.batches import DealtBatches
from infnet.training.checkpoints import Checkpoints, WholeFiles
from infnet.training.modules import MODULES, SliceModule
from infnet.training.recipe import Recipe
from infnet.training.run_folder import alone_in, claim
from infnet.training.validation import Validation
from infnet.weights.store import Model

_PRECISIONS: Mapping[str, Literal["32-true", "bf16-mixed", "16-mixed"]] = {
    "32": "32-true",
    "bf16": "bf16-mixed",
    "16": "16-mixed",
}

_RESULTS = ("checkpoints", "validation.csv")  # that a training goes on with


def fit(
    slices: Sequence[LabelledSlice],
    recipe: Recipe,
    run_folder: Path,
    device: str = "auto",
    progress: Progress = silent,
    stage: str = "training",
    initial: Model | None = None,
    precision: str = "auto",
    devices: int = 1,
    checkpoint_seconds: float = 300,
    held_out: Sequence[LabelledSlice] = (),
) -> SliceModule:
    """Train a network on ``slices``; returns its module in evaluation mode, on the CPU.

    ``initial``: a model whose weights the training starts from; parts of the network that it has not start random.
    ``precision``: "auto", "32", "bf16" or "16" (`infnet.devices.choose_precision`). ``devices``: how many take part,
    each in a process of its own; those of torchrun are found without being told. A batch is that of all together.
    ``held_out``: slices whose Dice is measured now and then, into ``run_folder/validation.csv``
    (`infnet.training.validation`).

    ``run_folder`` gets the losses as CSV and checkpoints (`infnet.training.checkpoints`); where there are some
    already, the run goes on from the newest, with the same draws as if it had never stopped and its losses in a CSV of
    their own. Where a device has not enough memory for a batch, it goes on with halves, quarters … of one, adds up
    their gradients, and says so in the log.

    Raises InputError where the slices are too few or lack what the network shall learn, where ``initial`` does not fit,
    for a batch that cannot be shared evenly, and for a folder of another training or process; DeviceError where there
    are fewer devices; DivergedError where the loss is no number any more; OutOfMemoryError where there is not enough
    memory for one slice, or several processes train.
    """
    _check_slices(slices, recipe)
    attempt = partial(
        _fit,
        *(slices, recipe, run_folder, device, progress, stage, initial, precision, devices, checkpoint_seconds),
        held_out,
    )
    parts = 1
    while (module := _if_memory_allows(attempt, parts)) is None:
        parts *= 2
        if parts >= 2 * min(recipe.batch_size, len(slices)) or TorchElasticEnvironment.detect() or devices > 1:
            raise OutOfMemoryError("There is not enough memory for this; choose a smaller network, size or batch.")
        logging.getLogger(__name__).warning(
            "The memory is too short for a batch of %d: it is looked at in %d parts, which takes longer.",
            recipe.batch_size,
            parts,
        )
    return module


def check(
    slices: Sequence[LabelledSlice],
    recipe: Recipe,
    device: str = "auto",
    initial: Model | None = None,
    precision: str = "auto",
) -> None:
    """Raise what `fit` would before its first step, and write nothing: for those who write before it."""
    _check_slices(slices, recipe)
    choose_precision(precision, choose_device(device).type)
    _initialise(MODULES[recipe.task](recipe, 1), initial)


def _if_memory_allows(attempt: Callable[[int], SliceModule], parts: int) -> SliceModule | None:
    # Returns instead of raising: an exception would keep the failed step's tensors alive.
    try:
        return attempt(parts)
    except Exception as error:
        if is_out_of_memory(error):
            return None
        raise


def _fit(
    slices: Sequence[LabelledSlice],
    recipe: Recipe,
    run_folder: Path,
    device: str,
    progress: Progress,
    stage: str,
    initial: Model | None,
    precision: str,
    devices: int,
    checkpoint_seconds: float,
    held_out: Sequence[LabelledSlice],
    parts: int,
) -> SliceModule:
    chosen = choose_device(device)
    lightning.seed_everything(recipe.seed, verbose=False)
    logging.getLogger("lightning.pytorch").setLevel(logging.WARNING)
    with warnings.catch_warnings(), _told_as_cancelled():
        warnings.filterwarnings("ignore", module="lightning")
        checkpoints = Checkpoints(run_folder / "checkpoints", checkpoint_seconds, progress, stage)
        # Before the checkpoint of the same step, so that a run which goes on from there has no look to make up for.
        validation = [Validation(held_out, run_folder / "validation.csv")] if held_out else []
        trainer = _trainer(recipe, run_folder, chosen, precision, devices, [*validation, checkpoints])
        batches = batches_of(slices, recipe, trainer.global_rank, trainer.world_size)
        _check_parts(recipe, batches.shares, parts, chosen)
        module = MODULES[recipe.task](recipe, batches.steps_per_epoch)
        module.parts = parts
        found = checkpoints.newest()
        if found is None:
            module.initial_weights = _initialise(module, initial)
        given = None if initial is None else weights_digest(initial.network)
        claim(run_folder, recipe, slices, results=_RESULTS, initial_sha256=given, steps=len(batches))
        resume_from = None
        if found is not None:
            resume_from, state = found
            _check_checkpoint(resume_from, state, module, len(batches))
            batches.start = state["global_step"]
            if batches.start == len(batches):  # Lightning would do nothing, not even take the moving average.
                module.on_load_checkpoint(state)
                module.load_state_dict(state["state_dict"])
                return module.eval()
            del found, state  # several times the network's memory
        module.to(memory_format=torch.channels_last)
        workers = _workers(chosen, trainer.num_devices)
        made_on = torch.device("cpu") if workers else trainer.strategy.root_device
        dataset = SliceDataset(slices, max(recipe.sizes()), recipe.augmentation, recipe.synthetic_lesions, made_on)
        loader = DataLoader(
            dataset, batch_sampler=batches, num_workers=workers, pin_memory=chosen.type == "cuda" and workers > 0
        )
        with alone_in(run_folder) if trainer.is_global_zero else nullcontext():
            trainer.fit(module, loader, ckpt_path=resume_from, weights_only=True)
    return module.cpu().eval()


def _trainer(
    recipe: Recipe, run_folder: Path, device: torch.device, precision: str, devices: int, callbacks: Sequence[Callback]
) -> lightning.Trainer:
    nodes = 1
    if TorchElasticEnvironment.detect():
        devices = int(os.environ["LOCAL_WORLD_SIZE"])
        nodes = int(os.environ["WORLD_SIZE"]) // devices
    if not 1 <= devices <= {"cuda": torch.cuda.device_count(), "mps": 1}.get(device.type, devices):
        raise DeviceError(f"{devices} devices: use one or more, up to those of '{device.type}' that are here.")
    together = devices * nodes > 1
    average = [WeightAveraging(avg_fn=_moving_average(recipe.ema_decay))] if recipe.ema_decay else []
    return lightning.Trainer(
        max_epochs=1,  # of `DealtBatches`, which is the whole training
        accelerator={"cuda": "gpu"}.get(device.type, device.type),
        devices=[device.index or 0] if device.type == "cuda" and not together else devices,
        num_nodes=nodes,
        strategy=_sharing() if together else "auto",
        sync_batchnorm=together and device.type == "cuda",
        precision=_PRECISIONS[choose_precision(precision, device.type)],
        gradient_clip_val=recipe.gradient_clip or None,
        gradient_clip_algorithm="value",
        logger=CSVLogger(run_folder, name="log", flush_logs_every_n_steps=10),
        callbacks=[*average, *callbacks],
        plugins=[WholeFiles()],
        use_distributed_sampler=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        log_every_n_steps=1,
    )


def _sharing() -> DDPStrategy:
    """A network may have parts that no loss reaches; on Windows, PyTorch has no NCCL."""
    return DDPStrategy(find_unused_parameters=True, process_group_backend="gloo" if os.name == "nt" else None)


def _workers(device: torch.device, processes: int) -> int:
    """How many processes make the slices of one: its share of the cores, up to eight.

    None where the CPU trains; nor with fewer than four, since a graphics card then makes them sooner by itself.
    """
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    workers = min(8, cores // processes - 1)
    return workers if device.type != "cpu" and workers >= 4 else 0


def _moving_average(decay: float) -> Callable[..., torch.Tensor]:
    """Exponential, with less memory at the beginning, when the weights still change fast."""

    def average(old: torch.Tensor, new: torch.Tensor, count: torch.Tensor) -> torch.Tensor:
        kept = ((1 + count) / (10 + count)).clamp(max=decay)
        return old * kept + new * (1 - kept)

    return average


def batches_of(slices: Sequence[LabelledSlice], recipe: Recipe, rank: int = 0, processes: int = 1) -> DealtBatches:
    """What one process sees in a training. Raises InputError where a batch cannot be shared evenly."""
    draws = _draws(slices, recipe)
    size = min(recipe.batch_size, len(draws))
    if size % processes:
        raise InputError(f"A batch of {size} cannot be dealt evenly to {processes} processes.")
    repeats = len(recipe.scales) if recipe.multi_scale == "all" else 1
    return DealtBatches(draws, size, recipe.epochs, repeats, rank, processes)


def _draws(slices: Sequence[LabelledSlice], recipe: Recipe) -> SeededSampler:
    return SeededSampler(slices, recipe.seed, recipe.healthy_share, recipe.soft_share)


def _check_slices(slices: Sequence[LabelledSlice], recipe: Recipe) -> None:
    """Raise InputError where the slices are too few, or do not show what the network shall learn."""
    drawn = len(_draws(slices, recipe))
    if drawn < 2:
        raise InputError(f"{drawn} labelled slice(s) in an epoch: training needs two or more (--healthy-share?).")
    infected = [s.labels for s in slices if s.soft is None and s.labels.any()]
    if infected and all(labels[[0, 0, -1, -1], [0, -1, 0, -1]].all() for labels in infected):
        raise InputError("All masks show infection in all their corners: invert them, so that the background is 0.")
    if recipe.task == "findings" or recipe.network_options.get("consolidation_head"):
        # A network that has found no consolidation yet says how sure it is of that.
        if not any(s.soft_consolidation is not None or (s.labels == 2).any() for s in slices):
            raise InputError("No slice has label 2, consolidation: its truth must tell the findings apart.")
        for s in slices:
            if s.soft is not None and s.soft_consolidation is None:
                raise InputError(
                    f"{s.stem}: a soft truth that does not tell the findings apart; leave it out, or put the "
                    "probability of consolidation beside Soft, in Consolidation."
                )
    if recipe.network_options.get("gate_head"):
        if len({bool(s.labels.any()) for s in slices}) < 2:
            raise InputError("The gate needs slices with infection and slices without; add those that lack (--extra).")
        if recipe.healthy_share == 0 or recipe.synthetic_lesions == 1:
            raise InputError("The gate needs healthy slices: --healthy-share above 0, --synthetic-lesions below 1.")


def _check_parts(recipe: Recipe, shares: Iterable[int], parts: int, device: torch.device) -> None:
    """Raise InputError or OutOfMemoryError where a network cannot normalise what it sees at once: one small image.

    ``shares``: how many images of a batch a process gets, which looks at them in ``parts``.
    """
    fewest = min(len(part) for share in shares for part in torch.arange(share).chunk(parts))
    if fewest > 1 or (device.type == "cuda" and parts == 1):  # where the processes normalise together
        return
    with torch.device("meta"):  # which takes no memory and no time
        network = MODULES[recipe.task](recipe, 1).network
        image = torch.empty(1, 3, min(recipe.sizes()), min(recipe.sizes()))
        try:
            network(image) if recipe.task == "infection" else network(image, image)
        except ValueError as error:  # of batch normalisation
            told = f"one image of {min(recipe.sizes())} pixels has nothing to normalise {recipe.network} by"
            if parts > 1:
                raise OutOfMemoryError(
                    f"There is not enough memory for a batch of {recipe.batch_size} at once, and {told}; choose a "
                    "smaller network or batch, or larger scales."
                ) from error
            raise InputError(
                f"A process gets one image of a batch, and {told}: choose a larger batch, size or scales."
            ) from error


def _check_checkpoint(path: Path, state: Mapping[str, Any], module: SliceModule, steps: int) -> None:
    """Raise InputError where a checkpoint's weights are not those of the network, or its step is none of ``steps``."""
    own, found = module.state_dict(), state["state_dict"]
    fits = own.keys() == found.keys() and all(own[key].shape == value.shape for key, value in found.items())
    if not fits or state["global_step"] > steps:
        raise InputError(
            f"{path}: of another training than its run.json tells; remove it, or choose another run folder."
        )


def _initialise(module: SliceModule, initial: Model | None) -> str:
    """Give the network its first weights; returns where they come from."""
    if initial is None:
        imagenet = module.recipe.encoder_weights == "imagenet"
        return load_imagenet_weights(module.network) if imagenet else module.initial_weights
    own, given = module.network.state_dict(), initial.network.state_dict()
    for head in ("consolidation_head", "gate_head"):  # what is not learnt is not wanted
        if not module.recipe.network_options.get(head):
            given = {key: value for key, value in given.items() if not key.startswith(f"{head}.")}
    for key, value in given.items():
        if key not in own or own[key].shape != value.shape:
            raise InputError(f"{initial.card.name}: its {key} does not fit the network {module.recipe.network}.")
    missing = module.network.load_state_dict(given, strict=False).missing_keys
    random = sorted({key.split(".")[0] for key in missing})
    told = f"{initial.card.name} (SHA-256 {weights_digest(initial.network)[:12]} in float32)"
    return f"{told}; random: {', '.join(random)}" if random else told


def weights_digest(network: nn.Module) -> str:
    """SHA-256 of a network's weights."""
    return hashlib.sha256(save({k: v.cpu().contiguous() for k, v in network.state_dict().items()})).hexdigest()


@contextmanager
def _told_as_cancelled() -> Iterator[None]:
    """Lightning answers Ctrl+C with an exit of its own."""
    try:
        yield
    except SystemExit as error:
        if isinstance(error.__context__, KeyboardInterrupt):
            raise CancelledError("Interrupted. Run again to go on from the last checkpoint.") from None
        raise
