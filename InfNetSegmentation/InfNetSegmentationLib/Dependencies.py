import importlib.util

from slicer.i18n import tr as _

TORCH_PACKAGES = ("torch", "torchvision")
TORCH_REQUIREMENT = ">=2.4"


def ensureInstalled(requirementsPath, requester):
    """Offer the installation of what the backend needs and Slicer lacks. Called when a run is started, never before.

    Torch comes through the PyTorch extension, which chooses the build that fits the computer; the file
    ``requirementsPath`` names the rest. Nothing is imported to find out what is there.
    Raises RuntimeError if the user declines, or if the PyTorch extension is needed and missing.
    """
    import slicer.packaging

    if any(importlib.util.find_spec(package) is None for package in TORCH_PACKAGES):
        _installTorch()
    slicer.packaging.pip_ensure(slicer.packaging.load_requirements(requirementsPath), requester=requester)


def _installTorch():
    try:
        from PyTorchUtils import PyTorchUtilsLogic
    except ModuleNotFoundError:
        raise RuntimeError(
            _(
                "Inf-Net needs PyTorch. Install the extension “PyTorch” in the Extensions Manager, restart Slicer "
                "and try again."
            )
        ) from None
    logic = PyTorchUtilsLogic()
    if logic.installTorch(askConfirmation=True, torchVersionRequirement=TORCH_REQUIREMENT) is None:
        raise RuntimeError(_("PyTorch was not installed, so Inf-Net cannot run."))
