"""Small version of ``slicer.packaging``. The host installs nothing: a missing package is an error."""

from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from packaging.requirements import Requirement


def load_requirements(path):
    """The requirements of a requirements.txt file."""
    lines = (line.strip() for line in Path(path).read_text(encoding="utf-8").splitlines())
    return [Requirement(line) for line in lines if line and not line.startswith(("#", "-"))]


def pip_check(requirements):
    """Whether all requirements are met."""
    try:
        return all(version(requirement.name) in requirement.specifier for requirement in requirements)
    except PackageNotFoundError:
        return False


def pip_ensure(requirements, requester=None):
    """Raises RuntimeError, as Slicer does when the user declines the installation, if something is missing."""
    missing = [str(requirement) for requirement in requirements if not pip_check([requirement])]
    if missing:
        raise RuntimeError("The host installs nothing, and these packages are missing: " + ", ".join(missing))
