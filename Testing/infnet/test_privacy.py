"""What leaves the backend: nothing over the network unasked, no patient's name in any file or message, no stray file.

Each command runs in a process of its own in which asking for the network fails and is noted.
"""

import gzip
import json
import os
import shutil
import subprocess
import sys

import pytest
import SimpleITK as sitk
from phantoms import empty_grid, make_chest, write_dicom_series
from toyslices import make_slices

pydicom = pytest.importorskip("pydicom", reason="pydicom is not installed (infnet[dicom])")

PATIENT = {
    "PatientName": "Plantagenet^Zebedee",
    "PatientID": "PID-471147",
    "PatientBirthDate": "19371231",
    "PatientAddress": "Wharf Lane 9",
    "OtherPatientIDs": "OID-882288",
    "AccessionNumber": "ACC-993399",
    "InstitutionName": "Saint Elsewhere",
    "ReferringPhysicianName": "Overdale^Quentin",
    "PatientComments": "Neighbour of Wilhelmina",
}
SECRETS = [part for value in PATIENT.values() for part in value.split("^")]

# A firewall from within: forked processes inherit it, and it cannot be taken out again.
FIREWALL = """
import sys
notes, *arguments = sys.argv[1:]
def refuse(event, details):
    if event in ("socket.connect", "socket.sendto", "socket.getaddrinfo", "socket.gethostbyname", "urllib.Request"):
        with open(notes, "a") as file:
            print(event, details, file=file)
        raise OSError("the test allows no network")
sys.addaudithook(refuse)
from infnet.cli import main
sys.exit(main(arguments))
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("privacy")


@pytest.fixture(scope="module")
def infnet(folder):
    """Runs a command, with home and temporary folders of its own; returns its exit status and what it said."""
    places = {name: folder / "system" / name for name in ("HOME", "TMPDIR", "TORCH_HOME", "XDG_CACHE_HOME")}
    for place in places.values():
        place.mkdir(parents=True)
    machines = ("CI", "TF_BUILD", "JENKINS_URL")  # packages that tell of their use tell nothing of these'
    environment = {name: value for name, value in os.environ.items() if name not in machines}
    environment |= {name: str(place) for name, place in places.items()}

    def run(*arguments):
        command = [sys.executable, "-c", FIREWALL, folder / "network.txt", *arguments]
        done = subprocess.run([*map(str, command)], env=environment, capture_output=True, encoding="utf-8", cwd=folder)
        with (folder / "said.txt").open("a", encoding="utf-8") as file:
            file.write(done.stdout + done.stderr)
        return done.returncode, done.stdout + done.stderr

    return run


@pytest.fixture(scope="module")
def series(folder):
    """A DICOM series whose every header names the patient."""
    phantom = make_chest(empty_grid((80, 76, 12), (4.2, 4.2, 18)), noise_hu=0)
    write_dicom_series(phantom.ct, folder / "series")
    for path in (folder / "series").iterdir():
        image = pydicom.dcmread(path)
        for keyword, value in {**PATIENT, "StudyDate": "20200301", "FrameOfReferenceUID": "1.2.3.5"}.items():
            setattr(image, keyword, value)
        image.save_as(path)
    phantom.lungs.SetMetaData("0010|0010", PATIENT["PatientName"])  # as in what some converters write
    sitk.WriteImage(phantom.lungs, folder / "lungs.nrrd")
    return folder / "series"


@pytest.fixture(scope="module")
def outputs(folder, series, infnet):
    """The files of a patient's whole way through the backend."""
    out = folder / "out"
    out.mkdir()
    study, later, lungs = out / "study", out / "later", folder / "lungs.nrrd"
    findings = out / "findings.seg.nrrd"

    def succeed(*arguments):
        status, said = infnet(*arguments)
        assert status == 0, said

    succeed(
        "segment", series, "--study", study, "-o", findings, "--table", out / "t.csv",
        "--probability", out / "p.nii.gz", "--lungs", lungs, "--lobe-source", "zones",
    )  # fmt: skip
    succeed("quantify", series, "--segmentation", findings, "-o", out / "q.json", "--progress", "json")
    shutil.copytree(study, later)
    result = json.loads((later / "result.json").read_text(encoding="utf-8"))
    (later / "result.json").write_text(json.dumps(result | {"case": "later", "date": "2020-03-09"}), encoding="utf-8")
    succeed("compare", study, later, "-o", out / "change")
    for ending in ("html", "pdf"):
        succeed("report", study, "-o", out / f"report.{ending}", "--change", out / "change")
    # A file that cannot be read: what is told of it quotes no header.
    shutil.copytree(series, folder / "damaged")
    path = folder / "damaged/007.dcm"
    path.write_bytes(path.read_bytes()[:-3000])
    assert infnet("segment", folder / "damaged", "-o", out / "none.nrrd")[0] == 3
    return out


def secrets_in(*paths):
    """Which of the patient's data stand in these files, or in the files of these folders, or in their names."""
    files = [file for path in paths for file in ([path] if path.is_file() else path.rglob("*")) if file.is_file()]
    assert files
    text = "\n".join(map(str, files)) + "".join(content(file) for file in files)
    return {secret for secret in SECRETS if secret in text}


def content(path):
    """The text of a file, what is compressed in a PDF or an image's header included."""
    text = path.read_bytes().decode("latin-1")
    if path.suffix == ".pdf":
        pages = pytest.importorskip("pypdf").PdfReader(path)
        text += "".join(page.extract_text() for page in pages.pages) + str(pages.metadata)
    if path.name.endswith(".nii.gz"):
        text += gzip.decompress(path.read_bytes()).decode("latin-1")
    return text


def test_no_command_asks_for_the_network(folder, outputs, infnet):
    make_slices(folder / "slices")
    for name in ("Imgs", "GT"):
        (folder / "slices" / name / "0.png").rename(folder / "slices" / name / "Plantagenet.png")
    status, said = infnet(
        "train", folder / "slices", "-o", folder / "run", "--epochs", 1, "--size", 64, "--batch-size", 3,
        "--encoder-weights", "none", "--device", "cpu",
    )  # fmt: skip
    assert status == 0, said
    assert not (folder / "network.txt").exists(), (folder / "network.txt").read_text()
    assert not secrets_in(folder / "run/model"), "a model is made to be passed on"
    # The other way round: weights that are asked for, which no package has, are noted and refused.
    status, said = infnet("train", folder / "slices", "-o", folder / "asked", "--encoder", "vgg16", "--epochs", 1)
    assert status == 5 and "could not be downloaded" in said
    assert "https://download.pytorch.org" in (folder / "network.txt").read_text()


def test_the_patient_is_named_nowhere(folder, series, outputs, infnet):
    assert not secrets_in(outputs, folder / "said.txt", folder / "system")
    # The search finds them where they are, and where they are asked for.
    assert secrets_in(series) == set(SECRETS)
    assert infnet("dicom", outputs / "study", "--series", series, "-o", folder / "dicom")[0] == 0
    assert secrets_in(folder / "dicom") >= {"Plantagenet", "Zebedee", "PID-471147", "19371231"}


def test_no_temporary_file_is_left(folder, outputs):
    left = [path for path in (folder / "system/TMPDIR").rglob("*") if path.is_file()]
    left += [path for path in outputs.rglob("*") if path.name.startswith(".")]
    assert not left and not (outputs / "none.nrrd").exists()
