import importlib.util
from pathlib import Path

import slicer
from slicer.i18n import tr as _

# Import names of what the backend needs and Slicer does not bundle. Torch comes through the PyTorch extension,
# which chooses the build that fits the computer's GPU; Resources/InfNetSegmentationRequirements.txt names the rest.
TORCH_PACKAGES = ("torch", "torchvision")
OTHER_PACKAGES = ("rich", "safetensors", "skimage", "timm")
TORCH_REQUIREMENT = ">=2.4"


def missingPackages(packages):
    """Which of the packages cannot be found. Imports none of them."""
    return [package for package in packages if importlib.util.find_spec(package) is None]


def ensureInstalled(requirementsPath, otherPackages=OTHER_PACKAGES, requester="Inf-Net"):
    """Offer the installation of what is missing. Called when the user starts a run, never before.

    Raises RuntimeError if the user declines or the PyTorch extension is not installed.
    """
    if missingPackages(TORCH_PACKAGES):
        _installTorch()
    if missingPackages(otherPackages):
        requirements = slicer.packaging.load_requirements(Path(requirementsPath))
        slicer.packaging.pip_ensure(requirements, requester=requester)


def _installTorch():
    try:
        from PyTorchUtils import PyTorchUtilsLogic
    except ModuleNotFoundError:
        raise RuntimeError(
            _("Inf-Net needs PyTorch. Install the extension “PyTorch” in the Extensions Manager, restart Slicer, "
              "and try again.")
        ) from None
    installed = PyTorchUtilsLogic().installTorch(
        askConfirmation=True, torchVersionRequirement=TORCH_REQUIREMENT
    )
    if installed is None:
        raise RuntimeError(_("PyTorch was not installed, so Inf-Net cannot run."))
