"""What the extension's package holds: a file that CMake does not list is silently left out of it."""

import ast
import json
import re
import sys
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

REPOSITORY = Path(__file__).parents[1]
MODULES = ("InfNetSegmentation", "InfNetTraining")
# Bundled with Slicer 5.12, or installed by the PyTorch extension (filelock with torch).
FROM_SLICER = {"filelock", "numpy", "pillow", "pydicom", "scipy", "simpleitk", "torch", "torchvision"}
# Used by the progress bar in a terminal, which no module starts.
ONLY_IN_A_TERMINAL = {"rich"}


def cmakeLists(module):
    """The files named in the module's CMake lists."""
    text = (REPOSITORY / module / "CMakeLists.txt").read_text(encoding="utf-8")
    text = re.sub(r"#.*", "", text)
    scripts = re.search(r"set\(MODULE_PYTHON_SCRIPTS(.*?)\)", text, re.S)[1].split()
    resources = re.search(r"set\(MODULE_PYTHON_RESOURCES(.*?)\)", text, re.S)[1].split()
    return scripts, resources


def filesOnDisk(module):
    folder = REPOSITORY / module
    files = (path.relative_to(folder) for path in folder.rglob("*") if path.is_file())
    return {
        path.as_posix()
        for path in files
        if path.name != "CMakeLists.txt" and "__pycache__" not in path.parts and not path.parts[0].endswith(".egg-info")
    }


@pytest.mark.parametrize("module", MODULES)
def test_cmake_lists_every_file_and_no_other(module):
    scripts, resources = cmakeLists(module)
    listed = scripts + resources
    assert sorted(set(listed)) == sorted(listed), "listed twice"
    assert {name for name in listed if name.endswith(".py")} == set(scripts)
    unlisted = filesOnDisk(module) - set(listed)
    assert not unlisted, "not in CMakeLists.txt:\n  " + "\n  ".join(sorted(unlisted))
    missing = set(listed) - filesOnDisk(module)
    assert not missing, "in CMakeLists.txt but not on disk:\n  " + "\n  ".join(sorted(missing))


def test_no_two_modules_install_a_file_of_the_same_name():
    """Slicer installs all modules of an extension into one folder."""
    first, second = (set().union(*cmakeLists(module)) for module in MODULES)
    assert not first & second


@pytest.mark.parametrize("module", MODULES)
def test_requirements_are_those_of_the_backend(module):
    tomllib = pytest.importorskip("tomllib", reason="reading pyproject.toml needs Python 3.11")
    project = tomllib.loads((REPOSITORY / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    wanted = project["dependencies"]
    if module == "InfNetTraining":
        wanted = wanted + project["optional-dependencies"]["train"]
    leftOut = FROM_SLICER | ONLY_IN_A_TERMINAL
    wanted = {item for item in wanted if re.match(r"[\w-]+", item)[0].lower() not in leftOut}
    lines = (REPOSITORY / module / f"Resources/{module}Requirements.txt").read_text(encoding="utf-8").splitlines()
    assert {line for line in lines if line and not line.startswith("#")} == wanted


def test_the_lock_has_a_version_of_every_package_that_the_tests_install():
    tomllib = pytest.importorskip("tomllib", reason="reading pyproject.toml needs Python 3.11")
    project = tomllib.loads((REPOSITORY / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    extras = project["optional-dependencies"]
    tested = set(re.search(r"\[(.*)\]", extras["dev"][0])[1].split(","))
    lines = (REPOSITORY / "Testing/constraints.txt").read_text(encoding="utf-8").splitlines()
    pins = [Requirement(line) for line in lines if not line.startswith("#")]
    assert all(re.fullmatch(r"==[\w.]+", str(pin.specifier)) and pin.url is None for pin in pins)
    for line in [*project["dependencies"], *extras["dev"][1:], *(item for extra in tested for item in extras[extra])]:
        wanted = Requirement(line)
        versions = [
            str(pin.specifier)[2:] for pin in pins if canonicalize_name(pin.name) == canonicalize_name(wanted.name)
        ]
        assert versions and all(map(wanted.specifier.contains, versions)), f"{line}: locked are {versions}"


def importedPackages(node):
    """The top-level packages that an import statement names; nothing for another node."""
    if isinstance(node, ast.Import):
        return {alias.name.split(".")[0] for alias in node.names}
    if isinstance(node, ast.ImportFrom):
        return {node.module.split(".")[0]}
    return set()


def test_the_terminal_alone_needs_its_packages():
    """They are imported nowhere in the backend but within the class of the progress bar."""
    places = []
    for path in (REPOSITORY / "InfNetSegmentation/infnet").rglob("*.py"):
        for statement in ast.parse(path.read_text(encoding="utf-8")).body:
            names = set().union(*(importedPackages(node) for node in ast.walk(statement)))
            if names & ONLY_IN_A_TERMINAL:
                places.append((path.name, getattr(statement, "name", None)))
    assert places == [("reporting.py", "BarReporter")]


def test_only_modules_of_slicer_are_imported_when_it_starts():
    """No import of the Slicer side needs a package that Slicer does not bundle."""
    allowed = set(sys.stdlib_module_names) | {"slicer", "vtk", "qt", "ctk", "numpy"}
    allowed |= {"InfNetSegmentationLib", "InfNetTrainingLib"}
    for module in MODULES:
        for path in [REPOSITORY / module / f"{module}.py", *(REPOSITORY / module / f"{module}Lib").glob("*.py")]:
            for node in ast.parse(path.read_text(encoding="utf-8")).body:
                foreign = importedPackages(node) - allowed
                assert not foreign, f"{path.name} imports {foreign} at start-up"


def test_catalogue_entry_names_the_project():
    entry = json.loads((REPOSITORY / "Resources/InfNet.json").read_text(encoding="utf-8"))
    text = (REPOSITORY / "CMakeLists.txt").read_text(encoding="utf-8")
    assert re.search(r"project\((\w+)\)", text)[1] == "InfNet"
    homepage = re.search(r'EXTENSION_HOMEPAGE "(.*)"', text)[1]
    assert entry["scm_url"] == homepage + ".git"
    pictures = re.findall(homepage.replace("github", "raw.githubusercontent") + r"/main/(\S+\.png)", text)
    assert len(pictures) == text.count("raw.githubusercontent.com") == 2, "the icon and a screenshot"
    assert all((REPOSITORY / picture).is_file() for picture in pictures)
    assert [*entry["build_dependencies"]] == re.search(r'EXTENSION_DEPENDS "(.*)"', text)[1].split()
