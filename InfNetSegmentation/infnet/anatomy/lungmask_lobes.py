"""Lobes by the networks of lungmask (Hofmanninger et al., Eur. Radiol. Exp. 2020), an optional package.

Its LTRCLobes model finds the lobes; its R231 model fills what that misses in dense lung. lungmask downloads the
weights when they are first used.
"""

import importlib.util
import os
from pathlib import Path
from pickle import UnpicklingError

import SimpleITK as sitk

from infnet.anatomy.recognition import LUNGMASK, label_table
from infnet.errors import MissingPackageError, UnavailableWeightsError

_MODEL, _FILL_MODEL = "LTRCLobes", "R231"


def lungmask_ready() -> bool:
    """Whether lungmask is installed and has its weights: whether its use downloads nothing."""
    if importlib.util.find_spec("lungmask") is None:
        return False
    # PyTorch's folder of downloads. PyTorch would tell it, but takes a second to import, and lungmask imports it.
    cache = os.environ.get("TORCH_HOME") or Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache", "torch")
    folder = Path(cache, "hub", "checkpoints").expanduser()
    if not any(folder.glob("*.pth")):
        return False
    from lungmask.mask import MODEL_URLS

    return all((folder / MODEL_URLS[model][0].rpartition("/")[2]).is_file() for model in (_MODEL, _FILL_MODEL))


def lungmask_lobes(ct: sitk.Image) -> sitk.Image:
    """The lobes (uint8, 1 to 5) of a CT (HU), on its grid. Raises `MissingPackageError`, `UnavailableWeightsError`."""
    try:
        from lungmask import LMInferer
        from lungmask.mask import MODEL_URLS
    except ImportError as error:
        raise MissingPackageError(
            "lungmask is not installed: pip install lungmask, or use the lobe atlas (--source atlas)."
        ) from error
    import torch

    try:
        for model in (_MODEL, _FILL_MODEL):
            # lungmask itself would take whatever comes, and run code that is in it.
            torch.hub.load_state_dict_from_url(
                MODEL_URLS[model][0], map_location="cpu", check_hash=True, weights_only=True
            )
    except (OSError, RuntimeError, UnpicklingError) as error:  # URLError is an OSError, a wrong SHA-256 a RuntimeError
        raise UnavailableWeightsError(
            f"lungmask's weights cannot be downloaded, or are not weights ({error}). Run it once on a machine with "
            "access to github.com and copy its folder torch/hub/checkpoints, or use the lobe atlas (--source atlas)."
        ) from error
    inferer = LMInferer(modelname=_MODEL, fillmodel=_FILL_MODEL, tqdm_disable=True)
    lobes = sitk.GetImageFromArray(label_table(LUNGMASK)[inferer.apply(ct)])
    lobes.CopyInformation(ct)
    return lobes
