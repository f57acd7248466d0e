"""Lobes by TotalSegmentator (Wasserthal et al., Radiol. Artif. Intell. 2023), where its command is installed."""

import json
import os
import shutil
import subprocess
import tempfile
from pathlib import Path

import SimpleITK as sitk

from infnet.anatomy.existing_lobes import read_lobes
from infnet.data.itk_names import itk_name
from infnet.errors import MissingPackageError, ToolError

_COMMAND = "TotalSegmentator"
_LOBES = ("upper_lobe_left", "lower_lobe_left", "upper_lobe_right", "middle_lobe_right", "lower_lobe_right")
_WEIGHTS = ("Dataset291_*", "Dataset298_*")  # of the organs, the lobes among them; of where these are, roughly


def totalsegmentator_ready() -> bool:
    """Whether TotalSegmentator is installed and has its weights: whether its use downloads nothing."""
    return shutil.which(_COMMAND) is not None and all(any(_weights().glob(name)) for name in _WEIGHTS)


def totalsegmentator_lobes(ct: sitk.Image, lungs: sitk.Image) -> sitk.Image:
    """The lobes (uint8, 1 to 5) of a CT (HU), on its grid. Raises `MissingPackageError` or `ToolError`."""
    command = shutil.which(_COMMAND)
    if command is None:
        raise MissingPackageError(
            "TotalSegmentator is not installed: pip install TotalSegmentator, or use the lobe atlas (--source atlas)."
        )
    with tempfile.TemporaryDirectory(prefix="infnet-") as folder:
        source, result = Path(folder, "ct.nii.gz"), Path(folder, "lobes.nii.gz")
        sitk.WriteImage(ct, itk_name(source))
        # Its usual settings let it tell its makers of each run; these are its settings for this one.
        settings = {"totalseg_id": "", "send_usage_stats": False, "prediction_counter": 0}
        Path(folder, "config.json").write_text(json.dumps(settings), encoding="utf-8")
        environment = os.environ | {"TOTALSEG_HOME_DIR": folder, "TOTALSEG_WEIGHTS_PATH": str(_weights())}
        arguments = ["-i", source, "-o", result, "--ml", "--roi_subset", *(f"lung_{lobe}" for lobe in _LOBES)]
        words = [command, *map(str, arguments)]
        # On Windows what it says is in the code page of the country.
        done = subprocess.run(
            words, env=environment, capture_output=True, encoding="utf-8", errors="replace", check=False
        )
        if done.returncode != 0 or not result.exists():
            reason = (done.stderr.strip() or done.stdout.strip() or "no message").splitlines()[-1]
            raise ToolError(f"TotalSegmentator failed ({reason}); use the lobe atlas (--source atlas).")
        return read_lobes(result, lungs)


def _weights() -> Path:
    home = Path(os.environ.get("TOTALSEG_HOME_DIR", Path.home() / ".totalsegmentator"))
    return Path(os.environ.get("TOTALSEG_WEIGHTS_PATH", home / "nnunet" / "results"))
