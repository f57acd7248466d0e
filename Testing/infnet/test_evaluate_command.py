"""``infnet evaluate`` and ``infnet evaluate-table``: files in, numbers out."""

import csv
import json

import numpy as np
import pytest
import SimpleITK as sitk
from infnet import cli
from infnet.data.labelled_slices import read_grey, read_labels
from infnet.data.segmentations import write_segmentation
from infnet.evaluation.metrics import METRICS, paper_metrics, threshold_metrics
from infnet.evaluation.resizing import imresize
from phantoms import DIRECTIONS, empty_grid
from PIL import Image


def save(array, path, palette=False):
    path.parent.mkdir(parents=True, exist_ok=True)
    image = Image.fromarray(array.astype(np.uint8), mode="P" if palette else "L")
    if palette:
        image.putpalette([0, 0, 0, 128, 0, 0, 0, 128, 0])
    image.save(path)


@pytest.fixture
def folders(tmp_path):
    """Five slices: maps, label images as ``infnet predict`` writes them, and truths as palette images.

    Slice 3 has no consolidation, slice 4 nothing at all.
    """
    random = np.random.default_rng(0)
    for i in range(5):
        labels = np.zeros((24, 20 + i), np.uint8)
        if i < 4:
            labels[4 : 14 + i, 3:12] = 1
        if i < 3:
            labels[6:10, 5:9] = 2
        save(labels, tmp_path / "truth" / f"{i}.png", palette=True)
        predicted = np.roll(labels, 1, axis=1)
        save(predicted, tmp_path / "labels" / f"{i}.png")
        noise = random.integers(0, 90, labels.shape)
        save(noise + 150 * (predicted > 0), tmp_path / "infection" / f"{i}.png")
    return tmp_path


def run(*arguments):
    return cli.main(["evaluate", *map(str, arguments)])


def evaluated(folder, predictions, *arguments):
    path = folder / "out.json"
    assert run(folder / predictions, folder / "truth", "--json", path, *arguments) == 0
    return json.loads(path.read_text())


def test_maps_against_label_images(folders):
    result = evaluated(folders, "infection")
    assert sorted(result["images"]) == ["0", "1", "2", "3", "4"]
    for stem, metrics in result["images"].items():
        truth = read_labels(folders / "truth" / f"{stem}.png") > 0
        map_ = read_grey(folders / "infection" / f"{stem}.png")
        assert metrics == threshold_metrics(map_ / 255, truth)
    assert set(result["mean"]) == set(METRICS)
    for name in METRICS:
        values = [m[name] for m in result["images"].values() if m[name] is not None]
        assert result["mean"][name] == pytest.approx(np.mean(values))
        low, high = result["confidence"][name]
        assert low <= result["mean"][name] <= high
    assert result["both_empty"] == 1 and result["images"]["4"]["dice"] == 1
    assert result["with_finding"]["count"] == 4
    assert result["with_finding"]["mean"]["dice"] == pytest.approx(
        np.mean([result["images"][s]["dice"] for s in "0123"])
    )
    assert result["command"].startswith("infnet evaluate ")


def test_the_paper_s_protocol(folders):
    result = evaluated(folders, "infection", "--protocol", "paper")
    for stem, metrics in result["images"].items():
        truth = read_labels(folders / "truth" / f"{stem}.png") > 0
        assert metrics == paper_metrics(read_grey(folders / "infection" / f"{stem}.png"), truth)
    assert result["protocol"] == "paper" and result["threshold"] is None


@pytest.mark.parametrize("finding", [1, 2, None])
def test_labels_as_infnet_predict_writes_them(folders, finding):
    arguments = [] if finding is None else ["--class", finding]
    result = evaluated(folders, "labels", *arguments)
    assert result["predictions_are"] == "labels"
    for stem, metrics in result["images"].items():
        prediction, truth = (read_labels(folders / name / f"{stem}.png") for name in ("labels", "truth"))
        prediction, truth = (x > 0 if finding is None else x == finding for x in (prediction, truth))
        assert metrics == threshold_metrics(prediction.astype(float), truth)
    assert result["with_finding"]["count"] == {1: 4, 2: 3, None: 4}[finding]
    assert result["both_empty"] == {1: 1, 2: 2, None: 1}[finding]


def test_a_healthy_slice_s_map_among_others_is_no_label_image(folders):
    save(np.full((24, 24), 2), folders / "infection" / "4.png")
    assert evaluated(folders, "infection")["images"]["4"]["mae"] == pytest.approx(2 / 255)


def test_predictions_of_another_size_are_resized_as_matlab_does(folders, capsys):
    map_ = read_grey(folders / "infection" / "1.png")
    save(np.kron(map_, np.ones((2, 3))), folders / "infection" / "1.png")
    for protocol, measure in (("paper", paper_metrics), ("threshold", lambda m, t: threshold_metrics(m / 255, t))):
        result = evaluated(folders, "infection", "--protocol", protocol)
        resized = imresize(read_grey(folders / "infection" / "1.png"), map_.shape)
        assert result["images"]["1"] == measure(resized, read_labels(folders / "truth" / "1.png") > 0)
        assert result["resized"] == 1
        assert "resized to their truth's size: 1" in capsys.readouterr().out


def test_missing_predictions_are_named_and_extra_ones_said(folders, capsys):
    (folders / "infection" / "3.png").rename(folders / "infection" / "extra.png")
    assert run(folders / "infection", folders / "truth") == 3
    assert "no prediction for 1 of 5 truths: 3." in capsys.readouterr().err
    (folders / "truth" / "3.png").unlink()
    assert run(folders / "infection", folders / "truth") == 0
    assert "left out: 1 (extra.png)" in capsys.readouterr().out


def test_a_class_that_no_truth_has_is_said(folders, capsys):
    for path in (folders / "truth").iterdir():
        save((read_labels(path) > 0) * 255, path)
    assert run(folders / "labels", folders / "truth", "--class", 2) == 0
    assert "No truth has the finding" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "status", "said"),
    [
        (["infection", "nowhere"], 3, "nowhere: no such folder"),
        (["infection", "truth", "--json", "no/folder.json"], 7, "there is no folder"),
        (["infection", "truth", "--csv", "out.txt"], 7, "must end in .csv"),
        (["infection", "truth", "--json", "r.json", "--reliability", "./r.json"], 7, "named for two outputs"),
        (["labels", "truth", "--reliability", "r.json"], 3, "have no reliability curve"),
        (["infection", "volume.nrrd"], 3, "slices on one side, volumes on the other"),
        (["volume.nrrd", "volume.nrrd", "--protocol", "paper"], 3, "is for slices"),
    ],
)
def test_what_is_refused(folders, monkeypatch, capsys, arguments, status, said):
    monkeypatch.chdir(folders)
    sitk.WriteImage(sitk.Image((4, 4, 4), sitk.sitkUInt8), "volume.nrrd")
    assert run(*arguments) == status
    assert said in capsys.readouterr().err
    assert not (folders / "r.json").exists()


def test_a_damaged_prediction_is_named_and_no_file_is_written(folders, capsys):
    path = folders / "infection" / "2.png"
    path.write_bytes(path.read_bytes()[:60])
    assert run(folders / "infection", folders / "truth", "--json", folders / "out.json") == 3
    assert "2.png" in capsys.readouterr().err
    assert not (folders / "out.json").exists()


def test_csv_and_markdown(folders):
    result = evaluated(folders, "infection", "--csv", folders / "out.csv", "--markdown", folders / "out.md")
    rows = list(csv.DictReader((folders / "out.csv").open()))
    assert [row["image"] for row in rows] == list(result["images"])
    assert float(rows[2]["dice"]) == result["images"]["2"]["dice"]
    assert rows[4]["sensitivity"] == ""  # of an empty truth
    header, _, row = (folders / "out.md").read_text().splitlines()
    assert header.split(" | ")[:2] == ["| Method", "Dice"]
    assert row.startswith(f"| infection | {result['mean']['dice']:.3f} | ")


def test_against_other_predictions(folders, capsys):
    result = evaluated(folders, "labels", "--against", folders / "infection")
    difference = result["against"]["dice_difference"]
    assert difference["mean"] == pytest.approx(result["mean"]["dice"] - result["against"]["mean"]["dice"])
    assert difference["better"] + difference["worse"] + difference["equal"] == 5
    assert "Wilcoxon" in capsys.readouterr().out


def test_reliability_as_numbers_and_as_pictures(folders):
    paths = [folders / f"curve.{ending}" for ending in ("json", "png", "svg")]
    result = evaluated(folders, "infection", *(x for path in paths for x in ("--reliability", path)))
    curve = json.loads(paths[0].read_text())
    assert curve == result["reliability"]
    assert curve["pixels"] == sum(24 * (20 + i) for i in range(5)) == sum(b["pixels"] for b in curve["bins"])
    with Image.open(paths[1]) as picture:
        assert np.ptp(np.asarray(picture.convert("L"))) > 200
    assert paths[2].read_text().lstrip().startswith("<?xml")


def write_volume(array, grid, path):
    image = sitk.GetImageFromArray(array)
    image.CopyInformation(grid)
    if path.name.endswith(".seg.nrrd"):
        write_segmentation(image, path, {})
    else:
        sitk.WriteImage(image, path)


@pytest.mark.parametrize(
    ("direction", "ending"), [("LPS", ".nii.gz"), ("gantry tilt", ".nrrd"), ("oblique", ".seg.nrrd")]
)
def test_volumes(tmp_path, direction, ending):
    grid = empty_grid((14, 12, 8), (0.8, 0.8, 3.0), DIRECTIONS[direction])
    truth = np.zeros((8, 12, 14), np.uint8)
    truth[2:6, 3:9, 3:10] = 1
    truth[3:5, 5:7, 5:8] = 2
    prediction = np.roll(truth, 1, axis=0)
    for name, array in (("truth", truth), ("predictions", prediction)):
        (tmp_path / name).mkdir()
        write_volume(array, grid, tmp_path / name / f"case.1{ending}")
    result = evaluated(tmp_path, "predictions", "--class", 2)
    metrics = result["images"]["case.1"]
    assert {name: metrics[name] for name in METRICS} == threshold_metrics(
        (prediction == 2).astype(np.float32), truth == 2
    )
    voxel_ml = abs(np.linalg.det(np.reshape(grid.GetDirection(), (3, 3)))) * 0.8 * 0.8 * 3 / 1000
    assert metrics["truth_volume_ml"] == metrics["volume_ml"] == pytest.approx(12 * voxel_ml, rel=1e-5)
    # Half of the surface voxels lie on the other surface, half of them one voxel away along the third axis.
    assert 0 < metrics["surface_distance_mm"] < metrics["hausdorff_95_mm"] == pytest.approx(3, rel=1e-5)
    assert result["confidence"]["dice"] is None


def test_a_probability_volume_and_one_on_another_grid(tmp_path):
    grid = empty_grid((10, 10, 10), (1, 1, 1))
    truth = np.zeros((10, 10, 10), np.uint8)
    truth[2:8, 2:8, 2:8] = 1
    write_volume(truth, grid, tmp_path / "truth.nrrd")
    probability = np.where(truth, 0.7, 0.2).astype(np.float32)
    write_volume(probability, grid, tmp_path / "p.nrrd")
    sitk.WriteImage(sitk.ReadImage(tmp_path / "p.nrrd")[1:9, 1:9, 1:9], tmp_path / "cropped.nrrd")
    write_volume(probability * 2, grid, tmp_path / "no.nrrd")

    def measured(name, *arguments):
        assert run(tmp_path / name, tmp_path / "truth.nrrd", "--json", tmp_path / "o.json", *arguments) == 0
        return json.loads((tmp_path / "o.json").read_text())["images"]["truth"]

    assert measured("p.nrrd")["dice"] == 1
    assert measured("p.nrrd")["mae"] == pytest.approx((216 * 0.3 + 784 * 0.2) / 1000)
    assert measured("p.nrrd", "--threshold", 0.75)["dice"] == 0
    assert measured("cropped.nrrd")["dice"] == 1
    assert run(tmp_path / "no.nrrd", tmp_path / "truth.nrrd") == 3


def write_evaluation(path, dice, mae=0.1, finding=None, with_finding=None, protocol="paper", images=("a", "b")):
    mean = dict.fromkeys(METRICS, 0.5) | {"dice": dice, "mae": mae}
    evaluation = {"mean": mean, "protocol": protocol, "threshold": None, "class": finding, "count": 48}
    evaluation["images"] = {name: {} for name in images}
    evaluation["with_finding"] = {"mean": mean | {"dice": with_finding}}
    path.write_text(json.dumps(evaluation))
    return path


def table(capsys, *arguments):
    capsys.readouterr()
    assert cli.main(["evaluate-table", *map(str, arguments)]) == 0
    lines = capsys.readouterr().out.splitlines()
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]


def test_a_table_like_the_paper_s_second(tmp_path, capsys):
    unet = write_evaluation(tmp_path / "unet.json", 0.439, 0.186)
    inf_net = write_evaluation(tmp_path / "inf.json", 0.682, 0.0821)
    semi = write_evaluation(tmp_path / "semi.json", 0.739, 0.0824)
    rows = table(capsys, f"U-Net={unet}", f"Inf-Net={inf_net}", f"K=5, Semi={semi}", "--like", "II")
    assert rows[0] == ["Method", "Dice", "Sen.", "Spec.", "S-measure", "Mean E-measure", "MAE"]
    assert [row[0] for row in rows[2:]] == ["U-Net", "Inf-Net", "K=5, Semi"]
    assert [row[1] for row in rows[2:]] == ["0.439", "0.682", "**0.739**"]
    assert [row[6] for row in rows[2:]] == ["0.186", "**0.082**", "**0.082**"]  # low is best; equal as written
    assert table(capsys, f"U={unet}", "--like", "V")[0] == ["Method", "Dice", "Sen.", "Spec.", "Prec."]
    assert "Prec." in table(capsys, f"U={unet}")[0]


def test_a_table_like_the_paper_s_third(tmp_path, capsys):
    files = {}
    for method, ggo, consolidation in (("FCN8s", 0.471, 0.221), ("MC", 0.624, 0.362)):
        paths = [
            write_evaluation(tmp_path / f"{method}-1.json", ggo, finding=1, with_finding=ggo),
            write_evaluation(
                tmp_path / f"{method}-2.json", consolidation, finding=2, with_finding=consolidation * 48 / 38
            ),
        ]
        files[method] = ",".join(map(str, paths))
    rows = table(capsys, *(f"{m}={f}" for m, f in files.items()), "--like", "III")
    assert [rows[0][i] for i in (1, 7, 13)] == ["Ground-glass opacity: Dice", "Consolidation: Dice", "average: Dice"]
    assert [rows[3][i] for i in (1, 7, 13)] == ["**0.624**", "**0.362**", "**0.493**"]
    rows = table(capsys, *(f"{m}={f}" for m, f in files.items()), "--like", "III", "--with-finding")
    assert [rows[3][i] for i in (7, 13)] == ["**0.457**", "**0.541**"]  # the paper's own way


def test_evaluations_that_cannot_be_compared(tmp_path, capsys):
    paper = write_evaluation(tmp_path / "a.json", 0.5)
    other = write_evaluation(tmp_path / "b.json", 0.5, protocol="threshold")
    elsewhere = write_evaluation(tmp_path / "c.json", 0.5, images=("a", "c"))
    for methods, said in (
        ([f"A={paper}", f"B={other}"], "another way"),
        ([f"A={paper}", f"B={elsewhere}"], "another way"),
        ([f"A={paper}", f"A={paper}"], "a name of its own"),
        ([str(paper)], "write NAME=FILE"),
        ([f"A={tmp_path / 'none.json'}"], "none.json"),
        ([f"A={__file__}"], "not a file of infnet evaluate"),
    ):
        assert cli.main(["evaluate-table", *methods]) == 3
        assert said in capsys.readouterr().err
    assert cli.main(["evaluate-table", f"A={paper}", "-o", str(tmp_path / "t.md")]) == 0
    assert (tmp_path / "t.md").read_text().startswith("| Method | Dice |")


def test_known_results_on_real_slices(covid_semiseg, tmp_path):
    """A truth as its own prediction: perfect at a threshold, and nearly so over thresholds, of which 0 finds all."""
    truth = covid_semiseg / "multiclass" / "GT"
    for protocol in ("threshold", "paper"):
        path = tmp_path / "out.json"
        assert run(truth, truth, "--class", 2, "--protocol", protocol, "--json", path) == 0
        result = json.loads(path.read_text())
        assert result["with_finding"]["count"] == 39 and result["both_empty"] == 11
        if protocol == "threshold":
            assert result["mean"]["dice"] == 1
        else:
            assert 255 / 256 < result["with_finding"]["mean"]["dice"] < 1
            assert result["mean"]["dice"] == pytest.approx(result["with_finding"]["mean"]["dice"] * 39 / 50)
