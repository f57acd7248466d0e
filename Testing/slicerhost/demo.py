"""The demo: a chest CT goes through the Slicer module, and segmentation, table and picture come out.

python -m slicerhost.demo [CT] -o FOLDER
"""

import argparse
import sys
from pathlib import Path

import SimpleITK as sitk
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
    except (RuntimeError, OSError) as error:
        print(f"demo: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("demo: interrupted", file=sys.stderr)
        return 130
    return 0


def run(ctPath, outputFolder):
    console = Console()
    if ctPath is None:
        console.print("Taking the chest CT lung2 from the package pyradiomics (34 MB, once) …")
        ctPath = downloadChestCT()
    outputFolder.mkdir(parents=True, exist_ok=True)

    import slicerhost

    host = slicerhost.start()
    module = host.loadModule(REPOSITORY / "InfNetSegmentation/InfNetSegmentation.py")
    volumeNode = loadCT(ctPath)
    case = volumeNode.GetName()
    console.print(f"Segmenting {case} …")
    result = segment(module, volumeNode, console)
    files = save(result, outputFolder, case)

    from slicerhost.views import renderingProblem

    problem = renderingProblem()
    if problem is None:
        from slicerhost.picture import savePicture

        files.append(outputFolder / f"{case}.png")
        savePicture(volumeNode, result, files[-1])
    printTable(console, result.table)
    if problem:
        console.print(problem)
    console.print("Written:")
    for path in files:
        print(f"  {path}")  # not through rich, which would break long lines


def loadCT(path):
    """Load a file, or the largest series of a folder of DICOM slices, and return the volume node."""
    import slicer

    if not path.exists():
        raise FileNotFoundError(f"{path} does not exist.")
    name = path.resolve().name.split(".")[0]
    if path.is_file():
        return slicer.util.loadVolume(str(path), {"name": name})
    reader = sitk.ImageSeriesReader
    # Sorted by position: the storage node would take the slices in the order of their names.
    series = [reader.GetGDCMSeriesFileNames(str(path), uid) for uid in reader.GetGDCMSeriesIDs(str(path))]
    if not series:
        raise FileNotFoundError(f"{path} holds no DICOM slices.")
    fileNames = max(series, key=len)
    return slicer.util.loadVolume(fileNames[0], {"name": name, "fileNames": fileNames})


def segment(module, volumeNode, console):
    """Run the module's logic with a progress bar for each stage."""
    columns = (TextColumn("{task.description:<12}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    bars = {}
    with Progress(*columns, console=console) as progress:

        def onProgress(stage, done, total):
            if stage not in bars:
                bars[stage] = progress.add_task(stage)
            progress.update(bars[stage], completed=done, total=total)

        return module.InfNetSegmentationLogic().process(
            volumeNode,
            progressCallback=onProgress,
            logCallback=lambda text: console.print(text, markup=False, highlight=False),
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


def printTable(console, rows):
    table = Table("Region", title="Infection", title_justify="left")
    for title in ("Lung", "Ground-glass opacity", "Consolidation", "Infection"):
        table.add_column(title, justify="right")
    for row in rows:
        findings = (
            f"{row[key + '_ml']:.1f} mL  {row[key + '_percent']:4.1f} %"
            for key in ("ggo", "consolidation", "infection")
        )
        table.add_row(row["region"], f"{row['volume_ml']:.0f} mL", *findings)
    console.print(table)


if __name__ == "__main__":
    sys.exit(main())
