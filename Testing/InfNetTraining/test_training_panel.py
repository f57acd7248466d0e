"""The training panel, on the scripted fake backend."""

import logging
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).parents[2]


@pytest.fixture
def dataFolder(tmp_path):
    folder = tmp_path / "data"
    (folder / "Imgs").mkdir(parents=True)
    return folder


@pytest.fixture
def openPanel(host, fakeBackend):
    module = host.loadModule(REPOSITORY / "InfNetTraining/InfNetTraining.py")
    opened = []

    def openWith(scenario):
        widget = host.openModule(module)
        widget.logic = module.InfNetTrainingLogic(fakeBackend(scenario))
        opened.append(widget)
        return widget

    yield openWith
    for widget in opened:
        host.closeModule(widget)


@pytest.fixture
def openReadyPanel(openPanel, dataFolder, tmp_path):
    def openWith(scenario):
        panel = openPanel(scenario)
        panel.ui.dataFolderLine.currentPath = str(dataFolder)
        panel.ui.outputFolderLine.currentPath = str(tmp_path / "run")
        return panel

    return openWith


def test_start_waits_for_a_folder_with_images(openPanel, dataFolder, tmp_path):
    panel = openPanel("success")
    panel.ui.dataFolderLine.currentPath = str(tmp_path)
    assert not panel.ui.applyButton.enabled
    panel.ui.dataFolderLine.currentPath = str(dataFolder)
    assert panel.ui.applyButton.enabled


def test_start_leads_to_a_run_folder(openReadyPanel, host, tmp_path):
    panel = openReadyPanel("success")
    panel.ui.epochsBox.value = 3
    panel.ui.applyButton.click()
    assert panel.ui.applyButton.text == "Stop"
    host.waitUntil(lambda: not panel.logic.running)
    assert panel.ui.applyButton.text == "Start"
    assert (tmp_path / "run").is_dir()
    assert "The training has ended" in panel.ui.logText.plainText


def test_the_next_training_gets_a_folder_of_its_own(openReadyPanel, host, tmp_path):
    panel = openReadyPanel("success")
    for expected in ("run", "run-2", "run-3"):
        assert panel.ui.outputFolderLine.currentPath == str(tmp_path / expected)
        panel.ui.applyButton.click()
        host.waitUntil(lambda: not panel.logic.running)
        assert (tmp_path / expected).is_dir()


def test_the_first_output_folder_is_one_that_does_not_exist(openPanel, host, tmp_path, monkeypatch):
    import InfNetTrainingLib.TrainingParameters as parameters

    monkeypatch.setattr(parameters.TrainingParameters.allParameters["outputFolder"], "default", tmp_path / "run")
    (tmp_path / "run").mkdir()
    (tmp_path / "run-2").mkdir()
    panel = openPanel("success")
    assert panel.ui.outputFolderLine.currentPath == str(tmp_path / "run-3")
    (tmp_path / "run-3").mkdir()
    assert panel.logic.getParameterNode().outputFolder == tmp_path / "run-3", "the choice stays"


def test_stop_ends_the_run(openReadyPanel, host):
    panel = openReadyPanel("stop")
    panel.ui.applyButton.click()
    host.waitUntil(lambda: panel.ui.progressBar.maximum == 100)
    panel.ui.applyButton.click()
    host.waitUntil(lambda: not panel.logic.running)
    assert "Stopped." in panel.ui.logText.plainText
    assert panel.ui.applyButton.enabled


def test_a_failed_run_tells_its_true_cause(openReadyPanel, host, caplog):
    panel = openReadyPanel("crash")
    with caplog.at_level(logging.ERROR):
        panel.ui.applyButton.click()
        host.waitUntil(lambda: not panel.logic.running)
    assert "something broke deep inside" in caplog.text
    assert "something broke deep inside" in panel.ui.logText.plainText


def test_self_tests_pass(host):
    module = host.loadModule(REPOSITORY / "InfNetTraining/InfNetTraining.py")
    module.InfNetTrainingTest().runTest()
