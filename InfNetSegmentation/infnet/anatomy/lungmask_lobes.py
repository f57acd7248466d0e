"""Lobes by the networks of lungmask (Hofmanninger et al., Eur. Radiol. Exp. 2020), an optional package.

Its LTRCLobes model finds the lobes; its R231 model fills what that misses in dense lung. lungmask downloads the
weights when they are first used.
"""

import importlib.util
from pathlib import Path

import numpy as np
import SimpleITK as sitk

from infnet.anatomy.recognition import LUNGMASK
from infnet.errors import MissingPackageError, UnavailableWeightsError

_MODEL, _FILL_MODEL = "LTRCLobes", "R231"


def lungmask_ready() -> bool:
    """Whether lungmask is installed and has its weights: whether its use downloads nothing."""
    if importlib.util.find_spec("lungmask") is None:
        return False
    import torch
    from lungmask.mask import MODEL_URLS

    folder = Path(torch.hub.get_dir()) / "checkpoints"
    return all((folder / MODEL_URLS[model][0].rpartition("/")[2]).is_file() for model in (_MODEL, _FILL_MODEL))


def lungmask_lobes(ct: sitk.Image) -> sitk.Image:
    """The lobes (uint8, 1 to 5) of a CT (HU), on its grid. Raises `MissingPackageError`, `UnavailableWeightsError`."""
    try:
        from lungmask import LMInferer
    except ImportError as error:
        raise MissingPackageError(
            "lungmask is not installed: pip install lungmask, or use the lobe atlas (--source atlas)."
        ) from error
    try:
        inferer = LMInferer(modelname=_MODEL, fillmodel=_FILL_MODEL, tqdm_disable=True)
    except OSError as error:  # URLError and what a broken download raises are ones
        raise UnavailableWeightsError(
            f"lungmask's weights cannot be downloaded ({error}). Run it once on a machine with access to github.com "
            "and copy its folder torch/hub/checkpoints, or use the lobe atlas (--source atlas)."
        ) from error
    table = np.zeros(256, np.uint8)
    table[list(LUNGMASK)] = [lobe.label for lobe in LUNGMASK.values()]
    lobes = sitk.GetImageFromArray(table[inferer.apply(ct)])
    lobes.CopyInformation(ct)
    return lobes
