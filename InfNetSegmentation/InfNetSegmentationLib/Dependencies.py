import importlib.metadata
from pathlib import Path

from slicer.i18n import tr as _

TORCH_PACKAGES = ("torch", "torchvision")
TORCH_REQUIREMENT = ">=2.7"


def missingPackages(requirementsPath):
    """Names of the packages of a requirements file that are not installed. Reads packages' metadata alone."""
    from packaging.requirements import Requirement

    lines = Path(requirementsPath).read_text(encoding="utf-8").splitlines()
    requirements = filter(None, (line.partition("#")[0].strip() for line in lines))
    names = [Requirement(requirement).name for requirement in requirements]
    return [name for name in names if _installedVersion(name) is None]


def missingTorchPackages():
    """The same of those that the PyTorch extension installs."""
    return [name for name in TORCH_PACKAGES if _installedVersion(name) is None]


def ensureInstalled(requirementsPath, requester):
    """Offer the installation of what the backend needs and Slicer lacks. Called when a run is started, never before.

    Torch comes through the PyTorch extension, which chooses the build that fits the computer; the file
    ``requirementsPath`` names the rest. Nothing is imported to find out what is there.
    Raises RuntimeError if the user declines, if the PyTorch extension is needed and missing, or if torch is too old.
    """
    from packaging.specifiers import SpecifierSet

    versions = [_installedVersion(package) for package in TORCH_PACKAGES]
    if None in versions:
        _installTorch()
    elif not SpecifierSet(TORCH_REQUIREMENT).contains(versions[0], prereleases=True):
        raise RuntimeError(
            _(
                "PyTorch {installed} is installed, but Inf-Net needs version {needed}. Uninstall it in the module of "
                "the extension “PyTorch”, restart Slicer and try again."
            ).format(installed=versions[0], needed=TORCH_REQUIREMENT)
        )
    ensurePackages(requirementsPath, requester)


def ensurePackages(requirementsPath, requester):
    """As `ensureInstalled`, without torch: for a command that needs none."""
    import slicer.packaging

    slicer.packaging.pip_ensure(slicer.packaging.load_requirements(requirementsPath), requester=requester)


def _installedVersion(package):
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None


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
