"""Lobes: zones by rule, others' segments, the atlas on lungs made from it, and the choice of a source."""

import hashlib
import importlib.machinery
import json
import os
import shutil
import stat
import struct
import sys
import types

import numpy as np
import pytest
import SimpleITK as sitk
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from infnet import cli
from infnet.anatomy import lobes as lobes_module
from infnet.anatomy.existing_lobes import read_lobes
from infnet.anatomy.lobe_atlas import ATLAS_FILE, _atlas, fit_atlas
from infnet.anatomy.lobes import segment_lobes
from infnet.anatomy.recognition import recognise
from infnet.anatomy.regions import LOBES, LUNGS, ZONES
from infnet.anatomy.totalsegmentator_lobes import totalsegmentator_ready
from infnet.anatomy.zones import lung_zones
from infnet.commands.lobes import _SOURCES
from infnet.data.segmentations import write_segmentation
from infnet.errors import AtlasError, InputError, MissingPackageError, ToolError, UnavailableWeightsError
from overlap import dice
from phantoms import DIRECTIONS

voxels = sitk.GetArrayFromImage
LUNG_OF = np.array([0, 1, 1, 1, 2, 2], np.uint8)


def image_of(array, spacing=(3.0, 3.0, 3.0), direction=None):
    image = sitk.GetImageFromArray(array)
    image.SetSpacing(spacing)
    if direction is not None:
        image.SetDirection(np.ravel(direction).tolist())
    return image


@pytest.fixture(scope="module")
def patient():
    """Lungs of which the lobes are known: the atlas' own, stretched unevenly, side by side. (z, y, x) at 4.2 mm."""
    truth = np.zeros((84, 60, 110), np.uint8)
    for side, atlas in _atlas().items():
        z, y, x = np.indices((*truth.shape[:2], 55))
        # The height grows by 20 %, more so at the top; the width by 10 %.
        places = np.stack([z / 1.2 - 0.0009 * z**2, y / 0.95, x / 1.1]).reshape(3, -1).T * 4.2 * (5 / 4.2) / 1.25
        places = places + atlas.lung.origin
        lung = atlas.lung.at(places).reshape(z.shape) < 0
        distances = np.stack([lobe.at(places).reshape(z.shape) for lobe in atlas.lobes.values()])
        labels = np.array(list(atlas.lobes), np.uint8)[distances.argmin(axis=0)]
        truth[:, :, (side - 1) * 55 :][:, :, :55] = np.where(lung, labels, 0)
    for axis in range(3):  # whole lungs, with a rim
        assert truth.any(axis=tuple(a for a in range(3) if a != axis)).sum() > 30
    return np.pad(truth, 2)


def lungs_of(lobes):
    return LUNG_OF[lobes]


def on_grid(array, direction):
    """An LPS array as an image whose axes run otherwise, at the same places."""
    image = image_of(array, (4.2, 4.2, 4.2))
    axes = {"LPS": "LPS", "RAS": "RAS", "sagittal": "PSL", "coronal, flipped": "SLA"}
    return sitk.DICOMOrient(image, axes[direction])


def test_each_label_is_of_a_region_on_one_side():
    assert {(lobe.label, lobe.lung) for lobe in LOBES} == {(1, 1), (2, 1), (3, 1), (4, 2), (5, 2)}
    assert {(lung.label, lung.lung) for lung in LUNGS} == {(1, 1), (2, 2)}
    assert len({zone.segment_id for zone in ZONES}) == 6


class TestZones:
    @settings(deadline=None)
    @given(st.integers(1, 40), st.integers(0, 10))
    def test_thirds_of_each_lungs_own_height(self, height, start):
        lungs = np.zeros((60, 4, 6), np.uint8)
        lungs[start : start + height, 1:3, :3] = 1
        lungs[20:50, 1:3, 3:] = 2
        zones = voxels(lung_zones(image_of(lungs)))
        assert np.array_equal(zones > 0, lungs > 0)
        assert set(np.unique(zones[lungs == 1])) <= {1, 2, 3} and set(np.unique(zones[lungs == 2])) == {4, 5, 6}
        for label, rows in ((6, range(20, 30)), (5, range(30, 40)), (4, range(40, 50))):
            assert list(np.flatnonzero((zones == label).any((1, 2)))) == list(rows)
        counts = [np.count_nonzero((zones == label).any((1, 2))) for label in (1, 2, 3)]
        assert sum(counts) == height and max(counts) - min(counts) <= 1

    @pytest.mark.parametrize("direction", ["feet last", "sagittal", "coronal, flipped"])
    def test_up_is_the_patients_up(self, direction):
        lungs = image_of(np.ones((9, 9, 9), np.uint8), direction=DIRECTIONS[direction])
        zones = lung_zones(lungs)
        high = [i.tolist() for i in np.argwhere(voxels(zones) == 1)[:, ::-1]]
        low = [i.tolist() for i in np.argwhere(voxels(zones) == 3)[:, ::-1]]
        z = [[lungs.TransformIndexToPhysicalPoint(i)[2] for i in indices] for indices in (high, low)]
        assert min(z[0]) > max(z[1])


def entry(kind, modifier="^^", category="SCT^123037004^Anatomical Structure", region="^^"):
    return f"Some list~{category}~{kind}~{modifier}~Anatomic codes - DICOM master list~{region}~^^"


RIGHT, LEFT = "SCT^24028007^Right", "SCT^7771000^Left"


class TestRecognition:
    @pytest.mark.parametrize(
        ("terminology", "name"),
        [
            (entry("SCT^45653009^Upper lobe of Lung", RIGHT), "right upper lobe"),
            (entry("SCT^72481006^Middle lobe of right lung", RIGHT), "right middle lobe"),
            (entry("SCT^72481006^Middle lobe of right lung"), "right middle lobe"),
            (entry("SCT^90572001^Lower lobe of lung", RIGHT), "right lower lobe"),
            (entry("SCT^45653009^x", LEFT), "left upper lobe"),
            (entry("SCT^90572001^x", LEFT), "left lower lobe"),
            (entry("SCT^42400003^x"), "right upper lobe"),
            (entry("SCT^266005^x"), "right lower lobe"),
            (entry("SCT^44714003^x"), "left upper lobe"),
            (entry("SCT^41224006^x"), "left lower lobe"),
            (entry("SCT^39607008^Lung", LEFT), "left lung"),
            (entry("SCT^3341006^Right lung"), "right lung"),
        ],
    )
    def test_a_code_goes_before_a_name(self, terminology, name):
        assert recognise("left lower lobe", terminology).name == name
        assert recognise("Segment_1", terminology).name == name

    @pytest.mark.parametrize("region", [*LOBES, *LUNGS], ids=lambda region: region.name)
    def test_our_own(self, region):
        assert recognise("", region.terminology) is region and recognise(region.name) is region
        assert recognise(region.segment_id) is region

    @pytest.mark.parametrize(
        ("name", "expected"),
        [
            ("lung_upper_lobe_left", "left upper lobe"),
            ("lung_lower_lobe_left", "left lower lobe"),
            ("lung_upper_lobe_right", "right upper lobe"),
            ("lung_middle_lobe_right", "right middle lobe"),
            ("lung_lower_lobe_right", "right lower lobe"),
            ("superior lobe of right lung", "right upper lobe"),
            ("inferior lobe of left lung", "left lower lobe"),
            ("middle lobe of right lung", "right middle lobe"),
            ("RightMiddleLobe", "right middle lobe"),
            ("LeftUpperLobe", "left upper lobe"),
            ("RUL", "right upper lobe"),
            ("Left Lung", "left lung"),
            ("right lung mask", "right lung"),
        ],
    )
    def test_names_of_other_programs(self, name, expected):
        assert recognise(name).name == expected
        tissue = entry("SCT^85756007^Tissue", category="SCT^85756007^Tissue")  # what 3D Slicer gives a new segment
        assert recognise(name, tissue).name == expected

    @pytest.mark.parametrize(
        "name",
        ["", "lobe", "left", "upper lobe", "left middle lobe", "lungs", "liver left lobe", "left lung vessels",
         "left upper lobe nodule", "kidney_left", "left frontal lobe", "atrial appendage left"],
    )  # fmt: skip
    def test_what_is_no_lobe(self, name):
        assert recognise(name) is None

    def test_a_vessel_in_the_lung_is_no_lung(self):
        artery = entry("SCT^51114001^Artery", region="SCT^39607008^Lung")
        assert recognise("left lung", artery) is None

    def test_a_code_without_a_side_leaves_it_to_the_name(self):
        assert recognise("left upper lobe", entry("SCT^45653009^Upper lobe of lung")).name == "left upper lobe"


class TestExisting:
    @pytest.mark.parametrize("direction", ["LPS", "RAS", "sagittal"])
    def test_a_slicer_segmentation_on_another_grid(self, patient, tmp_path, direction):
        write_segmentation(on_grid(patient, direction), tmp_path / "l.seg.nrrd", {}, LOBES)
        lungs = on_grid(lungs_of(patient), "LPS")
        found = read_lobes(tmp_path / "l.seg.nrrd", lungs)
        assert np.array_equal(voxels(found), patient) and found.GetSpacing() == lungs.GetSpacing()

    @pytest.mark.parametrize(
        "values",
        [
            [1, 2, 3, 4, 5],
            [3, 4, 5, 1, 2],
            [12, 13, 14, 10, 11],
            [15, 16, 17, 13, 14],
            [4, 5, 6, 7, 8],
            [516, 5, 518, 7, 520],
        ],
        ids=[
            "infnet",
            "lungmask",
            "TotalSegmentator 2",
            "TotalSegmentator 1",
            "Chest Imaging Platform",
            "its types of tissue",
        ],
    )
    def test_labels_without_names(self, patient, tmp_path, values):
        sitk.WriteImage(image_of(np.array([0, *values], np.uint16)[patient]), tmp_path / "l.nrrd")
        found = read_lobes(tmp_path / "l.nrrd", image_of(lungs_of(patient)))
        assert np.array_equal(voxels(found), patient)

    def test_names_in_the_header_of_totalsegmentator_go_before_values(self, patient, tmp_path):
        values = np.array([0, 2, 1, 4, 3, 5], np.uint8)  # that no program uses
        sitk.WriteImage(image_of(values[patient]), tmp_path / "plain.nii")
        names = ["lung_upper_lobe_right", "lung_middle_lobe_right", "lung_lower_lobe_right"]
        names += ["lung_upper_lobe_left", "lung_lower_lobe_left"]
        table = "".join(
            f'<Label Key="{value}" Red="1" Alpha="1"><![CDATA[{name}]]></Label>\n'
            for value, name in zip(values[1:], names, strict=True)
        ).encode()
        size = 16 * ((len(table) + 8 + 15) // 16)
        raw = (tmp_path / "plain.nii").read_bytes()
        extension = struct.pack("<ii", size, 0) + table.ljust(size - 8, b"\0")
        header = raw[:108] + struct.pack("<f", 352 + size) + raw[112:348] + b"\1\0\0\0"
        (tmp_path / "named.nii").write_bytes(header + extension + raw[352:])
        found = read_lobes(tmp_path / "named.nii", image_of(lungs_of(patient)))
        assert np.array_equal(voxels(found), patient)

    @pytest.mark.parametrize("start", [float("nan"), float("inf"), 1e30, -1.0])
    def test_a_nifti_header_that_does_not_tell_where_it_ends_has_no_names(self, patient, tmp_path, start):
        """ITK takes the voxels from the header's end, where they are here."""
        sitk.WriteImage(image_of(patient), tmp_path / "l.nii")
        raw = (tmp_path / "l.nii").read_bytes()
        (tmp_path / "l.nii").write_bytes(raw[:108] + struct.pack("<f", start) + raw[112:348] + raw[352:])
        assert np.array_equal(voxels(read_lobes(tmp_path / "l.nii", image_of(lungs_of(patient)))), patient)

    def test_nothing_recognised_is_an_error(self, patient, tmp_path):
        lungs = image_of(lungs_of(patient))
        sitk.WriteImage(image_of(np.where(patient > 0, 77, 0).astype(np.uint8)), tmp_path / "l.nrrd")
        with pytest.raises(InputError, match="no lobe was recognised"):
            read_lobes(tmp_path / "l.nrrd", lungs)

    @pytest.mark.parametrize("kind", ["both lungs in one label", "a CT"])
    def test_what_has_no_lobes_is_taken_for_none(self, patient, tmp_path, kind):
        values = np.random.default_rng(0).integers(-900, 900, patient.shape) if kind == "a CT" else patient > 0
        sitk.WriteImage(image_of(values.astype(np.int16)), tmp_path / "l.nrrd")
        with pytest.raises(InputError, match="no lobe was recognised"):
            read_lobes(tmp_path / "l.nrrd", image_of(lungs_of(patient)))

    def test_zones_are_not_taken_for_lobes(self, patient, tmp_path):
        lungs = image_of(lungs_of(patient))
        sitk.WriteImage(lung_zones(lungs), tmp_path / "z.nrrd")
        with pytest.raises(InputError, match="zones"):
            read_lobes(tmp_path / "z.nrrd", lungs)

    def test_a_missing_lobe_is_told(self, patient, tmp_path):
        four = np.where(patient == 2, 0, patient)
        write_segmentation(image_of(four), tmp_path / "l.seg.nrrd", {}, LOBES)
        lungs = image_of(lungs_of(patient))
        lobes = segment_lobes(lungs, lungs, existing=tmp_path / "l.seg.nrrd")
        assert lobes.source == "existing" and not lobes.approximate and lobes.attribution is None
        assert [w for w in lobes.warnings if "no right middle lobe" in w] == lobes.warnings != []


class TestAtlas:
    @pytest.mark.parametrize("direction", ["LPS", "sagittal", "coronal, flipped"])
    def test_lobes_of_a_stretched_atlas_are_found_again(self, patient, direction):
        lungs = on_grid(lungs_of(patient), direction)
        found = voxels(fit_atlas(lungs))
        truth = voxels(on_grid(patient, direction))
        assert np.array_equal(lungs_of(found), voxels(lungs)), "every voxel is in a lobe of its own lung"
        scores = [dice(found == lobe.label, truth == lobe.label) for lobe in LOBES]
        assert min(scores) > 0.9, scores

    def test_one_lung_alone(self, patient):
        lungs = lungs_of(patient)
        lungs[lungs == 1] = 0
        found = voxels(fit_atlas(image_of(lungs, (4.2, 4.2, 4.2))))
        assert set(np.unique(found)) == {0, 4, 5}

    def test_lungs_that_the_scan_cuts_off_get_zones(self, patient):
        middle = image_of(lungs_of(patient)[30:60], (4.2, 4.2, 4.2))
        with pytest.raises(AtlasError, match="cuts off"):
            segment_lobes(middle, middle, "atlas")
        lobes = segment_lobes(middle, middle)
        assert lobes.source == "zones" and lobes.regions is ZONES and "cuts off" in lobes.warnings[0]
        assert np.array_equal(voxels(lobes.image) > 0, voxels(middle) > 0)

    def test_what_does_not_look_like_a_lung(self):
        z, y, x = np.indices((60, 60, 60))
        cross = (abs(z - 30) < 25) & (abs(y - 30) < 25) & (abs(x - 30) < 25)
        cross &= (abs(z - 30) < 3) | (abs(x - 30) < 3)
        with pytest.raises(AtlasError, match="unlike"):
            fit_atlas(image_of(cross.astype(np.uint8), (4.2, 4.2, 4.2)))

    def test_a_speck(self):
        lungs = np.zeros((30, 30, 30), np.uint8)
        lungs[14:16, 14:16, 14:16] = 2
        with pytest.raises(AtlasError, match="too small"):
            fit_atlas(image_of(lungs))

    def test_it_is_below_a_megabyte_and_has_its_licence(self):
        assert ATLAS_FILE.stat().st_size < 1_000_000
        assert "CC BY-NC-SA 4.0" in ATLAS_FILE.with_name("lobe_atlas.LICENSE.txt").read_text("utf-8")


class FakeInferer:
    """In place of lungmask's networks: labels in lungmask's order."""

    labels = None

    def __init__(self, **options):
        assert options["modelname"] == "LTRCLobes" and options["fillmodel"] == "R231"

    def apply(self, image):
        assert isinstance(image, sitk.Image)
        return np.array([0, 3, 4, 5, 1, 2], np.uint8)[self.labels]


class Malware:
    def __reduce__(self):
        return print, ("Malware runs.",)


@pytest.fixture
def fake_lungmask(monkeypatch, tmp_path):
    """Pretends that lungmask is installed, with weights to download, named as its own by their SHA-256."""
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    (tmp_path / "server").mkdir()

    def install(content=None, sha256=None):
        torch.save(content or {}, tmp_path / "weights.pth")
        sha256 = sha256 or hashlib.sha256((tmp_path / "weights.pth").read_bytes()).hexdigest()
        urls = [(tmp_path / f"server/{name}-{sha256[:8]}.pth").as_uri() for name in ("lobes", "fill")]
        for url in urls:
            shutil.copy(tmp_path / "weights.pth", tmp_path / "server" / url.rpartition("/")[2])
        package = types.ModuleType("lungmask")
        package.__spec__ = importlib.machinery.ModuleSpec("lungmask", None)
        package.LMInferer = FakeInferer
        mask = types.ModuleType("lungmask.mask")
        mask.MODEL_URLS = {"LTRCLobes": (urls[0], 6), "R231": (urls[1], 3)}
        monkeypatch.setitem(sys.modules, "lungmask", package)
        monkeypatch.setitem(sys.modules, "lungmask.mask", mask)

    return install


class TestNetworks:
    def test_lungmask_with_its_networks_faked(self, patient, fake_lungmask):
        fake_lungmask()
        FakeInferer.labels = patient
        lungs = image_of(lungs_of(patient))
        lobes = segment_lobes(lungs, lungs, "lungmask")
        assert (lobes.source, lobes.approximate, lobes.warnings) == ("lungmask", False, [])
        assert np.array_equal(voxels(lobes.image), patient)

    def test_lungmask_without_its_weights(self, patient, fake_lungmask, tmp_path):
        fake_lungmask()
        shutil.rmtree(tmp_path / "server")
        lungs = image_of(lungs_of(patient))
        with pytest.raises(UnavailableWeightsError, match=r"No such file.*--source atlas"):
            segment_lobes(lungs, lungs, "lungmask")

    def test_lungmask_s_weights_are_checked_and_run_no_code(self, patient, fake_lungmask, tmp_path, capsys):
        lungs = image_of(lungs_of(patient))
        fake_lungmask(sha256="0" * 64)
        with pytest.raises(UnavailableWeightsError, match="hash"):
            segment_lobes(lungs, lungs, "lungmask")
        assert not list((tmp_path / "hub/checkpoints").iterdir())
        fake_lungmask({"weights": Malware()})
        with pytest.raises(UnavailableWeightsError, match="not weights"):
            segment_lobes(lungs, lungs, "lungmask")
        assert "Malware runs." not in capsys.readouterr().out

    def test_lungmask_not_installed(self, patient, monkeypatch):
        monkeypatch.setitem(sys.modules, "lungmask", None)
        lungs = image_of(lungs_of(patient))
        with pytest.raises(MissingPackageError, match="pip install"):
            segment_lobes(lungs, lungs, "lungmask")

    def test_auto_downloads_nothing(self, patient, fake_lungmask, tmp_path):
        fake_lungmask()
        FakeInferer.labels = patient
        lungs = image_of(lungs_of(patient), (4.2, 4.2, 4.2))
        assert segment_lobes(lungs, lungs).source == "atlas"
        lobes, fill = sorted((tmp_path / "server").iterdir(), reverse=True)
        weights = tmp_path / "hub" / "checkpoints"
        weights.mkdir(parents=True)
        shutil.copy(lobes, weights)
        assert segment_lobes(lungs, lungs).source == "atlas", "one of the two models is not enough"
        shutil.copy(fill, weights)
        assert segment_lobes(lungs, lungs).source == "lungmask"

    @pytest.mark.skipif(sys.platform == "win32", reason="the fake command is a script with a shebang")
    @pytest.mark.parametrize("status", [0, 2])
    def test_totalsegmentator_with_its_command_faked(self, patient, tmp_path, monkeypatch, status):
        sitk.WriteImage(image_of(np.array([0, 12, 13, 14, 10, 11], np.uint8)[patient]), tmp_path / "lobes.nii.gz")
        command = tmp_path / "TotalSegmentator"
        command.write_text(
            f"#!{sys.executable}\nimport json, os, shutil, sys\nfrom pathlib import Path\nassert '--ml' in sys.argv\n"
            "home = Path(os.environ['TOTALSEG_HOME_DIR'], 'config.json')  # as its config.py reads it\n"
            "assert json.loads(home.read_text())['send_usage_stats'] is False\n"
            "assert list(Path(os.environ['TOTALSEG_WEIGHTS_PATH']).glob('Dataset291_*'))\n"
            f"shutil.copy({str(tmp_path / 'lobes.nii.gz')!r}, sys.argv[sys.argv.index('-o') + 1])\n"
            f"sys.stderr.buffer.write(b'L\\xfccke: no weights\\n')\nsys.exit({status})\n"  # as in Windows' code pages
        )
        command.chmod(command.stat().st_mode | stat.S_IXUSR)
        monkeypatch.setenv("PATH", f"{tmp_path}{os.pathsep}{os.environ['PATH']}")
        monkeypatch.setenv("TOTALSEG_HOME_DIR", str(tmp_path / "none"))
        lungs = image_of(lungs_of(patient), (4.2, 4.2, 4.2))
        assert segment_lobes(lungs, lungs).source == "atlas", "it has no weights, and auto downloads none"
        results = tmp_path / "none/nnunet/results"
        (results / "Dataset291_TotalSegmentator_part1_organs_1559subj").mkdir(parents=True)
        assert not totalsegmentator_ready(), "for a subset of the structures, it uses a second model"
        (results / "Dataset298_TotalSegmentator_total_6mm_1559subj").mkdir()
        assert totalsegmentator_ready()
        ct = image_of(lungs_of(patient))
        if status:
            with pytest.raises(ToolError, match="no weights"):
                segment_lobes(ct, ct, "totalsegmentator")
        else:
            lobes = segment_lobes(ct, ct, "totalsegmentator")
            assert lobes.source == "totalsegmentator" and np.array_equal(voxels(lobes.image), patient)


def test_an_unknown_source_is_refused():
    with pytest.raises(ValueError, match="magic"):
        segment_lobes(None, None, "magic")
    assert _SOURCES == lobes_module.SOURCES


class TestCommands:
    @pytest.fixture
    def ct(self, patient, tmp_path):
        """A CT of the lungs of the atlas: air in a block of tissue."""
        hu = np.where(np.pad(patient, 8) > 0, -850, 40).astype(np.int16)
        hu = np.pad(hu, ((0, 0), (6, 6), (6, 6)), constant_values=-1000)
        sitk.WriteImage(image_of(hu, (4.2, 4.2, 4.2)), tmp_path / "ct.nrrd")
        return tmp_path / "ct.nrrd"

    def result(self, capsys, *arguments):
        status = cli.main([*map(str, arguments), "--progress", "json"])
        return status, json.loads(capsys.readouterr().out.splitlines()[-1])

    def test_lungs_then_lobes(self, ct, tmp_path, capsys):
        status, lungs = self.result(capsys, "lungs", ct, "-o", tmp_path / "lungs.seg.nrrd")
        assert status == 0 and set(lungs["volumes_ml"]) == {"right lung", "left lung"}
        header = sitk.ReadImage(tmp_path / "lungs.seg.nrrd")
        assert (
            recognise("", header.GetMetaData("Segment1_Tags").split("TerminologyEntry:")[1].split("|")[0]) is LUNGS[1]
        )
        status, lobes = self.result(
            capsys, "lobes", ct, "-o", tmp_path / "lobes.nii.gz", "--lungs", tmp_path / "lungs.seg.nrrd"
        )
        assert status == 0 and lobes["source"] == "atlas" and lobes["approximate"]
        assert sum(lobes["volumes_ml"].values()) == pytest.approx(sum(lungs["volumes_ml"].values()), abs=1)
        status, again = self.result(
            capsys, "lobes", ct, "-o", tmp_path / "again.seg.nrrd", "--lobes", tmp_path / "lobes.nii.gz"
        )
        assert status == 0 and again["source"] == "existing" and again["volumes_ml"] == lobes["volumes_ml"]

    def test_zones_in_words(self, ct, tmp_path, capsys):
        assert cli.main(["lobes", str(ct), "-o", str(tmp_path / "z.nrrd"), "--source", "zones"]) == 0
        shown = capsys.readouterr().out
        assert "right upper zone" in shown and "Source: zones (approximate)" in shown

    @pytest.mark.parametrize("command", ["lungs", "lobes"])
    def test_the_ct_is_not_written_over(self, ct, capsys, command):
        before = ct.read_bytes()
        status, error = self.result(capsys, command, ct, "-o", ct)
        assert status == 7 and error["code"] == "output" and ct.read_bytes() == before
