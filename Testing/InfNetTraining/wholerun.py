"""A whole training from the panel on the test host, on real slices; for development, not part of the tests.

    python Testing/InfNetTraining/wholerun.py LABELLED CT -o FOLDER [--size 96] [--epochs 3]

LABELLED holds Imgs and GT, of which some are taken; the unlabelled slices are made of CT, a file. Three Slicer hosts
follow each other, each a process: the first makes slices, estimates, starts, stops, resumes and is closed while it
trains; the second finds the run, goes through its pauses with a rejection and a correction, and installs the model; the
third segments CT with it. Pictures of the panel go into FOLDER.
"""

import argparse
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

REPOSITORY = Path(__file__).parents[2]
sys.path[:0] = [str(REPOSITORY / "Testing"), str(REPOSITORY / "InfNetSegmentation")]
_LABELLED = 20  # slices
_SECONDS = 3600  # at most, until anything that is waited for


def takeSlices(source, folder):
    """Some of the labelled slices."""
    images = sorted((source / "Imgs").iterdir())
    for image in images[:: -(-len(images) // _LABELLED)]:
        for name in ("Imgs", "GT"):
            path = next((source / name).glob(f"{image.stem}.*"))
            (folder / name).mkdir(parents=True, exist_ok=True)
            shutil.copy(path, folder / name)


def openPanel(folder):
    import slicerhost

    host = slicerhost.start()
    host.loadModule(REPOSITORY / "InfNetSegmentation/InfNetSegmentation.py")
    panel = host.openModule(host.loadModule(REPOSITORY / "InfNetTraining/InfNetTraining.py"))
    panel.parent.resize(560, 900)
    panel.parent.show()
    panel.ui.outputFolderLine.currentPath = str(folder / "run")
    return host, panel


def choose(comboBox, text):
    comboBox.currentIndex = comboBox.findText(text)


def say(panel, what):
    print(f"{time.strftime('%H:%M:%S')} {what}: {panel.ui.stageLabel.text}", flush=True)


def picture(panel, path, view=None):
    """The panel as it is, and beside it what a slice view shows."""
    import slicer
    from PIL import Image

    for _turn in range(5):  # the layout follows what has changed
        panel.parent.resize(560, panel.parent.sizeHint().height())
        slicer.app.processEvents()
    panel.parent.grab().save(str(path))
    if view is not None:
        left, right = Image.open(path).convert("RGB"), Image.fromarray(view.image())
        both = Image.new("RGB", (left.width + right.width, max(left.height, right.height)), "black")
        both.paste(left, (0, 0))
        both.paste(right, (left.width, 0))
        both.save(path)


def begin(folder, options):
    """The first host: estimate, start, stop, resume; it ends while the training goes on."""
    host, panel = openPanel(folder)
    ui = panel.ui
    ui.labelledFolderLine.currentPath = str(folder / "labelled")
    choose(ui.kindSelector, "Semi-supervised (Algorithm 1)")
    ui.ctFolderLine.currentPath = str(folder / "cts")
    ui.makeUnlabelledButton.click()
    host.waitUntil(lambda: not panel.logic.preparing, _SECONDS)
    print(f"unlabelled: {ui.unlabelledFolderLine.currentPath}", flush=True)
    choose(ui.presetSelector, "Quick look")
    ui.sizeBox.value, ui.epochsBox.value = options.size, options.epochs
    ui.kBox.value, ui.roundsBox.value = 10, 2
    ui.holdOutBox.checked = ui.pauseBox.checked = True
    ui.estimateButton.click()
    host.waitUntil(lambda: not panel.logic.preparing, _SECONDS)
    print(ui.estimateLabel.text, flush=True)
    picture(panel, folder / "1-estimated.png")
    ui.applyButton.click()
    host.waitUntil(lambda: ui.progressBar.maximum > 1 and ui.progressBar.value > 1, _SECONDS)
    say(panel, "started")
    ui.applyButton.click()
    host.waitUntil(lambda: panel._run.status.state == "stopped", _SECONDS)
    say(panel, "stopped")
    before = panel._run.status.done
    ui.applyButton.click()
    host.waitUntil(lambda: panel._run.status.state == "running" and panel._run.status.done > before, _SECONDS)
    say(panel, f"resumed after step {before}")
    assert not host.errors, host.errors
    os._exit(0)  # closed without a word


def review(folder, options):
    """The second host: find the run, review, and install what came of it."""
    import slicer
    from slicerhost.views import SliceView

    host, panel = openPanel(folder)
    ui, run = panel.ui, panel._run
    say(panel, f"found {run.status.state}")
    slicer.util.loadVolume(str(next((folder / "cts").iterdir())), {}).GetDisplayNode().SetWindowLevel(1400, -500)
    ui.dataSection.collapsed = ui.recipeSection.collapsed = True
    view = SliceView(size=(560, 560))
    while run.status.state != "finished":
        host.waitUntil(lambda: not run.status.isRunning, _SECONDS)
        say(panel, run.status.state)
        if run.status.state == "finished":
            break
        assert run.status.awaitsReview, run.status
        if ui.roundSelector.count == 1:
            correct(panel, view)
            picture(panel, folder / "2-reviewed.png", view)
        ui.applyButton.click()
        host.waitUntil(lambda: run.status.isRunning, _SECONDS)
    print(ui.outcomeLabel.text, flush=True)
    ui.installButton.click()
    picture(panel, folder / "3-installed.png")
    assert not host.errors, host.errors


def correct(panel, view):
    """Reject the slice with the least infection; halve the largest pseudo-label, as Segment Editor would."""
    import slicer

    ui = panel.ui
    rows = range(ui.reviewTable.rowCount)
    infected = [float(ui.reviewTable.item(row, 1).text().split()[0] or 0) for row in rows]
    ui.reviewTable.selectRow(infected.index(min(infected)))
    ui.rejectButton.click()
    ui.reviewTable.selectRow(infected.index(max(infected)))
    shown = panel._review._review
    segment = slicer.util.arrayFromSegmentBinaryLabelmap(shown.segmentationNode, "Infection", shown.volumeNode)
    segment[:, : segment.shape[1] // 2] = 0
    slicer.util.updateSegmentBinaryLabelmapFromArray(segment, shown.segmentationNode, "Infection", shown.volumeNode)
    ui.keepCorrectionButton.click()
    uses = [ui.reviewTable.item(row, 3).text() for row in rows]
    print({use: uses.count(use) for use in set(uses)}, flush=True)
    view.show(shown.volumeNode)
    shown.show()  # the view is there now


def use(folder, options):
    """The third host: the other module lists the model, and segments a CT by it."""
    import slicer
    import slicerhost

    host = slicerhost.start()
    module = host.loadModule(REPOSITORY / "InfNetSegmentation/InfNetSegmentation.py")
    from InfNetSegmentationLib.Models import modelChoices

    model = next(choice for choice in modelChoices("infection") if choice.value and Path(choice.value).stem == "run")
    print(f"listed as: {model.title}", flush=True)
    volumeNode = slicer.util.loadVolume(str(options.ct), {"name": "CT"})
    result = module.InfNetSegmentationLogic().process(volumeNode, model=model.value, lobeSource="none", device="cpu")
    print(f"{result.table[-1]['infection_ml']:.0f} mL infected, by {model.title}", flush=True)


_STAGES = {"begin": begin, "review": review, "use": use}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("labelled", type=Path)
    parser.add_argument("ct", type=Path)
    parser.add_argument("-o", "--output", type=Path, required=True, help="new folder")
    parser.add_argument("--size", type=int, default=96)
    parser.add_argument("--epochs", type=int, default=3)
    parser.add_argument("--stage", choices=_STAGES, help=argparse.SUPPRESS)
    options = parser.parse_args()
    folder = options.output.resolve()
    if options.stage:
        _STAGES[options.stage](folder, options)
        return
    takeSlices(options.labelled, folder / "labelled")
    (folder / "cts").mkdir()
    shutil.copy(options.ct, folder / "cts")
    home = folder / "home"  # the model is installed there, not in the user's
    home.mkdir()
    environment = {**os.environ, "HOME": str(home), "USERPROFILE": str(home)}
    for stage in _STAGES:
        print(f"--- a Slicer host: {stage}", flush=True)
        subprocess.run([sys.executable, *sys.argv, "--stage", stage], env=environment, check=True)


if __name__ == "__main__":
    main()
