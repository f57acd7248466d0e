"""The real chest CT of the demo, from the source distribution of the package pyradiomics (BSD licence)."""

import ast
import os
import subprocess
import sys
import tarfile
import tempfile
from pathlib import Path

# lung2: 61 slices of 5 mm, the whole chest, with a consolidating lesion in the left lower lobe.
_REQUIREMENT = "pyradiomics==3.0.1"
_MEMBER = "pyradiomics-3.0.1/data/lung2_image.nrrd"
_NAME = "lung2.nrrd"


def downloadChestCT():
    """Path of the CT, downloaded into the user's cache folder at the first call.

    Raises RuntimeError if no package registry can be reached.
    """
    cacheFolder = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "infnet"
    path = cacheFolder / _NAME
    if path.exists():
        return path
    cacheFolder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=cacheFolder) as folder:
        archive = _downloadSourceDistribution(Path(folder))
        with tarfile.open(archive) as tar:
            extracted = Path(folder) / _NAME
            extracted.write_bytes(tar.extractfile(_MEMBER).read())
        extracted.replace(path)
    return path


def _downloadSourceDistribution(folder):
    # pip would build the package to read its metadata, which fails on new Python versions; unearth only fetches it.
    command = [sys.executable, "-m", "unearth", _REQUIREMENT, "--no-binary", "--download", str(folder)]
    finished = subprocess.run(command + _registryOptions(), capture_output=True, text=True)
    archives = list(folder.glob("*.tar.gz"))
    if finished.returncode != 0 or not archives:
        raise RuntimeError(
            f"The sample CT could not be downloaded: no package registry that has {_REQUIREMENT} can be reached.\n"
            "Give a chest CT instead, a NRRD, NIfTI or MetaImage file or a folder of DICOM slices: ./demo CT"
        )
    return archives[0]


def _registryOptions():
    """The registry that pip is configured to use, if not the public one, as options of unearth."""
    listing = subprocess.run(
        [sys.executable, "-m", "pip", "config", "list"], capture_output=True, text=True, check=True
    )
    settings = dict(line.split("=", 1) for line in listing.stdout.splitlines())
    # A setting in the environment comes before one in a file.
    for key in (":env:.index-url", "global.index-url"):
        if key in settings:
            return ["--index-url", ast.literal_eval(settings[key])]
    return []
