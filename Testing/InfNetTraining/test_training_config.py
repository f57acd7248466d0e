"""The panel's choices are those of the backend, and its arguments are understood there as they are meant."""

import json
import shlex
from dataclasses import replace

import pytest


@pytest.fixture
def config(module, makeSlices, tmp_path):
    labelled, unlabelled = makeSlices(tmp_path / "labelled", count=5), makeSlices(tmp_path / "unlabelled", seed=5)
    return module.TrainingConfig(str(labelled), str(tmp_path / "run"), unlabelledFolder=str(unlabelled))


def parsed(arguments):
    from infnet.cli import build_parser

    return build_parser().parse_args(arguments)


def recipeOf(arguments):
    pytest.importorskip("torch")
    from infnet.commands.train import recipe_from

    return recipe_from(parsed(arguments))


@pytest.mark.parametrize(("name", "backends"), [("modern", "modern"), ("paper", "paper")])
def test_presets_are_the_backends(module, config, name, backends):
    pytest.importorskip("torch")
    from infnet.commands.semi_supervised import semi_recipe_from
    from infnet.training.recipe import preset
    from infnet.training.semi_recipe import SEMI_RECIPES

    folders = {"labelledFolder": config.labelledFolder, "outputFolder": config.outputFolder}
    semi = module.TrainingConfig.withPreset(
        name, **folders, kind="semi-supervised", unlabelledFolder=config.unlabelledFolder
    )
    assert recipeOf(module.TrainingConfig.withPreset(name, **folders).trainingArguments()) == preset(backends)
    assert recipeOf(semi.trainingArguments()) == preset(backends)
    options = parsed(semi.trainingArguments())
    assert semi_recipe_from(options) == SEMI_RECIPES["paper" if name == "paper" else "small"]
    assert str(options.unlabelled) == config.unlabelledFolder


def test_every_preset_and_encoder_can_be_trained(module, config):
    pytest.importorskip("torch")
    from infnet.networks.encoders import ENCODERS as backends
    from InfNetTrainingLib.TrainingConfig import ENCODERS, PRESETS

    assert sorted(ENCODERS) == sorted(backends)
    for name, values in PRESETS.items():
        recipe = recipeOf(replace(config, preset=name, **values).trainingArguments())
        found = {"epochs": recipe.epochs, "size": recipe.size, "batchSize": recipe.batch_size}
        assert found == {key: values[key] for key in found}


def test_choices_reach_the_backend(config):
    values = {"epochs": 7, "batchSize": 6, "learningRate": 2e-5, "size": 96, "seed": 3}
    changed = replace(config, **values, device="cpu", precision="bf16", initial="none")
    recipe = recipeOf(changed.trainingArguments())
    assert (recipe.epochs, recipe.batch_size, recipe.learning_rate, recipe.size, recipe.seed) == (7, 6, 2e-5, 96, 3)
    assert recipe.encoder_weights == "none"
    options = parsed(changed.trainingArguments())
    assert (options.device, options.precision) == ("cpu", "bf16")


def test_a_model_to_start_from_brings_its_network(config):
    from infnet.weights.cards import DEFAULT_MODELS, find_card, read_card

    model = DEFAULT_MODELS["infection"]
    arguments = replace(config, initial=model, encoder="res2net50").trainingArguments()
    assert parsed(arguments).initial == model
    options = dict(read_card(find_card(model)).network["options"])
    options.pop("consolidation_head", None)
    assert recipeOf(arguments).network_options == options


def test_a_model_that_tells_findings_can_be_trained_on_with_labels_that_do_not(config, tmp_path):
    from infnet.weights.cards import DEFAULT_MODELS, find_card

    card = json.loads(find_card(DEFAULT_MODELS["infection"]).read_text(encoding="utf-8"))
    card["network"]["options"]["consolidation_head"] = True
    path = tmp_path / "both.json"
    path.write_text(json.dumps(card), encoding="utf-8")
    options = recipeOf(replace(config, initial=str(path)).trainingArguments()).network_options
    assert options["encoder"] == card["network"]["options"]["encoder"] and "consolidation_head" not in options


def test_a_held_out_fifth_is_a_training_of_its_own_or_part_of_algorithm_1(config):
    first, second = replace(config, holdOut=True).steps()
    assert (first[0], second[0]) == ("cross-validate", "train")
    options = parsed(first)
    assert (options.only_fold, options.folds, options.output.name) == (0, 5, "held-out")
    assert recipeOf(first) == recipeOf(second)
    assert parsed(second).metrics == options.output / "fold-0/metrics.json"
    (only,) = replace(config, holdOut=True, kind="semi-supervised").steps()
    assert (parsed(only).hold_out_fold, parsed(only).folds) == (0, 5)


def test_what_cannot_be_trained_is_told(config, tmp_path):
    assert config.problem() is None
    semi = replace(config, kind="semi-supervised")
    assert semi.problem() is None
    for wrong, word in (
        (replace(config, labelledFolder=str(tmp_path)), "labelled slices"),
        (replace(semi, unlabelledFolder=str(tmp_path)), "unlabelled slices"),
        (replace(semi, initial="a-model"), "ImageNet"),
        (replace(semi, unlabelledFolder=config.labelledFolder), "another folder"),
    ):
        assert word in wrong.problem()


def test_a_note_of_another_version_is_read(module, config):
    values = {**config.asDict(), "colour": "red"}
    del values["seed"]
    assert module.TrainingConfig.fromDict(values) == config


def test_the_command_for_another_computer(config):
    from InfNetTrainingLib.Remote import commandLine, slurmScript

    held = replace(config, holdOut=True, batchSize=8, device="cuda:1")
    first, second = commandLine(held, gpus=4).splitlines()
    assert first.startswith("python -m infnet cross-validate ")
    assert second.startswith("torchrun --nproc-per-node 4 -m infnet train ")
    for line in (first, second):
        words = shlex.split(line)
        options = parsed(words[words.index("infnet") + 1 :])
        assert (options.device, options.batch_size) == ("auto", 8)
    script = slurmScript(held, nodes=2, gpus=2, hours=5)
    assert "--nodes=2 --ntasks-per-node=1 --gpus-per-node=2 " in script
    assert "--time=5:00:00" in script
    assert '--nnodes "$SLURM_NNODES" --nproc-per-node 2 ' in script
    assert '--rdzv-endpoint "$head:29500" -m infnet train ' in script


def test_the_script_runs_the_backend_with_its_arguments(config, tmp_path):
    """With stand-ins of Slurm and torchrun in the shell's path, and a folder with a blank in its name."""
    import os
    import stat
    import subprocess

    from InfNetTrainingLib.Remote import slurmScript

    for name, text in {
        "scontrol": "echo host1; echo host2",
        "srun": '"$@"',
        "torchrun": f'printf "%s\\n" "$@" > "{tmp_path}/words"',
    }.items():
        path = tmp_path / "bin" / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(f"#!/bin/sh\n{text}\n", encoding="utf-8")
        path.chmod(path.stat().st_mode | stat.S_IXUSR)
    script = slurmScript(replace(config, outputFolder="/runs/my $run", batchSize=8), nodes=2, gpus=4)
    environment = {"PATH": f"{tmp_path}/bin:{os.environ['PATH']}", "SLURM_NNODES": "2", "SLURM_JOB_ID": "77"}
    subprocess.run(["bash"], input=script, env=environment, check=True, encoding="utf-8")
    words = (tmp_path / "words").read_text(encoding="utf-8").splitlines()
    assert words[words.index("--rdzv-endpoint") + 1] == "host1:29500"
    assert words[words.index("-o") + 1] == "/runs/my $run"
    assert parsed(words[words.index("infnet") + 1 :]).batch_size == 8


def test_work_that_cannot_be_shared_is_refused(config):
    from InfNetTrainingLib.Remote import commandLine, slurmScript

    with pytest.raises(ValueError, match="A batch of 5"):
        commandLine(config, gpus=2)
    with pytest.raises(ValueError, match="one process"):
        slurmScript(replace(config, kind="semi-supervised", batchSize=8), gpus=2)
    assert "torchrun" not in slurmScript(replace(config, kind="semi-supervised"))


@pytest.mark.parametrize("name", ["modern", "paper"])
def test_presets_of_the_findings_are_the_backends(module, config, name):
    pytest.importorskip("torch")
    from infnet.training.recipe import preset

    findings = module.TrainingConfig.withPreset(name, config.labelledFolder, config.outputFolder, kind="findings")
    recipe = parsed(findings.trainingArguments())
    from infnet.commands.train import recipe_from

    assert recipe_from(recipe, recipe.task) == preset(name, "findings")
    first, second = replace(findings, holdOut=True).steps()
    assert (parsed(first).task, parsed(second).task) == ("findings", "findings")


def test_extra_folders_and_the_pause_reach_the_backend_and_the_note(module, config, tmp_path):
    semi = replace(config, kind="semi-supervised", extraFolders=("a b", "c"), pause=True)
    options = parsed(semi.trainingArguments())
    assert [str(folder) for folder in options.extra] == ["a b", "c"] and options.pause
    assert "a b" in semi.problem()
    assert module.TrainingConfig.fromDict(json.loads(json.dumps(semi.asDict()))) == semi
