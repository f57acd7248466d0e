"""The demo: a chest CT goes through the Slicer module, and segmentation, table and picture come out.

python -m slicerhost.demo [CT] -o FOLDER
"""

import argparse
import sys
import tempfile
from pathlib import Path

from infnet.data.volumes import read_ct, write_image
from infnet.errors import InfNetError
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

from slicerhost.sampledata import downloadChestCT

REPOSITORY = Path(__file__).parents[2]


def main(arguments=None):
    parser = argparse.ArgumentParser(
        prog="demo",
        description="Segment ground-glass opacity and consolidation on a chest CT through the 3D Slicer module. "
        "For research; not for clinical decisions.",
    )
    parser.add_argument("ct", nargs="?", type=Path, metavar="CT", help="image file or folder of DICOM slices")
    parser.add_argument("-o", "--output", type=Path, default=Path("demo-output"), metavar="FOLDER")
    options = parser.parse_args(arguments)
    try:
        run(options.ct, options.output)
    except (InfNetError, RuntimeError, OSError) as error:
        print(f"demo: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("demo: interrupted", file=sys.stderr)
        return 130
    return 0


def run(ctPath, outputFolder):
    console = Console()
    outputFolder = outputFolder.resolve()  # Slicer takes relative paths from its scene's folder
    if ctPath is None:
        console.print("Taking the chest CT lung2 from the package pyradiomics (34 MB, once) …")
        ctPath = downloadChestCT()
    outputFolder.mkdir(parents=True, exist_ok=True)

    import slicerhost

    host = slicerhost.start()
    module = host.loadModule(REPOSITORY / "InfNetSegmentation/InfNetSegmentation.py")
    volumeNode, warnings = loadCT(ctPath)
    told = [f"Warning: {warning}" for warning in warnings]
    for text in told:
        console.print(text, markup=False, highlight=False)
    case = volumeNode.GetName()
    console.print(f"Segmenting {case} …")
    result = segment(module, volumeNode, console, told)
    files = save(result, outputFolder, case)

    from slicerhost.views import renderingProblem

    problem = renderingProblem()
    if problem is None:
        from slicerhost.picture import savePicture

        files.append(outputFolder / f"{case}.png")
        savePicture(volumeNode, result, files[-1])
    printTable(console, result)
    if problem:
        console.print(problem)
    console.print("Written:")
    for path in files:
        print(f"  {path}")  # not through rich, which would break long lines
    console.print("For research; not for clinical decisions.")


def loadCT(path):
    """Load a file or a folder of DICOM slices. Returns the volume node and what is unusual about the folder.

    A folder is read by the backend, which refuses what it cannot tell apart; a file it reads and checks later.
    """
    import slicer

    if not path.exists():
        raise FileNotFoundError(f"{path} does not exist.")
    name = path.resolve().name.split(".")[0]
    if path.is_file():
        return slicer.util.loadVolume(str(path.resolve()), {"name": name}), []
    image, warnings = read_ct(path)
    with tempfile.TemporaryDirectory() as folder:
        temporary = Path(folder) / "ct.nrrd"
        write_image(image, temporary)
        return slicer.util.loadVolume(str(temporary), {"name": name}), warnings


def segment(module, volumeNode, console, told):
    """Run the module's logic with a progress bar for each stage. Messages that were ``told`` are not repeated."""
    columns = (TextColumn("{task.description:<12}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    bars = {}
    with Progress(*columns, console=console) as progress:

        def onProgress(stage, done, total):
            if stage not in bars:
                bars[stage] = progress.add_task(stage)
            progress.update(bars[stage], completed=done, total=total)

        def onLog(text):
            if text not in told:
                console.print(text, markup=False, highlight=False)

        return module.InfNetSegmentationLogic().process(
            volumeNode,
            progressCallback=onProgress,
            logCallback=onLog,
        )


def save(result, folder, case):
    """Write segmentation and table by Slicer's own storage nodes."""
    import slicer

    files = []
    for node, ending in ((result.segmentationNode, ".seg.nrrd"), (result.tableNode, ".csv")):
        files.append(folder / f"{case}{ending}")
        if not slicer.util.saveNode(node, str(files[-1]), {}):
            raise RuntimeError(f"{files[-1]} could not be written.")
    return files


def printTable(console, result):
    source = f"lobes: {result.lobeSource}" + (", approximate" if result.provenance.get("lobes_approximate") else "")
    score = "" if result.severity is None else f"; CT severity score {result.severity} of 25"
    table = Table(title=f"Infection ({source}{score})", title_justify="left")
    table.add_column("Region", no_wrap=True)
    for title in ("Volume", "Ground-glass opacity", "Consolidation", "Infection", "Score"):
        table.add_column(title, justify="right")
    for row in result.table:
        findings = (
            f"{row[key + '_ml']:.1f} mL  {percent(row[key + '_percent'])}"
            for key in ("ggo", "consolidation", "infection")
        )
        score = "" if row["severity"] is None else str(row["severity"])
        table.add_row(row["region"], f"{row['volume_ml']:.0f} mL", *findings, score)
    console.print(table)


def percent(value):
    return f"{'–':>6}" if value is None else f"{value:4.1f} %"  # noqa: RUF001


if __name__ == "__main__":
    sys.exit(main())
