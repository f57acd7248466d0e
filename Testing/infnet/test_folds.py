"""What is held out: whole CTs, where they are known, and nothing that is learnt from elsewhere."""

import shutil
from dataclasses import replace

import pytest
import tinynetwork
from hypothesis import given
from hypothesis import strategies as st
from infnet.cli import main
from infnet.data.labelled_slices import digest, read_labelled_slices
from infnet.errors import InputError
from infnet.networks import NETWORKS
from infnet.training.folds import check_folds, folds, hold_out
from toyslices import make_slices


@given(st.lists(st.integers(0, 9), min_size=20, max_size=60).filter(lambda v: len(set(v)) >= 4), st.integers(0, 5))
def test_every_slice_is_in_one_fold_and_no_ct_in_two(numbers, seed):
    volumes = {f"s{i}": f"ct{number}" for i, number in enumerate(numbers)}
    dealt = folds(list(volumes), 4, seed, volumes)
    assert sorted(stem for fold in dealt for stem in fold) == sorted(volumes)
    of_fold = [{volumes[stem] for stem in fold} for fold in dealt]
    assert sum(map(len, of_fold)) == len(set(volumes.values()))
    assert max(map(len, of_fold)) - min(map(len, of_fold)) <= 1


def test_without_a_list_of_cts_the_folds_are_those_they_were():
    stems = [str(i) for i in range(7)]
    assert folds(stems, 3, 0) == folds(stems, 3, 0, {}) == [["2", "3", "4"], ["5", "6"], ["0", "1"]]


@pytest.mark.parametrize("column", ["volume", "patient"])
def test_the_list_beside_the_slices_is_heeded(tmp_path, column):
    folder = make_slices(tmp_path / "labelled", 6)
    plain = read_labelled_slices(folder)
    assert [s.volume for s in plain] == [None] * 6
    header = "file,volume" if column == "volume" else "file,volume,patient"
    rows = [f"{i},{'ab'[i % 2] if column == 'volume' else f'scan{i},' + 'ab'[i % 2]}" for i in range(6)]
    (folder / "slices.csv").write_text("\n".join([header, *rows]) + "\n")
    slices = read_labelled_slices(folder)
    training, held_out = hold_out(slices, 2, 0, seed=0)
    assert {int(s.stem) % 2 for s in training} != {int(s.stem) % 2 for s in held_out}
    assert len(training) == len(held_out) == 3
    assert digest(slices) == digest(plain), "what is trained on is the same"
    with pytest.raises(InputError, match="3 folds of 2 CTs"):
        check_folds(slices, 3)
    check_folds([replace(s, volume=None) for s in slices], 3)


@pytest.mark.parametrize("rows", ["File,Patient\n{}.PNG,{}", "file, patient\n{}, {} "], ids=["endings", "spaces"])
def test_a_list_written_by_hand_keeps_slices_of_a_patient_together(tmp_path, rows):
    header, row = rows.split("\n")
    folder = make_slices(tmp_path / "labelled", 6)
    (folder / "slices.csv").write_text("\n".join([header, *(row.format(i, "ab"[i % 2]) for i in range(6))]))
    assert [s.volume for s in read_labelled_slices(folder)] == ["a", "b"] * 3


def test_a_list_of_other_slices_is_refused(tmp_path):
    """As if there were none, slices of one patient would be both trained on and held out."""
    folder = make_slices(tmp_path / "labelled", 2)
    (folder / "slices.csv").write_text("file,patient\nslice0,a\nslice1,a\n")
    with pytest.raises(InputError, match=r"slices\.csv: its column file names none of the slices in Imgs"):
        read_labelled_slices(folder)


def test_a_picture_that_is_there_twice_is_not_both_learnt_and_held_out(tmp_path):
    slices = read_labelled_slices(make_slices(tmp_path / "labelled", 4))
    twice = [*slices, replace(slices[0], stem="again")]
    dealt = [{s.stem for s in hold_out(slices, 2, index, 0)[1]} for index in (0, 1)]
    assert sorted(map(len, dealt)) == [2, 2], "others are dealt as they were"
    with pytest.raises(InputError, match=r"the same picture as \w+, which is held out"):
        for index in range(5):
            hold_out(twice, 5, index, 0)
    same_fold = [replace(s, volume="ct" if s.stem in ("0", "again") else s.stem) for s in twice]
    assert sorted(len(hold_out(same_fold, 4, index, 0)[1]) for index in range(4)) == [1, 1, 1, 2]


def test_extra_slices_of_a_ct_that_is_held_out_are_not_trained_on(tmp_path):
    labelled = read_labelled_slices(make_slices(tmp_path / "labelled", 6))
    others = read_labelled_slices(make_slices(tmp_path / "extra", 4, seed=1))
    slices = [replace(s, volume=f"ct{i // 2}") for i, s in enumerate(labelled)]
    volumes = ["ct0", "ct1", "another ct", None]
    extra = [replace(s, stem=f"extra{i}", volume=volumes[i]) for i, s in enumerate(others)]
    left_out = []
    for index in range(3):
        training, held_out = hold_out(slices, 3, index, 0, extra)
        assert not {s.volume for s in training} & {s.volume for s in held_out}
        left_out += {s.stem for s in extra} - {s.stem for s in training}
    assert sorted(left_out) == ["extra0", "extra1"], "each in the fold of its CT, and no other"


def test_an_unlabelled_slice_that_is_held_out_is_refused(tmp_path, monkeypatch, capsys):
    monkeypatch.setitem(NETWORKS, "tiny", tinynetwork.TINY)
    labelled = make_slices(tmp_path / "labelled", 4)
    unlabelled = make_slices(tmp_path / "unlabelled", 2, seed=1)
    (held_out,) = folds([str(i) for i in range(4)], 4, 0)[1]
    shutil.copy(labelled / f"Imgs/{held_out}.png", unlabelled / "Imgs/leak.png")
    command = ["semi-supervised", str(labelled), str(unlabelled), "-o", str(tmp_path / "run"), "--network", "tiny"]
    assert main([*command, "--hold-out-fold", "1", "--folds", "4"]) == 3
    assert f"leak: an unlabelled slice that is also the held-out {held_out}" in capsys.readouterr().err
    assert not (tmp_path / "run").exists()
