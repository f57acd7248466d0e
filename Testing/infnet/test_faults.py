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
from infnet import cli, commands
from infnet.data.segmentations import write_segmentation
from infnet.data.volumes import read_ct, read_image, write_image
from infnet.errors import InputError, InvalidModelError, UnreadableImageError
from infnet.networks import NETWORKS, build_network
from infnet.quantification.label_images import read_findings
from infnet.weights.cards import ModelCard
from infnet.weights.store import load_model, save_model
from phantoms import DIRECTIONS, empty_grid, make_chest, write_dicom_series
from tinynetwork import TINY

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


def test_an_image_larger_than_the_memory_is_told(tmp_path, tell):
    header = "NRRD0004\ntype: short\ndimension: 3\nsizes: 100000 100000 1000\nencoding: raw\nendian: little\n\n"
    (tmp_path / "ct.nrrd").write_bytes(header.encode() + bytes(100))
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
    refused(tell("lungs", tmp_path / "pipe.nrrd"), 3, "input-not-found", "pipe.nrrd")


@pytest.mark.parametrize("name", ["x" * 300 + ".nrrd", "not utf-8 \udcff.nrrd"])
def test_names_that_no_file_can_have_are_told(tmp_path, tell, name):
    """Of a name that is not in UTF-8, ITK ends the process."""
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


# Folders of DICOM slices ---------------------------------------------------------------------------------------------


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


@pytest.mark.parametrize("pixel_type", [sitk.sitkInt32, sitk.sitkInt64, sitk.sitkFloat64])
def test_wide_numbers_are_read(ct, tmp_path, pixel_type):
    write_image(sitk.Cast(ct, pixel_type), tmp_path / "ct.nrrd")
    image, _ = read_ct(tmp_path / "ct.nrrd")
    assert np.array_equal(voxels(image), voxels(ct).clip(-1024))


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
    with pytest.raises(InvalidModelError, match="does not fit the network"):
        load_model(str(folder))


def test_a_study_with_impossible_values_is_refused(tmp_path):
    from infnet.quantification.study import read_study

    values = {"schema": "infnet-result/1", "case": "a", "ct": "ct.nrrd", "table": [], "severity": None, "sources": {}}
    values |= {"provenance": {}, "warnings": [], "seconds": {}}
    (tmp_path / "result.json").write_text(json.dumps(values))
    assert read_study(tmp_path).case == "a"
    for name, value in {"table": [1], "warnings": [1], "case": 3, "date": 2020, "provenance": "x", "ct": None}.items():
        (tmp_path / "result.json").write_text(json.dumps(values | {name: value}))
        with pytest.raises(InputError, match=r"result\.json: damaged"):
            read_study(tmp_path)
    (tmp_path / "result.json").write_text("[" * 100_000)
    with pytest.raises(InputError, match="nested too deeply"):
        read_study(tmp_path)
