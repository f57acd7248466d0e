"""Bad inputs through the real commands: what each is told and how it ends (docs/faults.md has the list)."""

import errno
import gzip
import hashlib
import json
import os
import pickle
import random
import subprocess
import sys
from dataclasses import asdict
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk
import torch
from fuzztargets import TARGETS
from infnet import cli, commands
from infnet.data.labelled_slices import read_labelled_slices
from infnet.data.listing import read_rows
from infnet.data.segmentations import write_segmentation
from infnet.data.volumes import read_ct, read_image, write_image
from infnet.errors import InputError, InvalidModelError, UnreadableImageError
from infnet.networks import NETWORKS, build_network
from infnet.quantification.label_images import read_findings
from infnet.report.change import read_change
from infnet.reporting import silent
from infnet.training.checkpoints import Checkpoints
from infnet.weights.cards import ModelCard
from infnet.weights.store import load_model, save_model
from phantoms import DIRECTIONS, empty_grid, make_chest, write_dicom_series
from PIL import Image
from test_faulty_outputs import ENVIRONMENT, obey_file_modes
from tinynetwork import TINY
from toyslices import make_slices

voxels = sitk.GetArrayFromImage

NIFTI_HEADER = np.dtype(
    ",".join(
        ("i4,S10,S18,i4,i2,S1,S1,8i2,3f4,4i2,8f4,3f4,i2,S1,S1,4f4,2i4", "S80,S24,2i2,6f4,12f4,S16,S4")  # nifti1.h
    )
)


@pytest.fixture(scope="module")
def ct():
    return make_chest(empty_grid((40, 36, 26), (9, 9, 8)), noise_hu=0).ct


@pytest.fixture
def series(ct, tmp_path):
    write_dicom_series(ct, tmp_path / "series")
    return tmp_path / "series"


@pytest.fixture
def tell(tmp_path, capsys):
    """Runs a command with an output in an empty folder; returns exit status, last event, and what is in the folder."""
    outputs = tmp_path / "outputs"
    outputs.mkdir()

    def run(command, path, *arguments):
        arguments = [*arguments, "-o", outputs / "out.nrrd", "--progress", "json"]
        status = cli.main([command, str(path), *map(str, arguments)])
        event = json.loads(capsys.readouterr().out.splitlines()[-1])
        return status, event, [path.name for path in outputs.iterdir()]

    return run


def refused(answer, status, code, *words):
    """Asserts that a command ended like this, in one line with these words, and wrote nothing."""
    assert (answer[0], answer[1]["code"], answer[2]) == (status, code, []), answer
    assert all(word in answer[1]["message"] for word in words), answer[1]["message"]
    assert "\n" not in answer[1]["message"]


# Files that are damaged ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("ending", [".nrrd", ".nii", ".nii.gz", ".mha", ".dcm"])
def test_an_empty_file_is_told(tmp_path, tell, ending):
    path = tmp_path / f"ct{ending}"
    path.touch()
    refused(tell("lungs", path), 3, "unreadable-image", f"{path} is empty", "copy")


def test_an_empty_argument_is_not_the_folder_one_is_in(capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit):
        cli.main(["segment", "ct.nrrd", "--study", ""])
    assert "one of the arguments is empty" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs a file that is always full")
@pytest.mark.parametrize("progress", ["bar", "json"])
def test_a_standard_output_that_takes_nothing_is_told(progress):
    command = [sys.executable, "-m", "infnet", "models", "--progress", progress]
    with Path("/dev/full").open("w") as full:
        done = subprocess.run(command, stdout=full, stderr=subprocess.PIPE, encoding="utf-8", check=False)
    assert done.returncode == 7
    told = "infnet: The standard output cannot be written to (No space left on device).\n"
    assert done.stderr == (told if progress == "bar" else "")  # JSON has nowhere else to go


def test_a_disk_that_is_full_where_nobody_looks_is_told(monkeypatch, capsys):
    """As when a library writes its own log: the error names no file."""

    def write(options, reporter):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(commands.models, "run", write)
    assert cli.main(["models"]) == 7
    assert capsys.readouterr().err == "infnet: No space left on device: free some of the disk, then run this again.\n"


@pytest.mark.parametrize("ending", [".nrrd", ".mha", ".nii.gz"])
def test_a_wrong_bit_in_compressed_voxels_is_found(ct, tmp_path, ending):
    """ITK alone reads some of them as other voxels, without a word."""
    path = tmp_path / f"ct{ending}"
    write_image(ct, path)
    data, chance = path.read_bytes(), random.Random(1)
    start = {".nrrd": data.find(b"\n\n") + 2, ".mha": data.find(b"LOCAL") + 6, ".nii.gz": 20}[ending]
    refusals = 0
    for _ in range(60):
        changed = bytearray(data)
        changed[chance.randrange(start, len(data))] ^= 1 << chance.randrange(8)
        path.write_bytes(changed)
        try:
            image, _ = read_ct(path)
        except UnreadableImageError as error:
            assert "copy or export it again" in str(error)
            refusals += 1
        else:  # a bit that fills up a byte
            assert np.array_equal(voxels(image), voxels(ct).clip(-1024))
    assert refusals > 50


@pytest.mark.parametrize("count", [b"0", b"-1", b"6", b"4294967296"])
def test_a_metaimage_of_no_number_of_dimensions_is_refused(ct, tmp_path, count):
    """ITK ends the process."""
    path = tmp_path / "ct.mha"
    write_image(ct, path)
    path.write_bytes(path.read_bytes().replace(b"NDims = 3", b"NDims = " + count))
    with pytest.raises(UnreadableImageError, match="number of dimensions"):
        read_ct(path)


@pytest.mark.skipif(sys.platform != "linux", reason="needs a file system that does not store what was never written")
def test_an_image_larger_than_the_memory_is_told(tmp_path, tell):
    header = "NRRD0004\ntype: short\ndimension: 3\nsizes: 100000 100000 200\nencoding: raw\nendian: little\n\n"
    (tmp_path / "ct.nrrd").write_bytes(header.encode())
    os.truncate(tmp_path / "ct.nrrd", len(header) + 2 * 100_000 * 100_000 * 200)
    refused(tell("lungs", tmp_path / "ct.nrrd"), 6, "out-of-memory", "ct.nrrd", "crop the CT")


@pytest.mark.skipif(sys.platform != "linux", reason="asks for the memory used as Linux tells it")
def test_memory_that_runs_out_in_the_work_is_told(tmp_path):
    image = make_chest(empty_grid((200, 200, 80), (1.7, 1.7, 3)), noise_hu=0).ct
    write_image(image, tmp_path / "ct.nrrd")
    program = """
import resource, sys
import infnet.anatomy.lungs, infnet.commands.regions, infnet.data.volumes
import SimpleITK as sitk
from infnet.cli import main
sitk.Median(sitk.Image([64, 64, 64], sitk.sitkInt16))  # ITK's threads are there: they too would count
(line,) = [line for line in open("/proc/self/status") if line.startswith("VmSize")]
limit = int(line.split()[1]) * 1024 + (20 << 20)
resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
sys.exit(main(sys.argv[1:]))
"""
    paths = [str(Path(cli.__file__).parents[1]), os.environ.get("PYTHONPATH", "")]
    done = subprocess.run(
        [sys.executable, "-c", program, "lungs", "ct.nrrd", "-o", "out.nrrd", "--progress", "json"],
        cwd=tmp_path, capture_output=True, encoding="utf-8", check=False,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(paths)},
    )  # fmt: skip
    assert done.returncode == 6, done.stderr
    event = json.loads(done.stdout.splitlines()[-1])
    assert event["code"] == "out-of-memory" and "close other programs" in event["message"]
    assert [path.name for path in tmp_path.iterdir()] == ["ct.nrrd"]


def test_voxels_compressed_in_several_pieces_are_whole(tmp_path):
    """As programs write them that compress side by side; ITK reads such files."""
    values = np.arange(8000, dtype="<i2")
    header = b"NRRD0004\ntype: short\ndimension: 3\nsizes: 20 20 20\nendian: little\nencoding: gzip\n\n"
    pieces = [gzip.compress(part.tobytes()) for part in np.split(values, [3000, 5000])]
    path = tmp_path / "ct.nrrd"
    path.write_bytes(header + b"".join(pieces))
    assert np.array_equal(voxels(read_image(path)).ravel(), values)
    for broken in (header + b"".join(pieces[:2]), (header + b"".join(pieces))[:-4]):
        path.write_bytes(broken)
        with pytest.raises(UnreadableImageError, match="truncated"):
            read_image(path)


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="has no pipes with a name")
def test_what_is_no_file_is_not_waited_for(tmp_path, tell):
    os.mkfifo(tmp_path / "pipe.nrrd")
    refused(tell("lungs", tmp_path / "pipe.nrrd"), 3, "input", "pipe.nrrd: a pipe or a device")


@pytest.mark.parametrize("name", ["x" * 300 + ".nrrd", "not utf-8 \udcff.nrrd"])
def test_names_that_no_file_can_have_are_told(tmp_path, tell, name):
    """Of a name that is not in UTF-8, ITK ends the process."""
    with pytest.raises(InputError, match=r"File name too long|not in UTF-8; rename it"):  # of a list of cases, say
        read_ct(tmp_path / name)
    refused(tell("lungs", tmp_path / name), 3, "input", str(tmp_path))


@pytest.mark.parametrize("command", ["lungs", "segment"])
def test_links_in_a_circle_are_told(ct, tmp_path, capsys, command):
    whole, circle = tmp_path / "ct.nrrd", tmp_path / "circle.nrrd"
    sitk.WriteImage(ct, whole)
    circle.symlink_to(circle)
    for given, output, status in ((circle, tmp_path / "out.nrrd", 3), (whole, circle, 7)):
        assert cli.main([command, str(given), "-o", str(output), "--progress", "json"]) == status
        assert "circle.nrrd" in json.loads(capsys.readouterr().out.splitlines()[-1])["message"]


@pytest.mark.parametrize("command", [("segment", "--cases"), ("report",), ("predict",), ("convert-checkpoint",)])
def test_a_name_that_no_file_can_have_is_told_by_every_command(tmp_path, capsys, command):
    name = str(tmp_path / ("x" * 300))
    assert cli.main([*command, name, "-o", str(tmp_path / "out.html"), "--progress", "json"]) in (3, 5, 7)
    event = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert event["event"] == "error" and "x" * 300 in event["message"] and not list(tmp_path.iterdir())


def paths_of_commands():
    """Each argument of each command that is a path, and the command with all others that it needs."""
    (commands,) = (action.choices for action in cli.build_parser()._actions if isinstance(action.choices, dict))
    found = []
    for command, parser in commands.items():
        for one in parser._actions:
            if one.type is Path and one.dest != "stop_file":
                others = [other for other in parser._actions if other is not one and other.required]
                words = [word for other in others for word in (*other.option_strings[-1:], "x=missing")]
                found.append(pytest.param([command, *words], one, id=f"{command} {one.dest}"))
    return found


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="has no pipes with a name")
@pytest.mark.parametrize(("command", "argument"), paths_of_commands())
def test_no_argument_of_any_command_is_a_pipe_or_a_name_that_no_file_can_have(command, argument, tmp_path, capsys):
    os.mkfifo(tmp_path / "pipe.nrrd")
    (tmp_path / "zeros.nrrd").symlink_to("/dev/zero")
    for name, told in (("pipe", "a pipe or a device"), ("zeros", "a pipe or a device"), ("\udcff", "not in UTF-8")):
        path = str(tmp_path / f"{name}.nrrd")
        given = [*argument.option_strings[-1:], path]
        # A positional argument that comes first takes the word; those after it are missing files.
        words = [command[0], *given, *command[1:]] if not argument.option_strings else [*command, *given]
        assert cli.main([*words, "--progress", "json"]) in (3, 7)
        event = json.loads(capsys.readouterr().out.splitlines()[-1])
        assert event["code"] in ("input", "output") and path in event["message"] and told in event["message"]


@pytest.mark.parametrize(
    "command",
    [
        ("compare", "x"),
        ("predict", "x"),
        ("prepare", "x"),
        ("dicom", "x", "--series", "x"),
        ("train", "x"),
        ("cross-validate", "x"),
        ("semi-supervised", "x", "x"),
        ("convert-checkpoint", "x"),
    ],
)
def test_a_folder_that_cannot_be_is_told_before_the_work(tmp_path, capsys, command):
    """Before what is to be read is looked at: it is not there."""
    (tmp_path / "file").touch()
    assert cli.main([*command, "-o", str(tmp_path / "file/run"), "--progress", "json"]) == 7
    (event,) = map(json.loads, capsys.readouterr().out.splitlines())
    assert event["code"] == "output" and f"{tmp_path / 'file'} is a file; name a folder" in event["message"]


def test_a_picture_that_is_none_is_told_by_the_commands_that_read_it(tmp_path, toy_slices, capsys):
    (toy_slices / "Imgs/3.png").write_bytes(b"no picture")
    given = str(toy_slices / "Imgs")
    for command in (["evaluate", given, str(toy_slices / "GT")], ["predict", given], ["train", str(toy_slices)]):
        output = [] if command[0] == "evaluate" else ["-o", str(tmp_path / "out")]
        assert cli.main([*command, *output, "--progress", "json"]) == 3
        event = json.loads(capsys.readouterr().out.splitlines()[-1])
        assert event["event"] == "error" and "3.png" in event["message"] and not (tmp_path / "out").exists()


@pytest.mark.skipif(sys.platform != "linux", reason="needs a file system that takes any bytes for a name")
def test_a_picture_whose_name_is_not_in_utf_8_is_told(tmp_path, toy_slices, capsys):
    for folder in ("Imgs", "GT"):
        (toy_slices / folder / "3.png").rename(toy_slices / folder / os.fsdecode(b"M\xfcller.png"))  # in Latin 1
    command = ["train", str(toy_slices), "-o", str(tmp_path / "run"), "--network", "inf-net", "--device", "cpu"]
    command += ["--encoder", "efficientnet_lite0", "--encoder-weights", "none", "--progress", "json"]
    assert cli.main(command) == 3
    event = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert "not in UTF-8; rename it" in event["message"] and "ller" in event["message"]


def test_a_training_that_diverges_has_a_status_of_its_own(tmp_path, toy_slices, monkeypatch, capsys):
    monkeypatch.setitem(NETWORKS, "tiny", TINY)
    command = ["train", str(toy_slices), "-o", str(tmp_path / "run"), "--network", "tiny", "--device", "cpu"]
    command += ["--size", "64", "--scales", "1", "--batch-size", "3", "--epochs", "9", "--optimizer", "sgd"]
    assert cli.main([*command, "--schedule", "constant", "--learning-rate", "1e30", "--progress", "json"]) == 9
    assert json.loads(capsys.readouterr().out.splitlines()[-1])["code"] == "diverged"


@pytest.mark.parametrize("package", ["lightning", "py_sod_metrics"])
@pytest.mark.parametrize("command", ["train", "cross-validate", "semi-supervised"])
def test_a_package_that_training_lacks_is_named(tmp_path, toy_slices, monkeypatch, capsys, command, package):
    monkeypatch.setitem(sys.modules, package, None)
    unlabelled = [str(toy_slices)] if command == "semi-supervised" else []
    arguments = [command, str(toy_slices), *unlabelled, "-o", str(tmp_path / "run"), "--progress", "json"]
    assert cli.main(arguments) == 8
    error = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert error["code"] == "missing-package" and package in error["message"] and "pip install" in error["message"]
    assert not (tmp_path / "run").exists()


def test_a_library_that_does_not_name_the_file_is_quoted(monkeypatch, capsys):
    def read(options, reporter):
        raise OSError("broken data stream when reading image file")

    monkeypatch.setattr(commands.models, "run", read)
    assert cli.main(["models"]) == 3
    assert capsys.readouterr().err == "infnet: A file cannot be used (broken data stream when reading image file).\n"


@pytest.mark.parametrize(
    "damage",
    [
        lambda values: "[" * 100_000,
        lambda values: json.dumps([values]),
        lambda values: json.dumps({**values, "recipe": 3}),
        lambda values: json.dumps({**values, "recipe": None}),
        lambda values: json.dumps({**values, "calibration": {"temperature": 0, "offset": 0}}),
        lambda values: json.dumps({**values, "calibration": {"temperature": 10**400, "offset": 0}}),
        lambda values: json.dumps({**values, "calibration": {"temperature": 1, "offset": None}}),
        lambda values: json.dumps({**values, "calibration": {"temperature": "1", "offset": 0}}),
    ],
)
def test_damaged_metrics_are_refused_before_the_training(tmp_path, toy_slices, capsys, damage):
    values = {"command": "c", "folds": 5, "seed": 0, "metrics": {}, "recipe": {}}
    (tmp_path / "metrics.json").write_text(damage(values))
    command = ["train", str(toy_slices), "-o", str(tmp_path / "run"), "--metrics", str(tmp_path / "metrics.json")]
    assert cli.main([*command, "--calibrate", "--progress", "json"]) == 3
    event = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert "metrics.json: not the metrics.json of infnet cross-validate" in event["message"]
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("progress", ["bar", "json"])
def test_an_error_that_quotes_several_lines_is_one_line(tmp_path, capsys, progress):
    """The quotation mark that nothing ends makes one column of the whole list. Found by fuzzing."""
    (tmp_path / "cases.csv").write_text('",case\na.nrrd,one\n')
    command = ["segment", "--cases", str(tmp_path / "cases.csv"), "-o", str(tmp_path / "out"), "--progress", progress]
    assert cli.main(command) == 3
    told = capsys.readouterr()
    (line,) = (told.out if progress == "json" else told.err).splitlines()
    assert "cases.csv: has the columns ,case a.nrrd,one" in line


# Folders of DICOM slices ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("content", [bytes(5000), b"no DICOM"])
def test_a_slice_that_was_overwritten_is_not_left_out(series, tell, content):
    """As after a power cut, with zeros; at the end of the series nothing would tell of that."""
    (series / "025.dcm").write_bytes(content)
    refused(tell("lungs", series), 3, "unreadable-image", "1 DICOM slices are empty or damaged (025.dcm)")


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="has no pipes with a name")
@pytest.mark.parametrize("kind", ["pipe", "link to nothing", "link to itself"])
def test_what_is_no_file_among_dicom_slices_is_named(series, tell, kind):
    """ITK leaves out other slices, which are whole."""
    if kind == "pipe":
        os.mkfifo(series / "zzz.dcm")
    else:
        (series / "zzz.dcm").symlink_to("zzz.dcm" if kind == "link to itself" else "nowhere")
    refused(tell("lungs", series), 3, "unreadable-image", "zzz.dcm is a link to nothing, a pipe or a device; take it")


@pytest.mark.skipif(sys.platform != "linux", reason="gives up a right of root as Linux has it")
def test_a_slice_that_may_not_be_read_is_named(series, tmp_path):
    (series / "005.dcm").chmod(0)
    command = [sys.executable, "-m", "infnet", "lungs", series, "-o", tmp_path / "out.nrrd"]
    done = subprocess.run(
        command, capture_output=True, encoding="utf-8", env=ENVIRONMENT, preexec_fn=obey_file_modes, check=False
    )
    told = f"infnet: {series / '005.dcm'}: cannot be read (Permission denied); mend or remove it."
    assert (done.returncode, done.stderr.splitlines()[-1]) == (3, told)


@pytest.mark.parametrize("number", [5, 25])
@pytest.mark.parametrize("kept", [0, 300, 0.5, 0.999])
def test_damaged_dicom_slices_are_refused_and_not_left_out(series, tell, number, kept):
    """ITK leaves them out; at the end of the series nothing would tell of that."""
    path = series / f"{number:03}.dcm"
    data = path.read_bytes()
    path.write_bytes(data[: int(kept * len(data)) if kept < 1 else kept])
    refused(tell("lungs", series), 3, "unreadable-image", "1 DICOM slices are empty or damaged", path.name, "copy")
    path.unlink()  # the remedy
    assert tell("lungs", series)[0] == 0


@pytest.mark.parametrize("position", [b"east", b"nan ", b"1\\2 ", b"1e999"])
def test_a_slice_with_a_damaged_position_is_refused(ct, series, tell, position):
    path = series / "005.dcm"
    data = path.read_bytes()
    start = data.index(b"\x20\x00\x32\x00") + 8  # Image Position (Patient), in the implicit little-endian encoding
    length = int.from_bytes(data[start - 4 : start], "little")
    path.write_bytes(data[:start] + position.ljust(length) + data[start + length :])
    refused(tell("lungs", series), 3, "unreadable-image", "damaged", str(series))


def test_other_files_beside_dicom_slices_do_not_matter(series, tell):
    for name in ("DICOMDIR", "notes.txt", "viewer.exe"):
        (series / name).write_bytes(b"something else")
    (series / "report").mkdir()
    assert tell("lungs", series)[0] == 0


def test_a_slice_that_is_turned_against_the_others_is_refused(series, tmp_path, tell):
    sagittal = make_chest(empty_grid((40, 36, 26), (9, 9, 8), DIRECTIONS["sagittal"]), noise_hu=0).ct
    write_dicom_series(sagittal, tmp_path / "other")
    (series / "005.dcm").write_bytes((tmp_path / "other/005.dcm").read_bytes())
    refused(tell("lungs", series), 3, "geometry", "005.dcm: turned against the other slices", "folder of their own")


def test_slices_of_several_sizes_are_refused(series, tmp_path, tell):
    write_dicom_series(make_chest(empty_grid((20, 18, 26), (18, 18, 8)), noise_hu=0).ct, tmp_path / "other")
    (series / "005.dcm").write_bytes((tmp_path / "other/005.dcm").read_bytes())
    refused(tell("lungs", series), 3, "unreadable-image", "several sizes", "folder of their own")


# Voxels --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("pixel_type", "fraction"), [(sitk.sitkInt32, 0), (sitk.sitkInt64, 0), (sitk.sitkFloat64, 0.25)]
)
def test_wide_numbers_are_read(ct, tmp_path, pixel_type, fraction):
    write_image(sitk.Cast(ct, pixel_type) + fraction, tmp_path / "ct.nrrd")
    image, _ = read_ct(tmp_path / "ct.nrrd")
    assert np.array_equal(voxels(image), (voxels(ct) + fraction).clip(-1024))


@pytest.mark.parametrize("ending", [".nrrd", ".mha", ".nii"])
def test_big_endian_files_are_read(ct, tmp_path, ending):
    path = tmp_path / f"ct{ending}"
    sitk.WriteImage(ct, path)
    data, big = path.read_bytes(), voxels(ct).astype(">i2").tobytes()
    header = data[: -len(big)]
    if ending == ".nii":  # a struct (nifti1.h): its fields are turned one by one
        header = np.frombuffer(header, NIFTI_HEADER, 1).byteswap().tobytes() + header[NIFTI_HEADER.itemsize :]
    path.write_bytes(header.replace(b"little", b"big").replace(b"MSB = False", b"MSB = True") + big)
    image, _ = read_ct(path)
    assert np.array_equal(voxels(image), voxels(ct).clip(-1024))


def test_complex_voxels_are_refused(ct, tmp_path, tell):
    sitk.WriteImage(sitk.Cast(ct, sitk.sitkComplexFloat32), tmp_path / "ct.nrrd")
    refused(tell("lungs", tmp_path / "ct.nrrd"), 3, "not-a-volume", "one value a voxel")


@pytest.mark.parametrize("size", [(1, 1, 1), (1, 40, 40), (40, 1, 40)])
def test_a_voxel_and_a_slice_are_refused(tmp_path, tell, size):
    sitk.WriteImage(sitk.Image(size, sitk.sitkInt16) - 700, tmp_path / "ct.nrrd")
    refused(tell("lungs", tmp_path / "ct.nrrd"), 3, "not-a-volume", "a single slice")


def test_eight_voxels_have_no_lung(tmp_path, tell):
    sitk.WriteImage(sitk.GetImageFromArray(np.array([-1000, 40] * 4, np.int16).reshape(2, 2, 2)), tmp_path / "ct.nrrd")
    refused(tell("lungs", tmp_path / "ct.nrrd"), 4, "no-lung", "ct.nrrd")


def test_slices_of_2048_pixels(tmp_path, tell):
    chest = make_chest(empty_grid((64, 64, 3), (5.12, 5.12, 60)), noise_hu=0)
    large = sitk.Expand(chest.ct, (32, 32, 1), sitk.sitkNearestNeighbor)
    sitk.WriteImage(large, tmp_path / "ct.nrrd")
    status, event, files = tell("lungs", tmp_path / "ct.nrrd")
    assert status == 0 and files == ["out.nrrd"] and large.GetSize() == (2048, 2048, 3)
    voxel_ml = np.prod(chest.ct.GetSpacing()) / 1000
    truth_ml = np.count_nonzero(voxels(chest.lungs) == 1) * voxel_ml
    assert event["volumes_ml"]["right lung"] == pytest.approx(truth_ml, rel=0.1)


def test_who_insists_gets_an_image_without_hounsfield_units_taken_as_it_is(ct, tmp_path, tell):
    """A CT of 12 bits whose range was cut at the top, as a window does: water is missing from it."""
    cut = sitk.Clamp(ct, upperBound=-20)
    sitk.WriteImage(cut, tmp_path / "ct.nrrd")
    refused(tell("lungs", tmp_path / "ct.nrrd"), 3, "intensity", "not Hounsfield units", "--trust-hu")
    status, event, _ = tell("lungs", tmp_path / "ct.nrrd", "--trust-hu")
    assert status == 0 and any("do not rely on the result" in warning for warning in event["warnings"])


@pytest.mark.parametrize(
    ("before", "after", "told"),
    [
        (b"Segment0_Layer:=0", b"Segment0_Layer:=7", "no such layer"),
        (b"Segment0_Layer:=0", b"Segment0_Layer:=x", "no such layer"),
        (b"Segment0_LabelValue:=1", b"Segment0_LabelValue:=", "no such layer or label"),
        (b"Segment0_Layer", b"Segment0_\xff", None),
    ],
)
def test_a_segmentation_with_a_damaged_header_is_refused(tmp_path, before, after, told):
    chest = make_chest(empty_grid((20, 18, 12), (16, 16, 20)))
    path = tmp_path / "s.seg.nrrd"
    write_segmentation(chest.findings, path, {})
    data = path.read_bytes()
    assert before in data
    path.write_bytes(data.replace(before, after))
    if told is None:  # what is not known is left alone
        assert np.array_equal(voxels(read_findings(path, chest.ct)), voxels(chest.findings))
    else:
        with pytest.raises(InputError, match=told):
            read_findings(path, chest.ct)


# Models --------------------------------------------------------------------------------------------------------------


@pytest.fixture
def model(tmp_path, monkeypatch):
    """A folder with a tiny model that finds infection and tells consolidation, and its card as a dictionary."""
    monkeypatch.setitem(NETWORKS, "tiny", TINY)
    network = {"name": "tiny", "options": {"consolidation_head": True}}
    folder = tmp_path / "model"
    card = ModelCard("tiny", "infection", "", network, 64, "")
    return folder, asdict(save_model(folder, card, build_network(network["name"], network["options"])))


@pytest.fixture
def segment(ct, model, tmp_path, tell):
    sitk.WriteImage(ct, tmp_path / "ct.nrrd")
    arguments = ("--model", model[0], "--lobe-source", "none", "--runtime", "eager", "--device", "cpu")
    return lambda: tell("segment", tmp_path / "ct.nrrd", *arguments)


def rewrite(folder, card, **changes):
    (folder / "tiny.json").write_text(json.dumps(card | changes))


def test_a_whole_model_segments(segment):
    assert segment()[0] == 0


def test_weights_of_another_model_are_refused(model, segment):
    folder, card = model
    other = save_model(folder / "other", ModelCard(**card), build_network("tiny", {"consolidation_head": True}))
    (folder / "tiny.safetensors").write_bytes((folder / "other/tiny.safetensors").read_bytes())
    assert other.sha256 != card["sha256"]
    refused(
        segment(), 5, "invalid-model", "tiny.safetensors: not the weights that tiny.json describes", "get both again"
    )


class Malware:
    def __init__(self, marker):
        self.marker = marker

    def __reduce__(self):
        return Path.touch, (self.marker,)


@pytest.mark.parametrize("name", ["tiny.safetensors", "malware.pt"])
def test_a_pickle_is_never_run(model, tmp_path, tell, name):
    """Even where the card vouches for it."""
    folder, card = model
    data = pickle.dumps(Malware(tmp_path / "it ran"))
    (folder / name).write_bytes(data)
    rewrite(folder, card, sha256=hashlib.sha256(data).hexdigest())
    sitk.WriteImage(make_chest(empty_grid((20, 18, 12), (16, 16, 20))).ct, tmp_path / "ct.nrrd")
    refused(tell("segment", tmp_path / "ct.nrrd", "--model", folder / name), 5, "invalid-model")
    assert not (tmp_path / "it ran").exists()


@pytest.mark.parametrize(
    "changes",
    [
        {"task": "everything"},
        {"input_size": 10**9},
        {"input_size": "64"},
        {"threshold": None},
        {"threshold": 1e308},
        {"temperature": 0},
        {"offset": float("nan")},
        {"window": [250, -1100]},
        {"window": 3},
        {"network": []},
        {"network": {"name": "tiny", "options": [1]}},
        {"gate_threshold": "high"},
        {"name": None},
        {"metrics": None},
    ],
)
def test_a_card_with_impossible_values_is_refused(model, changes):
    folder, card = model
    rewrite(folder, card, **changes)
    with pytest.raises(InvalidModelError, match=r"tiny\.json: not a model card"):
        load_model(str(folder))


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="has no pipes with a name")
def test_a_pipe_in_the_place_of_a_card_is_not_waited_for(model):
    (model[0] / "tiny.json").unlink()
    os.mkfifo(model[0] / "tiny.json")
    with pytest.raises(InvalidModelError, match=r"tiny\.json: not a model card \(.*a pipe or a device"):
        load_model(str(model[0]))


@pytest.mark.parametrize("text", ["[" * 100_000, '{"a":' * 100_000])
def test_a_card_nested_too_deeply_is_refused(model, text):
    (model[0] / "tiny.json").write_text(text)
    with pytest.raises(InvalidModelError, match="nested too deeply"):
        load_model(str(model[0]))


def test_a_card_that_asks_for_a_huge_network_takes_no_memory(model):
    """2 million channels, where the weights have 4: told before a byte of that is allocated."""
    folder, card = model
    network = {"name": "infection-guided-unet", "options": {"base_channels": 2_000_000}}
    rewrite(folder, card, task="findings", network=network)
    with pytest.raises(InvalidModelError, match=r"does not fit the network .*in loading state_dict"):
        load_model(str(folder))


def test_a_study_with_impossible_values_is_refused(tmp_path):
    from infnet.quantification.measurements import Row
    from infnet.quantification.study import read_study

    total = dict.fromkeys(Row.__annotations__) | {"region": "total"}
    values = {"schema": "infnet-result/1", "case": "a", "ct": "ct.nrrd", "severity": None, "sources": {}}
    values |= {"provenance": {}, "warnings": [], "seconds": {}, "table": [total]}
    (tmp_path / "result.json").write_text(json.dumps(values))
    assert read_study(tmp_path).case == "a"
    for name, value in (
        *{"table": [1], "warnings": [1], "case": 3, "date": 2020, "provenance": "x", "ct": None}.items(),
        ("table", []),
        ("table", [total | {"volume_ml": float("nan")}]),
        ("table", [total | {"volume_ml": 10**400}]),
        ("severity", [3]),
        ("seconds", {"read": "x"}),
        ("date", "yesterday"),
        ("sources", {"lobes": []}),
        ("provenance", {"infection_weights_sha256": [1]}),
        ("provenance", {"threshold": "high"}),
        ("provenance", {"mirror_images": [4]}),
        ("case", "\ud800"),
    ):
        (tmp_path / "result.json").write_text(json.dumps(values | {name: value}))
        with pytest.raises(InputError, match=r"result\.json: damaged"):
            read_study(tmp_path)
    (tmp_path / "result.json").write_text("[" * 100_000)
    with pytest.raises(InputError, match="nested too deeply"):
        read_study(tmp_path)


# Folders and files that other modules read ---------------------------------------------------------------------------


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="has no pipes with a name")
def test_a_pipe_in_a_folder_is_not_waited_for(model, toy_slices, tmp_path, tell):
    os.mkfifo(toy_slices / "Imgs/9.png")
    refused(tell("predict", toy_slices / "Imgs"), 3, "input", "9.png: a folder, a link to nothing, a pipe or a device")
    (model[0] / "tiny.safetensors").unlink()
    os.mkfifo(model[0] / "tiny.safetensors")
    with pytest.raises(InvalidModelError, match=r"tiny\.safetensors: No such file"):
        load_model(str(model[0]))


@pytest.mark.skipif(sys.platform != "linux", reason="gives up a right of root as Linux has it")
@pytest.mark.parametrize("ending", [".nrrd", ".nii.gz", ".dcm", ""])
def test_a_file_that_may_not_be_read_is_told(tmp_path, ending):
    """ITK says that there is none."""
    (tmp_path / f"ct{ending}").write_bytes(b"content")
    (tmp_path / f"ct{ending}").chmod(0)
    command = [sys.executable, "-m", "infnet", "lungs", tmp_path / f"ct{ending}", "-o", tmp_path / "out.nrrd"]
    done = subprocess.run(
        command, capture_output=True, encoding="utf-8", env=ENVIRONMENT, preexec_fn=obey_file_modes, check=False
    )
    told = f"infnet: {tmp_path / f'ct{ending}'}: cannot be read (Permission denied).\n"
    assert (done.returncode, done.stderr) == (3, told)


def test_the_checkpoint_before_a_damaged_one_is_found(tmp_path):
    parts = ("pytorch-lightning_version", "global_step", "state_dict", "initial_weights", "seconds")
    for step in (1, 2):
        torch.save(dict.fromkeys(parts, step), tmp_path / f"step-0000000{step}.ckpt")
    data = (tmp_path / "step-00000002.ckpt").read_bytes()
    checkpoints = Checkpoints(tmp_path, 0, silent, "toy")
    for damaged in (b"", data[:100], data[:-100], b"\1" + data[1:]):  # the last: an IndexError of pickle
        (tmp_path / "step-00000002.ckpt").write_bytes(damaged)
        assert checkpoints.newest()[1]["global_step"] == 1
    for other in ({"state_dict": 2, "global_step": 2}, list(parts), torch.zeros(())):
        torch.save(other, tmp_path / "step-00000002.ckpt")
        assert checkpoints.newest()[1]["global_step"] == 1
    (tmp_path / "step-00000001.ckpt").unlink()
    with pytest.raises(InputError, match=r"can be read \(step-00000002\.ckpt\); remove them to begin again"):
        checkpoints.newest()


@pytest.mark.parametrize(
    "damage",
    [
        {"mean": None},
        {"mean": {"dice": ""}},
        {"mean": {"dice": []}},
        {"with_finding": {"count": 1}},
        {"mean": {"dice": 10**400}},
    ],
)
def test_an_evaluation_with_impossible_values_is_refused(tmp_path, capsys, damage):
    values = {"mean": {"dice": 0.5}, "with_finding": None, "protocol": "threshold", "threshold": 0.5, "class": None}
    path = tmp_path / "e.json"
    for changes, status in (({}, 0), (damage, 3)):
        path.write_text(json.dumps({**values, "images": {}, **changes}))
        assert cli.main(["evaluate-table", f"m={path}", "--with-finding", "--progress", "json"]) == status
    event = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert "e.json: not a file of infnet evaluate --json" in event["message"]


def test_a_dicom_segmentation_that_is_cut_in_an_element_is_refused(tmp_path):
    """Found by fuzzing: a struct.error of pydicom."""
    TARGETS["dicom segmentation"]().check([("truncate", 0.5620400505575266, b"")], tmp_path)


def test_a_comparison_with_impossible_values_is_refused(tmp_path):
    """Found by fuzzing: an AttributeError."""
    values = {"schema": "infnet-change/1", "studies": [], "changes": [], "warnings": []}
    maps = [{"earlier": "a", "later": "b", "ml": None}]
    (tmp_path / "change.json").write_text(json.dumps({**values, "maps": maps}))
    (tmp_path / "change.png").write_bytes(b"png")
    with pytest.raises(InputError, match=r"change\.json: damaged"):
        read_change(tmp_path)


LISTING = "file,volume\n" + "".join(f"{i},{i // 2}\n" for i in range(6))


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (b"", "no column called file"),
        (LISTING.replace(",", ";").encode(), "no column called file"),
        (LISTING.replace("file", "slice").encode(), "no column called file"),
        (LISTING[:-3].encode(), "slice 6: has more or fewer cells"),
        (LISTING.replace("0,0", "0,0,0").encode(), "slice 1: has more or fewer cells"),
        (LISTING.replace("2,1", "2,1\0").encode(), "NUL"),
        (LISTING.replace("2,1", '2,"1').encode(), "unexpected end of data"),
        (LISTING.encode("utf-16"), "codec can't decode"),
    ],
    ids=["empty", "semicolons", "columns", "cut off", "a cell more", "NUL", "quotation mark", "UTF-16"],
)
def test_a_list_of_slices_that_cannot_be_one_parts_no_volume(toy_slices, content, told):
    """As if there were none, slices of one CT would be both trained on and held out."""
    (toy_slices / "slices.csv").write_bytes(content)
    with pytest.raises(InputError, match=rf"slices\.csv.*{told}"):
        read_labelled_slices(toy_slices)


def test_a_list_that_is_there_for_something_else_does_not_matter(toy_slices):
    (toy_slices / "slices.csv").write_text("split,id,width,height\ntrain,0,64,64\n", encoding="utf-8")
    assert [s.volume for s in read_labelled_slices(toy_slices)] == [None] * 6


def test_a_list_of_slices_as_spreadsheets_write_it_is_read(toy_slices):
    (toy_slices / "slices.csv").write_text(LISTING, encoding="utf-8-sig")
    assert [s.volume for s in read_labelled_slices(toy_slices)] == ["0", "0", "1", "1", "2", "2"]


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="has no pipes with a name")
@pytest.mark.parametrize("make", [Path.mkdir, os.mkfifo, lambda path: path.symlink_to("nowhere")])
def test_what_is_no_file_in_the_place_of_a_list_of_slices_is_told(toy_slices, make):
    make(toy_slices / "slices.csv")
    for read in (read_labelled_slices, read_rows):
        with pytest.raises(InputError, match=r"slices\.csv: "):
            read(toy_slices)


@pytest.fixture
def train(toy_slices, tmp_path, monkeypatch, capsys):
    """Runs a training command of the tiny network into ``run``; returns its status and its events."""
    monkeypatch.setitem(NETWORKS, "tiny", TINY)
    recipe = ["--network", "tiny", "--size", "64", "--scales", "1", "--batch-size", "3", "--epochs", "1"]

    def run(command, *options):
        arguments = [command, "-o", tmp_path / "run", toy_slices, *options, *recipe, "--device", "cpu"]
        status = cli.main([*map(str, arguments), "--progress", "json"])
        return status, [json.loads(line) for line in capsys.readouterr().out.splitlines()]

    return run


@pytest.mark.parametrize(
    ("command", "part"),
    [
        ("train", "model"),
        ("train", "checkpoints"),
        ("train", "log"),
        ("cross-validate", "predictions"),
        ("cross-validate", "fold-1/model"),
        ("semi-supervised", "round-002"),
        ("semi-supervised", "pre-training"),
        ("semi-supervised", "model"),
    ],
)
def test_a_part_of_a_run_folder_that_cannot_be_is_told_before_the_training(train, toy_slices, tmp_path, command, part):
    (tmp_path / "run" / part).parent.mkdir(parents=True)
    (tmp_path / "run" / part).touch()
    options = {"cross-validate": ["--folds", 2], "semi-supervised": [toy_slices, "--k", 3]}
    status, (event,) = train(command, *options.get(command, []))
    assert status == 7 and f"{tmp_path / 'run' / part} is a file; name a folder" in event["message"]
    assert [path for path in (tmp_path / "run").rglob("*") if path.is_file()] == [tmp_path / "run" / part]


@pytest.mark.parametrize(
    ("damage", "told"),
    [
        (lambda folder: (folder / "Soft/1.png").write_bytes(b"png"), "1.png: not a readable image"),
        (lambda folder: (folder / "Soft/1.png").unlink(), "1.png: missing"),
        (
            lambda folder: (folder / "Imgs/1.png").write_bytes((folder / "../slices/Imgs/0.png").read_bytes()),
            "held out",
        ),
    ],
)
def test_extra_slices_of_a_later_fold_are_read_before_the_first_is_trained(train, tmp_path, damage, told):
    for fold in "01":
        make_slices(tmp_path / f"extra-{fold}", count=3, seed=5)
        (tmp_path / f"extra-{fold}/GT").rename(tmp_path / f"extra-{fold}/Soft")
    damage(tmp_path / "extra-1")
    status, (event,) = train("cross-validate", "--folds", 2, "--extra", tmp_path / "extra-{fold}")
    assert status == 3 and told in event["message"] and not (tmp_path / "run").exists()


def test_predictions_of_a_fold_that_are_damaged_are_told_before_others_are_trained(train, tmp_path):
    assert train("cross-validate", "--folds", 2, "--only-fold", 0)[0] == 0
    path = next((tmp_path / "run/predictions").iterdir())
    Image.new("L", (1, 1)).save(path)
    status, (event,) = train("cross-validate", "--folds", 2)
    assert status == 3 and f"{path}: (1, 1), but its slice is (72, 60)" in event["message"]
    assert not (tmp_path / "run/fold-1").exists()
    path.unlink()  # the remedy
    assert train("cross-validate", "--folds", 2)[0] == 0


@pytest.mark.parametrize(
    ("options", "status", "told"),
    [
        (["--initial", "guided-unet"], 3, "does not fit the network tiny"),
        (["--network-option", "gate_head=true"], 3, "The gate needs slices with infection and slices without"),
        (["--precision", "16"], 6, "Precision 16 is for CUDA"),
    ],
)
def test_what_no_fold_can_be_trained_with_leaves_the_folder_to_the_next_run(train, tmp_path, options, status, told):
    answer, (event,) = train("cross-validate", "--folds", 2, *options)
    assert answer == status and told in event["message"] and not (tmp_path / "run").exists()


def test_a_fold_that_began_with_other_slices_is_told_before_others_are_trained(train, tmp_path):
    make_slices(tmp_path / "extra", count=2, seed=5)
    options = ("cross-validate", "--folds", 2, "--extra", tmp_path / "extra")
    assert train(*options, "--only-fold", 1)[0] == 0
    (tmp_path / "extra/GT/1.png").write_bytes((tmp_path / "extra/GT/0.png").read_bytes())
    status, (event,) = train(*options)
    assert status == 3 and "its slices or their truths were others" in event["message"]
    assert not (tmp_path / "run/fold-0").exists()


@pytest.mark.parametrize(
    ("command", "results"),
    [("train", "checkpoints"), ("cross-validate", "predictions"), ("semi-supervised", "supervised")],
)
def test_results_of_a_training_that_nothing_tells_are_not_gone_on_with(train, toy_slices, tmp_path, command, results):
    (tmp_path / "run" / results).mkdir(parents=True)
    for i in range(6):
        Image.new("L", (60, 72)).save(tmp_path / "run" / results / f"{i}.png")
    options = {"cross-validate": ["--folds", 2], "semi-supervised": [toy_slices, "--k", 3]}
    status, (event,) = train(command, *options.get(command, []))
    assert status == 3 and f"{tmp_path / 'run' / results}: of a training that no run.json tells" in event["message"]
    assert [path.name for path in (tmp_path / "run").iterdir()] == [results]


@pytest.mark.parametrize("name", ["", "..", "../x", "a/b", "a\0", "n" * 244])
def test_a_card_whose_name_no_file_can_have_is_refused_before_the_training(train, model, tmp_path, name):
    (tmp_path / "card.json").write_text(json.dumps({**model[1], "name": name}))
    status, (event,) = train("train", "--card", tmp_path / "card.json")
    assert status == 5 and "card.json: not a model card (no model's files can be called" in event["message"]
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("command", ["train", "semi-supervised"])
def test_a_run_folder_whose_name_no_model_can_have_is_told_before_the_training(train, toy_slices, tmp_path, command):
    run = tmp_path / ("r" * 244)
    options = [toy_slices, "--k", 3] if command == "semi-supervised" else []
    status, (event,) = train(command, *options, "--output", run)
    assert status == 7 and "the model is called as its folder" in event["message"] and not run.exists()


@pytest.mark.parametrize("name", ["infection", "labels"])
def test_predictions_are_not_written_over_the_slices(model, toy_slices, tell, tmp_path, name):
    slices = tmp_path / "outputs/out.nrrd" / name
    slices.parent.mkdir()
    (toy_slices / "Imgs").rename(slices)
    before = {path: path.read_bytes() for path in slices.iterdir()}
    status, event, _ = tell("predict", slices, "--model", model[0], "--runtime", "eager", "--device", "cpu")
    assert status == 7 and "written over the slices" in event["message"]
    assert {path: path.read_bytes() for path in slices.parent.rglob("*") if path.is_file()} == before


def test_a_part_of_the_predictions_that_cannot_be_is_told_before_the_work(model, toy_slices, tell, tmp_path):
    (tmp_path / "outputs/out.nrrd").mkdir()
    (tmp_path / "outputs/out.nrrd/labels").touch()
    answer = tell("predict", toy_slices / "Imgs", "--model", model[0], "--runtime", "eager", "--device", "cpu")
    assert answer[0] == 7 and "labels is a file; name a folder" in answer[1]["message"]
    assert [path.name for path in (tmp_path / "outputs/out.nrrd").iterdir()] == ["labels"]


def test_weights_that_are_no_numbers_are_refused(model, segment):
    """They would find nothing, and nobody would be told."""
    folder, card = model
    network = build_network("tiny", {"consolidation_head": True})
    torch.nn.init.constant_(network.coarse.weight, float("nan"))
    save_model(folder, ModelCard(**card), network)
    refused(segment(), 5, "invalid-model", "some of its weights are not numbers")


@pytest.mark.parametrize("link", ["nowhere", "run"])
def test_a_folder_that_is_a_link_to_nothing_is_told_before_the_work(tmp_path, capsys, link):
    (tmp_path / "run").symlink_to(link)
    assert cli.main(["dicom", "x", "--series", "x", "-o", str(tmp_path / "run"), "--progress", "json"]) == 7
    event = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert f"{tmp_path / 'run'}: a link to nothing; name a folder" in event["message"]
