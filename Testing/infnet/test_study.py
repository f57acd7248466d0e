"""A study on disk: what is written is read again, and half a study is none."""

import json
from dataclasses import replace

import numpy as np
import pytest
import SimpleITK as sitk
from infnet.anatomy.lobes import Lobes
from infnet.errors import InputError, InvalidStudyError, OutputError
from infnet.quantification.measurements import measure
from infnet.quantification.study import Study, read_study, write_study
from phantoms import make_chest

voxels = sitk.GetArrayFromImage


@pytest.fixture(scope="module")
def chest():
    return make_chest(noise_hu=0)


@pytest.fixture
def study(chest, tmp_path):
    measured = measure(chest.ct, chest.findings, chest.lungs, Lobes(chest.lungs, "test", True, ["approximate"]))
    return Study(
        case="müller",
        ct=tmp_path / "ct.nrrd",
        table=measured.rows,
        severity=measured.severity,
        sources=measured.sources,
        provenance={"infection_model": "toy", "threshold": 0.5},
        warnings=measured.warnings,
        seconds={"read": 0.25},
        date="2020-03-01",
        patient="17",
        inputs={"ct": "fingerprint"},
        folder=tmp_path / "studies" / "müller",
    )


def test_a_study_is_read_as_it_was_written(study, chest):
    probability = sitk.Cast(chest.findings, sitk.sitkFloat32) / 2
    write_study(study, chest.findings, chest.lungs, chest.lungs, probability)
    again = read_study(study.folder)
    assert again == study
    for image, original in (
        (again.findings(), chest.findings), (again.lungs(), chest.lungs),
        (again.lobes(), chest.lungs), (again.infection(), probability),
    ):  # fmt: skip
        assert np.array_equal(voxels(image), voxels(original))
        assert image.GetOrigin() == pytest.approx(chest.ct.GetOrigin())
    assert json.loads((study.folder / "result.json").read_text(encoding="utf-8"))["schema"] == "infnet-result/1"


def test_a_study_written_over_another_keeps_nothing_of_it(study, chest):
    write_study(study, chest.findings, chest.lungs, chest.lungs, sitk.Cast(chest.findings, sitk.sitkFloat32))
    write_study(replace(study, patient=None), chest.findings, chest.lungs)
    again = read_study(study.folder)
    assert again.patient is None and again.lobes() is None and again.infection() is None


def test_a_study_that_cannot_be_written_leaves_the_one_before(study, chest, monkeypatch):
    write_study(study, chest.findings, chest.lungs)
    files = {path.name: path.read_bytes() for path in study.folder.iterdir()}

    write, written = sitk.WriteImage, []

    def full_after_one(image, path, **options):
        written.append(path)
        if len(written) % 2 == 0:
            raise RuntimeError("No space left on device")
        write(image, path, **options)

    monkeypatch.setattr(sitk, "WriteImage", full_after_one)
    with pytest.raises(OutputError, match="No space left"):
        write_study(replace(study, patient="18"), chest.findings * 0, chest.lungs)
    assert {path.name: path.read_bytes() for path in study.folder.iterdir()} == files
    other = replace(study, folder=study.folder.with_name("new"))
    with pytest.raises(OutputError, match="No space left"):
        write_study(other, chest.findings, chest.lungs)
    assert not other.folder.exists() and len(written) == 4


@pytest.mark.parametrize(
    "text", ["", "[]", "{}", '{"schema": "infnet-result/1"}', '{"schema": "infnet-result/9"}', "\xff"]
)
def test_what_is_no_result_is_refused_with_its_name(tmp_path, text):
    (tmp_path / "result.json").write_bytes(text.encode("latin-1"))
    with pytest.raises(InvalidStudyError, match=r"result\.json"):
        read_study(tmp_path)


def test_a_missing_image_is_an_input_error(study, chest):
    write_study(study, chest.findings, chest.lungs)
    (study.folder / "lungs.nrrd").unlink()
    with pytest.raises(InputError, match=r"lungs\.nrrd"):
        read_study(study.folder).lungs()
