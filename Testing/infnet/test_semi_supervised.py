"""Algorithm 1: which slices are trained on when, and that no kill changes it."""

import csv
import hashlib
import json
import os
import shutil
import signal
from dataclasses import replace

import numpy as np
import pytest
import tinynetwork
import torch
from hypothesis import given
from hypothesis.extra.numpy import arrays
from infnet.cli import main
from infnet.data.labelled_slices import Slice, digest, read_labelled_slices, read_slices
from infnet.errors import InfNetError, InputError
from infnet.evaluation.metrics import dice
from infnet.networks import NETWORKS
from infnet.reporting import silent
from infnet.training import semi_supervised
from infnet.training.folds import folds
from infnet.training.modules import MODULES
from infnet.training.pseudo_labels import Review, stability, write_pseudo_label
from infnet.training.recipe import Recipe
from infnet.training.semi_recipe import SEMI_RECIPES, SemiRecipe
from infnet.training.semi_supervised import SemiSupervision
from PIL import Image
from toyslices import make_slices

SEMI = SemiRecipe(k=2, round_epochs=2, pre_training_epochs=3)


@pytest.fixture(autouse=True)
def tiny_network(monkeypatch):
    monkeypatch.setitem(NETWORKS, "tiny", tinynetwork.TINY)


def recipe(**changes):
    tiny = {"network": "tiny", "network_options": {"batch_norm": True, "dropout": 0.2}}
    return Recipe(**tiny, size=64, scales=(1.0,), batch_size=4, epochs=1, learning_rate=1e-2, **changes)


@pytest.fixture
def data(tmp_path):
    """Labelled slices 0 to 3, unlabelled ones u0 to u5."""
    make_slices(tmp_path / "labelled", 4)
    unlabelled = make_slices(tmp_path / "unlabelled", 6, seed=1)
    shutil.rmtree(unlabelled / "GT")
    for path in (unlabelled / "Imgs").iterdir():
        path.rename(path.with_name(f"u{path.name}"))
    return tmp_path


@pytest.fixture
def trainings(monkeypatch):
    """Trainings without training, and what they were asked for; predictions without predicting.

    The weights are a function of all that a training is given, the predictions of weights and slice.
    """
    asked = []

    def maps(run, model, slice_):
        origin = hashlib.sha256((model.card.sha256 + slice_.stem).encode()).digest()
        return {
            "predictions": np.random.default_rng(list(origin)).integers(256, size=slice_.image.shape, dtype=np.uint8)
        }

    def fit(slices, recipe, run_folder, device, progress, stage, initial, precision, held_out):
        (run_folder / "checkpoints").mkdir(parents=True, exist_ok=True)
        progress(stage, 1, 2)
        asked.append(
            {
                "stage": stage,
                "stems": [s.stem for s in slices],
                "soft": [s.stem for s in slices if s.soft is not None],
                "recipe": recipe,
                "initial": initial and initial.card.name,
                "held out": [s.stem for s in held_out],
            }
        )
        origin = repr((digest(slices), recipe, initial and initial.card.sha256)).encode()
        torch.manual_seed(int(hashlib.sha256(origin).hexdigest()[:12], 16))
        module = MODULES["infection"](recipe, 1)
        progress(stage, 2, 2)
        return module.eval()

    monkeypatch.setattr(semi_supervised, "fit", fit)
    monkeypatch.setattr(SemiSupervision, "_maps", maps)
    return asked


def run_of(data, semi=SEMI, folder="run", progress=silent):
    labelled, unlabelled = read_labelled_slices(data / "labelled"), read_slices(data / "unlabelled")
    return SemiSupervision(labelled, unlabelled, recipe(), semi, data / folder, "cpu", "32", progress)


def two_steps(run):
    return run.two_steps(run.propagate())


def listing(path):
    with path.open(newline="") as file:
        return {row["file"]: row["use"] for row in csv.DictReader(file)}


@pytest.mark.parametrize(("k", "rounds", "sizes"), [(4, None, (4, 6)), (2, 2, (2, 4)), (9, 7, (6,))])
def test_d_training_grows_by_k_slices_a_round(k, rounds, sizes, data, trainings):
    two_steps(run_of(data, replace(SEMI, k=k, rounds=rounds)))
    first, *fine_tunings, pre_training, last = trainings
    labelled = ["0", "1", "2", "3"]
    assert first["stems"] == last["stems"] == labelled and first["recipe"] == last["recipe"] == recipe()
    before = labelled
    for training, size in zip(fine_tunings, sizes, strict=True):
        assert training["stems"][: len(before)] == before  # nothing is ever taken out
        assert len(set(training["stems"])) == len(training["stems"]) == 4 + size
        before = training["stems"]
        assert (training["recipe"].epochs, training["recipe"].learning_rate) == (2, 3e-4)
    assert set(before[4:]) <= {f"u{i}" for i in range(6)}
    assert pre_training["stems"] == pre_training["soft"] == before[4:]
    assert pre_training["recipe"].epochs == 3
    m = ["supervised", *(f"round-{n:03}" for n in range(1, len(sizes)))]
    assert [t["initial"] for t in trainings] == [None, *m, None, "pre-training"]


def test_the_slices_are_chosen_at_random_from_the_seed(data, trainings):
    run = run_of(data, replace(SEMI, k=6))
    run.propagate()
    replace(run, run_folder=data / "again").propagate()
    replace(run, run_folder=data / "other", recipe=recipe(seed=1)).propagate()
    one, again, other = (trainings[i]["stems"] for i in (1, 3, 5))
    assert one == again != other and sorted(one) == sorted(other)


def test_refreshed_labels_are_those_of_the_newest_network(data, trainings, monkeypatch):
    said = []

    def maps(run, model, slice_):
        said.append((model.card.name, slice_.stem))
        return {"predictions": np.full(slice_.image.shape, len(said), np.uint8)}

    monkeypatch.setattr(SemiSupervision, "_maps", maps)
    final = run_of(data, replace(SEMI, refresh=True)).propagate()
    by_model = {name: [stem for m, stem in said if m == name] for name, _ in said}
    assert list(by_model) == ["supervised", "round-001", "round-002", "round-003"]
    assert [len(stems) for stems in by_model.values()] == [2, 4, 6, 6]
    assert by_model["round-001"][:2] == by_model["supervised"]
    assert [s.soft[0, 0] for s in final] == list(range(13, 19))
    assert [len(t["stems"]) for t in trainings] == [4, 6, 8, 10]


class Killed(BaseException):
    """Nothing catches it."""


@pytest.mark.parametrize("semi", [replace(SEMI, k=3), replace(SEMI, k=3, refresh=True)], ids=["paper", "refreshed"])
def test_a_run_killed_again_and_again_ends_as_an_undisturbed_one(semi, data, trainings):
    undisturbed = two_steps(run_of(data, semi, "undisturbed"))
    expected = [(t["stage"], t["stems"], t["initial"]) for t in trainings]
    trainings.clear()
    seen, written, kills = set(), {}, 0

    def kill(stage, done, total):
        moment = (stage, done, *sorted(p.parent.name for p in (data / "killed").glob("*/model")))
        if moment not in seen and (stage != "pseudo-labels" or done == 2):
            seen.add(moment)
            raise Killed

    while True:
        try:
            resumed = two_steps(run_of(data, semi, "killed", kill))
            break
        except Killed:
            kills += 1
        for path in (data / "killed").glob("*/Soft/*.png"):
            assert written.setdefault(path, path.stat().st_mtime_ns) == path.stat().st_mtime_ns  # labelled once
    assert kills >= 13
    assert resumed.card == undisturbed.card
    pictures = {p.relative_to(data / "killed"): p.read_bytes() for p in (data / "killed").rglob("*.png")}
    assert pictures == {
        p.relative_to(data / "undisturbed"): p.read_bytes() for p in (data / "undisturbed").rglob("*.png")
    }
    # Killed in its last step once, each training got that far twice, and never again once it was finished.
    done = [(t["stage"], t["stems"], t["initial"]) for t in trainings]
    assert len(done) == 2 * len(expected) and all(done.count(training) == 2 for training in expected)


@pytest.fixture
def one_thread():
    """What threads add up depends on their number, and those of a process are not there after a fork."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs POSIX")
def test_a_process_that_is_killed_loses_nothing(data, one_thread):
    """The real training, and SIGKILL: nothing is tidied up."""
    semi = replace(SEMI, k=3, round_epochs=1, pre_training_epochs=1)
    undisturbed = two_steps(run_of(data, semi, "undisturbed"))
    moments = [("supervised", 1), ("pseudo-labels", 2), ("fine-tuning", 1), ("rounds", 2), ("semi-supervised", 1)]
    for moment in moments:
        child = os.fork()
        if child == 0:

            def kill(stage, done, total, moment=moment):
                if (stage, done) == moment:
                    os.kill(os.getpid(), signal.SIGKILL)

            two_steps(run_of(data, semi, "killed", kill))
            os._exit(0)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == -signal.SIGKILL
    resumed = two_steps(run_of(data, semi, "killed"))
    assert resumed.card.sha256 == undisturbed.card.sha256


def test_a_person_rejects_and_corrects(data, trainings):
    mask = np.zeros((72, 60), np.uint8)
    mask[:30] = 2  # labels, as a person may draw them
    (data / "run" / "corrections").mkdir(parents=True)
    Image.fromarray(mask).save(data / "run" / "corrections" / "u1.png")
    (data / "run" / "rejected.txt").write_text("u0\nu5\n")
    final = {s.stem: s for s in run_of(data).propagate()}
    assert sorted(final) == ["u1", "u2", "u3", "u4"]
    assert final["u1"].soft is None and np.array_equal(final["u1"].labels, mask)
    assert sorted(trainings[-1]["soft"]) == ["u2", "u3", "u4"]
    uses = {}
    for path in (data / "run").glob("round-*/slices.csv"):
        uses |= listing(path)
    assert uses == {"u0": "rejected", "u5": "rejected", "u1": "corrected", "u2": "used", "u3": "used", "u4": "used"}


def test_a_training_begins_again_when_its_slices_change_while_it_is_interrupted(data, trainings):
    begun = data / "run" / "round-001" / "training" / "checkpoints" / "step-1.ckpt"

    def interrupt(stage, done, total):
        if stage == "fine-tuning" and done == 1:
            raise Killed

    with pytest.raises(Killed):
        run_of(data, progress=interrupt).propagate()
    begun.write_bytes(b"of the slices before")
    with pytest.raises(Killed):
        run_of(data, progress=interrupt).propagate()
    assert begun.is_file()  # nothing changed: it goes on
    chosen = sorted(p.stem for p in (data / "run" / "round-001" / "Soft").iterdir())
    (data / "run" / "rejected.txt").write_text(chosen[0])
    with pytest.raises(Killed):
        run_of(data, progress=interrupt).propagate()
    assert not begun.exists()


def test_pseudo_labels_are_slices_to_train_on(tmp_path):
    slice_ = Slice("a", np.full((40, 50), 90, np.uint8))
    soft = np.linspace(0, 255, 2000).round().astype(np.uint8).reshape(40, 50)
    write_pseudo_label(tmp_path, slice_, {"predictions": soft})
    (read,) = read_labelled_slices(tmp_path)
    assert np.array_equal(read.image, slice_.image)
    assert np.array_equal(read.soft, soft) and read.soft_consolidation is None
    assert np.array_equal(read.labels, soft >= 128)
    edge = np.asarray(Image.open(tmp_path / "Edge" / "a.png"))
    assert set(np.unique(edge[[19, 20]])) == {255} and not edge[:19].any() and not edge[21:].any()
    (hard,) = Review(tmp_path, hard=True).read(tmp_path / "Soft", [slice_], tmp_path / "slices.csv")
    assert np.array_equal(hard.labels, read.labels) and np.array_equal(hard.soft, 255 * read.labels)
    write_pseudo_label(tmp_path, slice_, {"predictions": np.zeros_like(soft)})
    (empty,) = Review(tmp_path, hard=True).read(tmp_path / "Soft", [slice_], tmp_path / "slices.csv")
    assert not empty.is_healthy, "a network that found nothing is no reader"


@pytest.mark.parametrize("hard", [False, True])
def test_pseudo_labels_of_a_network_that_tells_the_findings_apart_do_so_too(hard, tmp_path):
    slice_ = Slice("a", np.full((40, 50), 90, np.uint8))
    soft, consolidation = np.random.default_rng(0).integers(256, size=(2, 40, 50), dtype=np.uint8)
    write_pseudo_label(tmp_path, slice_, {"consolidation": consolidation, "predictions": soft})
    (read,) = Review(tmp_path, hard).read(
        tmp_path / "Soft", [slice_], tmp_path / "slices.csv", tmp_path / "Consolidation"
    )
    given = [np.where(map_ >= 128, 255, 0) if hard else map_ for map_ in (soft, consolidation)]
    assert np.array_equal(read.soft, given[0]) and np.array_equal(read.soft_consolidation, given[1])
    assert np.array_equal(read.labels, np.where(soft < 128, 0, np.where(consolidation < 128, 1, 2)))
    if not hard:  # as a folder of slices it says the same
        assert digest(read_labelled_slices(tmp_path)) == digest([read])


def test_unstable_pseudo_labels_are_left_out_if_asked(tmp_path):
    maps = {"sure": 255, "empty": 0, "doubtful": 150}
    slices = [Slice(stem, np.zeros((8, 8), np.uint8)) for stem in maps]
    for s in slices:
        write_pseudo_label(tmp_path, s, {"predictions": np.full((8, 8), maps[s.stem], np.uint8)})
    everything = Review(tmp_path).read(tmp_path / "Soft", slices, tmp_path / "slices.csv")
    stable = Review(tmp_path, smallest_stability=0.5).read(tmp_path / "Soft", slices, tmp_path / "slices.csv")
    assert [s.stem for s in everything] == list(maps) and [s.stem for s in stable] == ["sure", "empty"]
    assert listing(tmp_path / "slices.csv") == {"sure": "used", "empty": "used", "doubtful": "unstable"}


@given(arrays(np.uint8, (5, 5)))
def test_stability_is_that_of_the_mask(soft):
    p = soft / 255
    wide, narrow = p >= 0.25, p >= 0.75
    union = (wide | narrow).sum()
    assert stability(soft) == pytest.approx((wide & narrow).sum() / union if union else 1)
    assert stability(np.where(soft > 127, np.uint8(255), np.uint8(0))) == 1


OPTIONS = ["--network", "tiny", "--size", "64", "--scales", "1", "--k", "4", "--device", "cpu"]


def command(data, *options):
    return ["semi-supervised", str(data / "labelled"), str(data / "unlabelled"), "-o", str(data / "run"), *options]


def test_a_held_out_fold_is_in_no_training_and_predicted_by_both_models(data, trainings, capsys):
    assert main([*command(data, *OPTIONS), "--hold-out-fold", "1", "--folds", "2", "--progress", "json"]) == 0
    held_out = folds(["0", "1", "2", "3"], 2, seed=0)[1]
    assert not any(set(t["stems"]) & set(held_out) for t in trainings)
    assert all(t["held out"] == held_out for t in trainings)
    maps = {}
    for name in ("supervised", "semi-supervised"):
        paths = sorted((data / "run" / "predictions" / name).iterdir())
        assert [p.stem for p in paths] == held_out
        maps[name] = [np.asarray(Image.open(p)) for p in paths]
        assert all(map_.shape == (72, 60) for map_ in maps[name])
    assert not np.array_equal(maps["supervised"], maps["semi-supervised"])
    result = json.loads(capsys.readouterr().out.splitlines()[-1])
    card = json.loads((data / "run" / "model" / "run.json").read_text())
    assert result["output"] == str(data / "run" / "model" / "run.json")
    assert card["training"]["pseudo_labels"] == "Algorithm 1" and card["training"]["held_out"] == 2
    metrics = json.loads((data / "run" / "metrics.json").read_text())
    truths = {s.stem: s.labels > 0 for s in read_labelled_slices(data / "labelled")}
    for name, images in (("semi-supervised", metrics["images"]), ("supervised", metrics["before"]["images"])):
        for stem, map_ in zip(held_out, maps[name], strict=True):
            assert images[stem]["dice"] == pytest.approx(dice(map_ >= 128, truths[stem]))
    change = [metrics["images"][s]["dice"] - metrics["before"]["images"][s]["dice"] for s in held_out]
    assert metrics["before"]["dice_difference"]["mean"] == pytest.approx(np.mean(change))
    assert card["metrics"]["metrics"] == metrics["metrics"] and card["metrics"]["only_fold"] == 1
    with (data / "run" / "data.csv").open(newline="") as file:
        listed = [(row["file"], row["use"]) for row in csv.DictReader(file)]
    assert [file for file, use in listed if use == "held out"] == held_out
    assert [file for file, use in listed if use == "unlabelled"] == [f"u{i}" for i in range(6)]
    assert card["training"]["pre_training"]["pseudo_labelled_slices"] == 6
    assert main(command(data, *OPTIONS)) == 3  # the folder is that of the fold
    assert "holds another training" in capsys.readouterr().err


def test_a_network_that_tells_the_findings_apart_teaches_and_learns_them(data, capsys):
    options = [*OPTIONS, "--network-option", "consolidation_head=true", "--rounds", "1", "--round-epochs", "1"]
    schedule = ["--pre-training-epochs", "1", "--epochs", "1", "--hold-out-fold", "0", "--folds", "2"]
    assert main(command(data, *options, *schedule)) == 0
    assert len(list((data / "run" / "round-001" / "Consolidation").iterdir())) == 4
    metrics = json.loads((data / "run" / "metrics.json").read_text())
    held_out = [s for s in read_labelled_slices(data / "labelled") if s.stem in metrics["images"]]
    for name, images in (("semi-supervised", metrics["images"]), ("supervised", metrics["before"]["images"])):
        for s in held_out:
            infected, consolidation = (
                np.asarray(Image.open(data / "run" / kind / name / f"{s.stem}.png")) >= 128
                for kind in ("predictions", "consolidation")
            )
            assert images[s.stem]["ggo_dice"] == pytest.approx(dice(infected & ~consolidation, s.labels == 1))
            assert images[s.stem]["consolidation_dice"] == pytest.approx(dice(infected & consolidation, s.labels == 2))
    assert main(command(data, *options, "--pseudo-labels", str(data))) == 3
    assert "do not tell the findings apart" in capsys.readouterr().err


def test_a_gate_is_learnt_though_all_pseudo_labels_show_infection(data, capsys):
    """The pre-training, on these alone, could not teach it."""
    (data / "maps").mkdir()
    for path in (data / "unlabelled" / "Imgs").iterdir():
        Image.fromarray(np.full((72, 60), 200, np.uint8)).save(data / "maps" / path.name)
    healthy = data / "labelled" / "GT" / "0.png"
    Image.new("L", Image.open(healthy).size).save(healthy)
    schedule = ["--pre-training-epochs", "1", "--epochs", "1", "--pseudo-labels", str(data / "maps")]
    assert main(command(data, *OPTIONS, *schedule, "--network-option", "gate_head=true")) == 0
    training = json.loads((data / "run" / "model" / "run.json").read_text())["training"]
    assert "random: gate_head" in training["initial_weights"]


def test_pseudo_labels_that_are_there_already_take_the_place_of_algorithm_1(data, trainings):
    (data / "maps").mkdir()
    for path in (data / "unlabelled" / "Imgs").iterdir():
        Image.fromarray(np.full((72, 60), 200, np.uint8)).save(data / "maps" / path.name)
    assert main(command(data, *OPTIONS, "--pseudo-labels", str(data / "maps"))) == 0
    assert [t["stage"] for t in trainings] == ["pre-training", "semi-supervised"]
    assert trainings[0]["soft"] == [f"u{i}" for i in range(6)]
    card = json.loads((data / "run" / "model" / "run.json").read_text())
    assert card["training"]["pseudo_labels"] == "released pseudo-labels"


def test_slices_of_excluded_volumes_are_not_used(data, trainings, capsys):
    rows = [("file", "volume"), *((f"u{i}", "ab"[i % 2]) for i in range(6))]
    (data / "unlabelled" / "slices.csv").write_text("".join(f"{file},{volume}\n" for file, volume in rows))
    assert main(command(data, *OPTIONS, "--exclude-volumes", "b")) == 0
    assert sorted(trainings[1]["stems"]) == ["0", "1", "2", "3", "u0", "u2", "u4"]
    assert main(command(data, *OPTIONS, "--exclude-volumes", "c")) == 3
    assert "no volume c" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--k", "0"], "K = 0"),
        (["--rounds", "0"], "0 rounds"),
        (["--k", "1", "--rounds", "1"], "the pre-training needs two or more"),
        (["--smallest-stability", "2"], "stability 2"),
        (["--round-epochs", "0"], "0 epochs"),
        (["--pre-training-epochs", "0"], "0 epochs"),
        (["--hold-out-fold", "3", "--folds", "3"], "Fold 3 of 3: they are called 0 to 2"),
        (["--hold-out-fold", "0", "--folds", "9"], "9 folds of 4 slices"),
        (["--network", "infection-guided-unet"], "it finds findings"),
        (["--network-option", "consolidation_head=True", "--pseudo-labels", "."], "do not tell the findings apart"),
        (["--pseudo-labels", "nowhere"], "u0.png"),
        (["--exclude-volumes", "a"], "slices.csv"),
        (["--network-option", "gate_head=true"], "The gate needs slices with infection and slices without"),
        (["--encoder", "efficientnet_lite2", "--batch-size", "2", "--network", "dense-unet"], "efficientnet_lite2"),
    ],
)
def test_what_cannot_work_is_told_in_one_line_before_anything_is_written(options, message, data, capsys):
    assert main(command(data, *options)) == 3
    told = capsys.readouterr().err.strip()
    assert message in told and "\n" not in told
    assert not (data / "run").exists()


def test_a_slice_to_be_held_out_may_not_come_back_as_an_extra_one(data, trainings, capsys):
    shutil.copytree(data / "labelled", data / "extra")
    assert main(command(data, *OPTIONS, "--hold-out-fold", "0", "--folds", "2", "--extra", str(data / "extra"))) == 3
    assert "held out" in capsys.readouterr().err and not trainings


def test_the_presets():
    paper, small = SEMI_RECIPES["paper"], SEMI_RECIPES["small"]
    assert (paper.k, paper.round_epochs, paper.round_learning_rate, paper.round_batch_size) == (5, 9, 3e-4, 16)
    assert paper.rounds_for(1600) == 320 and not paper.refresh
    assert small.rounds_for(1600) == 3 and small.refresh
    with pytest.raises(InputError):
        SemiRecipe(k=0)


def write_correction(run, name, size=(60, 72)):
    (run / "corrections").mkdir(parents=True)
    Image.new("L", size).save(run / "corrections" / name)


@pytest.mark.parametrize(
    ("say", "told"),
    [
        (lambda run: (run / "rejected.txt").write_text("u0.png\n"), "no unlabelled slice is called u0.png"),
        (lambda run: (run / "rejected.txt").write_bytes("u0\n".encode("utf-16")), "rejected.txt: cannot be read"),
        (lambda run: (run / "rejected.txt").symlink_to("nowhere"), "rejected.txt: cannot be read"),
        (lambda run: (run / "rejected.txt").mkdir(), "rejected.txt: not a file"),
        (lambda run: write_correction(run, "u1.jpg"), "u1.jpg: corrects no unlabelled slice"),
        (lambda run: write_correction(run, "other.png"), "other.png: corrects no unlabelled slice"),
        (lambda run: write_correction(run, "u1.png", (1, 1)), "u1.png: (1, 1), but its slice is (72, 60)"),
    ],
)
def test_a_person_s_word_that_would_not_be_heeded_is_told_before_the_training(data, trainings, capsys, say, told):
    (data / "run").mkdir()
    say(data / "run")
    assert main(command(data, *OPTIONS)) == 3
    error = capsys.readouterr().err.strip()
    assert told in error and "\n" not in error and not trainings


def test_a_list_of_rejected_slices_as_other_editors_write_it_is_heeded(data, trainings):
    (data / "run").mkdir()
    (data / "run" / "rejected.txt").write_text("u0\r\n\r\nu5\r\n", encoding="utf-8-sig", newline="")
    assert main(command(data, *OPTIONS)) == 0
    assert sorted(trainings[-2]["soft"]) == ["u1", "u2", "u3", "u4"]


@pytest.mark.parametrize(
    ("damage", "status", "told"),
    [
        (lambda run: (run / "supervised/model/supervised.json").write_bytes(b""), 5, "remove it, and it is trained"),
        (lambda run: (run / "supervised/model/supervised.json").unlink(), 5, "remove it, and it is trained again"),
        (lambda run: next((run / "round-001/Soft").iterdir()).write_bytes(b"png"), 3, "not a readable image"),
        (lambda run: Image.new("L", (1, 1)).save(next((run / "round-001/Soft").iterdir())), 3, "but its slice is"),
    ],
)
def test_what_is_damaged_in_a_run_that_goes_on_is_told(data, trainings, capsys, damage, status, told):
    def kill(stage, done, total):
        if stage == "fine-tuning":
            raise Killed

    with pytest.raises(Killed):
        run_of(data, progress=kill).propagate()
    damage(data / "run")
    with pytest.raises(InfNetError, match=told) as error:
        run_of(data).propagate()
    assert error.value.exit_status == status
    shutil.rmtree(data / "run/supervised/model")
    shutil.rmtree(data / "run/round-001/Soft")
    assert len(run_of(data).propagate()) == 6


def test_a_note_on_the_slices_of_a_training_that_is_damaged_begins_it_again(data, trainings):
    def interrupt(stage, done, total):
        if stage == "fine-tuning" and done == 1:
            raise Killed

    with pytest.raises(Killed):
        run_of(data, progress=interrupt).propagate()
    (data / "run/round-001/data.sha256").write_bytes(b"\xff\xfe\x00")
    assert len(run_of(data).propagate()) == 6
