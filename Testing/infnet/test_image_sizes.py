"""Headers that tell of more than their files hold, or of no body: refused before memory is taken for it."""

import gzip
import json
import subprocess
import sys
from pathlib import Path

import pydicom
import pytest
import SimpleITK as sitk
from infnet import cli
from infnet.data.dicom_folder import without_itk_warnings
from infnet.data.dicom_lengths import lengths_fit
from infnet.data.volumes import read_ct, read_image
from infnet.errors import GeometryError, UnreadableImageError
from phantoms import empty_grid, make_chest, write_dicom_series

POSITION, ROWS, COLUMNS, PIXELS = b"\x20\0\x32\0DS", b"\x28\0\x10\0US", b"\x28\0\x11\0US", b"\xe0\x7f\x10\0OW"
SEQUENCE = b"\x09\0\x10\x10SQ\0\0\xff\xff\xff\xff\xfe\xff\0\xe0\xff\xff\xff\xff"  # with an item; neither ends


def before(tag, new):
    return lambda data: data.replace(tag, new + tag, 1)


def over(tag, new):
    """``new`` in the place of an element's first bytes."""
    return lambda data: data.replace(data[data.index(tag) :][: len(new)], new, 1)


WRONG_LENGTHS = {
    "long": before(ROWS, b"\x09\0\x10\x10OB\0\0\0\0\0\x30"),
    "of no type": over(ROWS, ROWS[:4] + b"U\xc3\xff\x2f"),
    "of no type, and in the file": over(ROWS[:3], ROWS[:4] + b"U\0\0\0\0"),
    "beyond the text": over(POSITION, POSITION + b"\x22\x07"),
    "in a sequence": before(ROWS, SEQUENCE + b"\x09\0\x12\x10OB\0\0\0\0\0\x30"),
    "pixels": over(PIXELS, PIXELS + b"\0\0\0\0\0\x30"),
    "sequences in each other": before(ROWS, SEQUENCE * 90_000),
}
MORE_PIXELS = {
    "rows": over(ROWS, ROWS + b"\2\0\x60\xea"),
    "columns": over(COLUMNS, COLUMNS + b"\2\0\x60\xea"),
    "frames": before(ROWS, b"\x28\0\x08\0IS\6\x00100000"),
}
# Reads each path and prints what it is told, then by how many MB memory has grown. A volume of the tests' has 0.2 MB.
PROGRAM = """
import resource, sys
from pathlib import Path
from infnet.data.volumes import read_ct
from infnet.errors import InputError
resource.setrlimit(resource.RLIMIT_AS, (3 << 30, 3 << 30))
read_ct(Path(sys.argv[1]))
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
for path in sys.argv[2:]:
    try:
        read_ct(Path(path))
        print("read")
    except InputError as error:
        print(error)
print((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) // 1024)
"""
on_linux = pytest.mark.skipif(sys.platform != "linux", reason="asks for the memory used as Linux tells it")


@pytest.fixture(scope="module")
def ct():
    return make_chest(empty_grid((64, 64, 24), (6, 6, 7))).ct


@pytest.fixture
def series(ct, tmp_path):
    write_dicom_series(ct, tmp_path / "series")
    return tmp_path / "series"


def damaged_series(ct, folder, damage, numbers=(5,)):
    """With types in its header, as most scanners write them."""
    pytest.importorskip("test_dicom").write_series(ct, folder)
    for path in [folder / f"{number:03}.dcm" for number in numbers]:
        path.write_bytes(damage(path.read_bytes()))
    return folder


def told_and_growth(whole, paths):
    command = [sys.executable, "-c", PROGRAM, *map(str, [whole, *paths])]
    done = subprocess.run(command, capture_output=True, encoding="utf-8", timeout=100, check=True)
    *told, growth = done.stdout.splitlines()
    return dict(zip([path.name for path in paths], told, strict=True)), int(growth)


@on_linux
def test_a_wrong_length_in_a_dicom_header_takes_no_memory(ct, series, tmp_path):
    paths = [damaged_series(ct, tmp_path / name, damage) for name, damage in WRONG_LENGTHS.items()]
    told, growth = told_and_growth(series, paths)
    assert all("1 DICOM slices are empty or damaged (005.dcm); copy" in text for text in told.values()), told
    assert growth < 40


@pytest.mark.parametrize("syntax", ["1.2.840.10008.1.2", "1.2.840.10008.1.2.1"])
def test_a_wrong_length_of_an_item_is_found_with_and_without_types(series, syntax):
    path = series / "005.dcm"
    image = pydicom.dcmread(path)
    image.ReferencedImageSequence = [pydicom.Dataset()]
    image.ReferencedImageSequence[0].ReferencedSOPInstanceUID = "1.2.3"
    image.file_meta.TransferSyntaxUID = syntax
    image.save_as(path, implicit_vr=syntax == "1.2.840.10008.1.2", little_endian=True)
    read_image(path)
    data = bytearray(path.read_bytes())
    data[data.index(b"\xfe\xff\x00\xe0") + 7] = 0x20  # half a gigabyte
    path.write_bytes(data)
    with pytest.raises(UnreadableImageError, match="a length in its header is wrong"):
        read_image(path)


@pytest.mark.parametrize("numbers", [(1,), (5,), range(1, 25)])
@pytest.mark.parametrize("what", MORE_PIXELS)
def test_dicom_slices_of_more_pixels_than_they_hold_are_refused(ct, tmp_path, what, numbers):
    """GDCM alone makes up those that are missing, where all slices are so."""
    folder = damaged_series(ct, tmp_path / "series", MORE_PIXELS[what], numbers)
    with pytest.raises(UnreadableImageError, match=rf"{len(numbers)} DICOM slices are empty or damaged"):
        read_ct(folder)
    with pytest.raises(UnreadableImageError, match="a length in its header is wrong"):
        read_image(folder / f"{numbers[0]:03}.dcm")


def test_no_dicom_file_that_is_whole_is_refused():
    """All encodings, sequences of all forms, several frames, padding: pydicom's own test files, as far as ITK reads."""
    folder = Path(pydicom.__file__).parent / "data/test_files"
    read = 0
    for path in folder.glob("*.dcm"):
        try:
            with without_itk_warnings():
                sitk.ReadImage(path)
        except RuntimeError:
            continue
        assert lengths_fit(path), path
        read += 1
    assert read > 40


def with_size(ct, path, old, new):
    """A file of a volume whose header tells of another size; NIfTI's is two bytes a number."""
    sitk.WriteImage(ct, path, useCompression=path.suffix != ".nii")
    data = path.read_bytes()
    is_gzip = path.name.endswith(".gz")
    data = gzip.decompress(data) if is_gzip else data
    assert old in data[:400]
    data = data.replace(old, new, 1)
    path.write_bytes(gzip.compress(data) if is_gzip else data)
    return path


SIZES = {
    ".nrrd": (b"sizes: 64 64 24", b"sizes: 64 640 2400", b"sizes: 100000 100000 100000"),
    ".mha": (b"DimSize = 64 64 24", b"DimSize = 64 640 2400", b"DimSize = 100000 100000 100000"),
    ".nii": (b"\3\0\x40\0\x40\0\x18\0", b"\3\0\x40\0\x80\2\x60\x09", b"\3\0\xff\x7f\xff\x7f\xff\x7f"),
    ".vtk": (b"DIMENSIONS 64 64 24", b"DIMENSIONS 64 640 2400", b"DIMENSIONS 100000 100000 100000"),
    ".gipl": (b"\0\x40\0\x40\0\x18", b"\0\x40\2\x80\x09\x60", b"\x7f\xff\x7f\xff\x7f\xff"),
}
SIZES[".nii.gz"] = SIZES[".nii"]


@on_linux
def test_an_image_of_more_voxels_than_its_file_holds_takes_no_memory(ct, series, tmp_path):
    """200 MB in a file of 0.1 MB, which a compressed one could hold, and 2 PB."""
    paths = [
        with_size(ct, tmp_path / f"{name}{ending}", old, new)
        for ending, (old, *sizes) in SIZES.items()
        for name, new in zip(("larger", "huge"), sizes, strict=True)
    ]
    told, growth = told_and_growth(series, paths)
    assert all("truncated" in text for text in told.values()), told
    assert growth < 40


@pytest.mark.parametrize(
    "arguments",
    [
        ("lungs", "{}", "-o", "{}/out.nrrd"),
        ("lobes", "{}", "-o", "{}/out.nrrd"),
        ("lobes", "whole.nrrd", "--lungs", "{}", "-o", "{}/out.nrrd"),
        ("quantify", "{}", "--segmentation", "whole.nrrd", "-o", "{}/out.csv"),
        ("quantify", "whole.nrrd", "--segmentation", "{}", "-o", "{}/out.csv"),
        ("segment", "{}", "-o", "{}/out.nrrd"),
    ],
)
def test_commands_tell_of_an_image_of_more_voxels_than_its_file_holds(ct, tmp_path, capsys, monkeypatch, arguments):
    monkeypatch.chdir(tmp_path)
    sitk.WriteImage(ct, "whole.nrrd")
    old, *_, huge = SIZES[".nrrd"]
    with_size(ct, tmp_path / "huge.nrrd", old, huge)
    words = [word.replace("{}/", "").replace("{}", "huge.nrrd") for word in arguments]
    assert cli.main([*words, "--progress", "json"]) == 3
    event = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert "huge.nrrd is truncated: its header tells of more voxels" in event["message"]
    assert {path.name for path in tmp_path.iterdir()} == {"whole.nrrd", "huge.nrrd"}


@pytest.mark.parametrize("spacing", [(6, 6, 1e5), (1e-5, 6, 7), (40, 40, 40)], ids=["long", "fine", "large"])
def test_an_image_that_is_larger_than_a_body_or_finer_than_a_scan_is_refused(ct, tmp_path, spacing):
    image = sitk.Image(ct)
    image.SetSpacing(spacing)
    sitk.WriteImage(image, tmp_path / "ct.nrrd")
    with pytest.raises(GeometryError, match=r"ct\.nrrd: 64 x 64 x 24 voxels of .* mm are no CT of a body"):
        read_ct(tmp_path / "ct.nrrd")
