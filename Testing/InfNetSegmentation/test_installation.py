"""What is installed, when, and through whom; and with which Slicer."""

import ast
import re
import sys
from pathlib import Path
from types import ModuleType

import pytest
import slicer

REPOSITORY = Path(__file__).parents[2]


def test_torch_comes_by_the_pytorch_extension_alone(module, monkeypatch):
    """The extension's logic, which is no part of slicer-core, is a stand-in that notes how it was asked."""
    import InfNetSegmentationLib.Dependencies as dependencies

    asked = []

    class PyTorchUtilsLogic:
        def installTorch(self, **how):
            asked.append(how)
            return "torch"

    extension = ModuleType("PyTorchUtils")
    extension.PyTorchUtilsLogic = PyTorchUtilsLogic
    monkeypatch.setitem(sys.modules, "PyTorchUtils", extension)
    installed = dependencies._installedVersion
    monkeypatch.setattr(
        dependencies, "_installedVersion", lambda package: None if package == "torch" else installed(package)
    )
    requirements = REPOSITORY / "InfNetSegmentation/Resources/InfNetSegmentationRequirements.txt"
    dependencies.ensureInstalled(requirements, "Inf-Net Segmentation")
    assert asked == [{"askConfirmation": True, "torchVersionRequirement": dependencies.TORCH_REQUIREMENT}]
    assert not re.search(r"^torch", requirements.read_text(encoding="utf-8"), re.M)


def test_packages_are_installed_by_slicers_installer_on_apply_alone():
    """No other call of pip on Slicer's side: `pip_ensure` asks, shows the log, and runs on the main thread."""
    calls = {}
    for module in ("InfNetSegmentation", "InfNetTraining"):
        for path in [REPOSITORY / module / f"{module}.py", *(REPOSITORY / module / f"{module}Lib").glob("*.py")]:
            tree = ast.parse(path.read_text(encoding="utf-8"))
            names = {node.attr for node in ast.walk(tree) if isinstance(node, ast.Attribute)}
            names |= {node.value for node in ast.walk(tree) if isinstance(node, ast.Constant) and node.value == "pip"}
            calls[path.name] = {name for name in names if name.startswith("pip")}
    assert {name: found for name, found in calls.items() if found} == {"Dependencies.py": {"pip_ensure"}}


def test_older_versions_of_slicer_are_refused_in_words(module):
    from InfNetSegmentationLib.SlicerVersion import checkVersion

    for version in ((5, 12), (5, 13), (6, 0)):
        checkVersion(version)
    for version in ((5, 8), (4, 13)):
        with pytest.raises(RuntimeError, match=r"needs 3D Slicer 5\.12 or newer, and this is \d\.\d+"):
            checkVersion(version)


@pytest.mark.parametrize("name", ["InfNetSegmentation", "InfNetTraining"])
def test_the_version_is_looked_at_before_anything_can_fail(name):
    tree = ast.parse((REPOSITORY / name / f"{name}.py").read_text(encoding="utf-8"))
    imports = [node for node in tree.body if isinstance(node, ast.ImportFrom)]
    assert imports[0].module == "InfNetSegmentationLib" and imports[0].names[0].name == "SlicerVersion"
    source = (REPOSITORY / "InfNetSegmentation/InfNetSegmentationLib/SlicerVersion.py").read_text(encoding="utf-8")
    assert {node.names[0].name for node in ast.parse(source).body if isinstance(node, ast.Import)} == {"slicer"}


def test_samples_are_listed_when_slicer_has_started(host, module):
    """Nothing is downloaded; Sample Data refuses a file with another sum. Loaded again, nothing is listed twice."""
    host.loadModule(Path(module.__file__))
    chestCT, demoCT = slicer.modules.sampleDataSources["Inf-Net"]
    assert chestCT["uris"].endswith("SHA256/" + chestCT["checksums"].removeprefix("SHA256:"))
    for sample in (chestCT, demoCT):
        assert re.fullmatch(r"SHA256:[0-9a-f]{64}", sample["checksums"])
        assert sample["uris"].startswith("https://") and sample["fileNames"].endswith(".nrrd")
