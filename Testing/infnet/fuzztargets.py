"""What is fuzzed: a reader, the damaged inputs that it gets, and what must hold whatever they are."""

import copy
import gzip
import hashlib
import importlib
import io
import json
import re
import struct
import sys
import tempfile
from dataclasses import dataclass
from functools import partial
from itertools import chain, pairwise
from pathlib import Path

import numpy as np
import SimpleITK as sitk
from hypothesis import strategies as st
from infnet.data.segmentations import read_provenance, write_segmentation
from infnet.data.volumes import read_ct, read_image
from infnet.errors import InfNetError, InputError, OutputError
from infnet.quantification.label_images import read_findings, read_lungs
from infnet.quantification.measurements import measure, write_table
from infnet.quantification.study import Study, read_study
from infnet.reporting import JsonReporter, silent
from phantoms import empty_grid, make_chest, write_dicom_series
from PIL import Image

REPOSITORY = Path(__file__).resolve().parents[2]
TOKENS = (
    b"", b"\0", b"\n", b"0", b"-1", b"1e999", b"nan", b"99999999999", b"4294967296", b"\xff\xff\xff\xff", b"gzip",
    b"raw", b"3", b"5", b"uchar", b"double", b"block", b"True", b"LOCAL", b"LIST", b"data file: x\n", b"../../x",
    b"(1,0,0)", b"\r\n\r\n", b"\x1f\x8b", b"DICM",
)  # fmt: skip


@dataclass(frozen=True)
class Target:
    """``cases`` gives the inputs; ``check(case, folder)`` raises where something does not hold. ``folder`` is empty."""

    cases: st.SearchStrategy
    check: object


def _read_or_refuse(read, *arguments):
    """What a reader gives, or None where it refuses."""
    try:
        return read(*arguments)
    except InfNetError as error:
        assert str(error)
        return None


LETTERS = st.characters(codec="utf-8", exclude_characters="\0")
HEADER_VALUES = ("", "0", "-1", "1", "2", "257", "9" * 30, "nan", "left lung", "TerminologyEntry:|", "~~~^^^~",
                 "InfNet.Provenance:{|", "InfNet.Provenance:[1]|", "InfNet.Provenance:" + "[" * 100_000)  # fmt: skip


def mutations():
    """A few edits of a file: where in it, as a share of its length (many lie in the header), and what is done there."""
    place = st.one_of(st.floats(0, 1), st.floats(0, 0.02), st.floats(0.98, 1))
    payload = st.one_of(st.binary(max_size=8), st.sampled_from(TOKENS))
    kind = st.sampled_from(("flip", "overwrite", "insert", "delete", "truncate", "repeat", "number"))
    return st.lists(st.tuples(kind, place, payload), min_size=1, max_size=6)


def mutate(data, edits):
    data = bytearray(data)
    for kind, place, payload in edits:
        at = int(place * len(data))
        if kind == "flip" and at < len(data):
            data[at] ^= payload[0] if payload and payload[0] else 1
        elif kind == "overwrite":
            data[at : at + len(payload)] = payload
        elif kind == "insert":
            data[at:at] = payload
        elif kind == "delete":
            del data[at : at + max(1, len(payload))]
        elif kind == "truncate":
            del data[at:]
        elif kind == "repeat":
            data[at:at] = data[at : at + 64]
        elif kind == "number":  # the next number of a text header
            number = re.compile(rb"-?\d[\d.e+-]*").search(data, at)
            if number:
                data[number.start() : number.end()] = payload
    return bytes(data)


ODD_VALUES = st.one_of(
    st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=8), st.just([]), st.just({}),
    st.sampled_from((-1, 0, 10**9, 10**400, 1e308, "../../x", "\ud800", [1], [[]], {"name": "x"}, "9" * 30)),
)  # fmt: skip


def edits_of_values():
    """Which values of a JSON document, counted through, become which others; None takes a key out."""
    return st.lists(st.tuples(st.integers(0, 10**6), st.one_of(st.just("remove"), ODD_VALUES)), min_size=1, max_size=3)


def with_values(document, edits):
    """A copy of a JSON document with odd values."""
    changed = copy.deepcopy(document)
    for number, value in edits:
        places = list(_places(changed))
        if not places:
            return changed
        holder, key = places[number % len(places)]
        if value == "remove":
            del holder[key]
        else:
            holder[key] = copy.deepcopy(value)
    return changed


def _places(holder):
    for key in list(holder) if isinstance(holder, dict) else range(len(holder)):
        yield holder, key
        if isinstance(holder[key], (dict, list)):
            yield from _places(holder[key])


def json_cases(document):
    """JSON texts: damaged as bytes, or with odd values."""
    text = json.dumps(document, indent=1).encode()
    as_bytes = mutations().map(lambda edits: mutate(text, edits))
    as_values = edits_of_values().map(lambda edits: json.dumps(with_values(document, edits)).encode())
    deep = st.sampled_from((b"[" * 100_000, b'{"a":' * 100_000, b"", b"\xff\xfe", b"null", b"NaN"))
    return st.one_of(as_bytes, as_values, as_values, deep)


# Volumes -------------------------------------------------------------------------------------------------------------

CHEST = make_chest(empty_grid((10, 9, 8), (30, 30, 30)))


def _file_of(image, ending, compressed=False):
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / f"x{ending}"
        sitk.WriteImage(image, path, useCompression=compressed)
        return path.read_bytes()


def _read_ct_or_refuse(path):
    try:
        image, warnings = read_ct(path)
    except InfNetError as error:
        assert str(error) and "\n" not in str(error)
        return None
    voxels = sitk.GetArrayViewFromImage(image)
    assert voxels.ndim == 3 and voxels.dtype in (np.int16, np.float32) and np.isfinite(voxels).all()
    assert voxels.min() >= -1024 and min(voxels.shape) > 1
    assert np.isfinite(image.GetSpacing()).all() and np.isfinite(image.GetDirection()).all()
    assert all(isinstance(warning, str) for warning in warnings)
    return voxels.copy()


def volume_target(ending, compressed=False, pixel_type=sitk.sitkInt16):
    data = _file_of(sitk.Cast(CHEST.ct, pixel_type), ending, compressed)

    def check(edits, folder):
        path = folder / f"ct{ending}"
        if ending == ".nii.gz":  # a damaged stream is no great test of what reads the header
            path.write_bytes(gzip.compress(mutate(gzip.decompress(data), edits), 1))
        else:
            path.write_bytes(mutate(data, edits))
        _read_ct_or_refuse(path)

    return Target(mutations(), check)


def flipped_bits_target(ending):
    """A compressed file with a wrong bit in its voxels is refused, or the voxels are right all the same."""
    data = _file_of(CHEST.ct, ending, compressed=True)
    start = {".nrrd": data.find(b"\n\n") + 2, ".mha": data.find(b"LOCAL") + 6, ".nii.gz": 0}[ending]
    truth = sitk.GetArrayFromImage(CHEST.ct).clip(-1024)

    def check(bits, folder):
        changed = bytearray(data)
        for bit in bits:
            changed[start + bit // 8 % (len(data) - start)] ^= 1 << bit % 8
        path = folder / f"ct{ending}"
        path.write_bytes(changed)
        voxels = _read_ct_or_refuse(path)
        assert voxels is None or np.array_equal(voxels, truth)

    return Target(st.lists(st.integers(0, 8 * len(data)), min_size=1, max_size=3), check)


def dicom_target():
    with tempfile.TemporaryDirectory() as folder:
        write_dicom_series(CHEST.ct, Path(folder))
        files = {path.name: path.read_bytes() for path in sorted(Path(folder).iterdir())}

    def check(case, folder):
        number, edits = case
        for position, (name, data) in enumerate(files.items()):
            (folder / name).write_bytes(mutate(data, edits) if position == number else data)
        voxels = _read_ct_or_refuse(folder)
        assert voxels is None or len(voxels) >= len(files) - 1

    header_edits = st.lists(
        st.tuples(st.just("overwrite"), st.floats(0, 0.9), st.one_of(st.binary(max_size=8), st.sampled_from(TOKENS))),
        max_size=3,
    )
    return Target(st.tuples(st.integers(0, len(files) - 1), st.one_of(mutations(), header_edits)), check)


def enhanced_dicom_target():
    """A file of many frames: most of it is the header that tells where they lie."""
    from test_dicom_folder import write_frames

    with tempfile.TemporaryDirectory() as folder:
        data = (write_frames(CHEST.ct, Path(folder), range(CHEST.ct.GetDepth())) / "frames.dcm").read_bytes()
    truth = len(sitk.GetArrayViewFromImage(CHEST.ct))

    def check(edits, folder):
        path = folder / "frames.dcm"
        path.write_bytes(mutate(data, edits))
        voxels = _read_ct_or_refuse(path)
        assert voxels is None or len(voxels) == truth

    return Target(mutations(), check)


def segmentation_target():
    with tempfile.TemporaryDirectory() as folder:
        write_segmentation(CHEST.findings, Path(folder) / "s.seg.nrrd", {})
        image = sitk.ReadImage(Path(folder) / "s.seg.nrrd")
    data = _file_of(image, ".seg.nrrd")

    def check(edits, folder):
        path = folder / "s.seg.nrrd"
        path.write_bytes(mutate(data, edits))
        try:
            labels = sitk.GetArrayFromImage(read_findings(path, CHEST.ct))
        except InfNetError:
            return
        assert labels.max() <= 2 and labels.shape == sitk.GetArrayViewFromImage(CHEST.ct).shape

    return Target(mutations(), check)


def segmentation_header_target():
    """Any value in any field of the segments, in a file whose voxels are whole."""
    with tempfile.TemporaryDirectory() as folder:
        write_segmentation(CHEST.findings, Path(folder) / "s.seg.nrrd", {"model": "toy"})
        image = sitk.ReadImage(Path(folder) / "s.seg.nrrd")
    fields = [key for key in image.GetMetaDataKeys() if key.startswith("Segment")]

    def check(edits, folder):
        changed, path = sitk.Image(image), folder / "s.seg.nrrd"
        for number, value in edits:
            changed.SetMetaData(fields[number], value)
        sitk.WriteImage(changed, path)
        _read_or_refuse(read_findings, path, CHEST.ct)
        _read_or_refuse(read_lungs, path, CHEST.ct)
        _read_or_refuse(lambda: read_provenance(read_image(path)))

    values = st.one_of(st.text(LETTERS, max_size=30), st.sampled_from(HEADER_VALUES))
    return Target(st.lists(st.tuples(st.integers(0, len(fields) - 1), values), min_size=1, max_size=4), check)


def dicom_segmentation_target():
    from infnet.data.findings import FINDINGS
    from infnet.dicom.concepts import Algorithm
    from infnet.dicom.segmentations import Segment, make_segmentation
    from infnet.dicom.series import read_series

    with tempfile.TemporaryDirectory() as folder:
        series = Path(folder) / "series"
        write_dicom_series(CHEST.ct, series, more_tags=[("0020|0052", "1.2.3.5")])
        segments = [Segment.of(finding) for finding in FINDINGS]
        voxels = sitk.GetArrayFromImage(CHEST.findings)
        made = make_segmentation("findings", voxels, segments, read_series(series), Algorithm("toy"))
        made.save_as(Path(folder) / "s.dcm")
        data = (Path(folder) / "s.dcm").read_bytes()

    def check(edits, folder):
        path = folder / "s.dcm"
        path.write_bytes(mutate(data, edits))
        labels = _read_or_refuse(read_findings, path, CHEST.ct)
        assert labels is None or labels.GetSize() == CHEST.ct.GetSize()
        assert labels is None or sitk.GetArrayFromImage(labels).max() <= 2

    return Target(mutations(), check)


# Models --------------------------------------------------------------------------------------------------------------


def _toy_model():
    from infnet.training.model import make_model
    from infnet.training.modules import FindingsModule
    from infnet.training.recipe import preset
    from infnet.weights.store import save_model

    recipe = preset("modern", "findings", network_options={"base_channels": 4})
    made = make_model("toy", FindingsModule(recipe, steps_per_epoch=1).eval())
    with tempfile.TemporaryDirectory() as folder:
        save_model(Path(folder), made.card, made.network)
        return json.loads((Path(folder) / "toy.json").read_text()), (Path(folder) / "toy.safetensors").read_bytes()


def _loader():
    """A function that loads the model of a folder and asks it, or sees it refused."""
    from infnet.inference.predictor import SlicePredictor
    from infnet.weights.store import load_model

    def load_or_refuse(folder):
        try:
            model = load_model(str(folder / "toy.json"))
            if model.card.task == "infection" and model.card.input_size < 512:
                list(SlicePredictor(model, None, "cpu", runtime="eager")([np.zeros((40, 50), np.float32)]))
        except InfNetError as error:
            assert str(error)

    return load_or_refuse


def card_target():
    (card, weights), load_or_refuse = _toy_model(), _loader()

    def check(text, folder):
        (folder / "toy.json").write_bytes(text)
        (folder / "toy.safetensors").write_bytes(weights)
        load_or_refuse(folder)

    return Target(json_cases(card), check)


def weights_target():
    """Damaged weights whose SHA-256 the card tells, so that they are read."""
    (card, weights), load_or_refuse = _toy_model(), _loader()
    (header,) = struct.unpack("<Q", weights[:8])  # its length; the header follows, then numbers
    edits = st.lists(
        st.tuples(
            st.sampled_from(("flip", "overwrite", "insert", "delete", "number", "truncate")),
            st.floats(0, (8 + header) / len(weights)),
            st.one_of(st.binary(max_size=8), st.sampled_from(TOKENS)),
        ),
        min_size=1,
        max_size=5,
    )

    def check(edits, folder):
        changed = mutate(weights, edits)
        (folder / "toy.json").write_text(json.dumps(card | {"sha256": hashlib.sha256(changed).hexdigest()}))
        (folder / "toy.safetensors").write_bytes(changed)
        load_or_refuse(folder)

    return Target(edits, check)


def checkpoint_target():
    """A checkpoint of the original code's format, and one of an own run, damaged."""
    import torch
    from infnet.networks.official_checkpoints import load_official_checkpoint
    from infnet.training.checkpoints import Checkpoints

    with tempfile.TemporaryDirectory() as folder:
        for old in (False, True):
            weights = {"resnet.conv1.weight": torch.zeros(2, 3)}
            told = {"pytorch-lightning_version": "2.6", "global_step": 3, "initial_weights": "random", "seconds": 1.0}
            state = {**weights, "state_dict": weights, **told}
            torch.save(state, Path(folder) / f"{old}.ckpt", _use_new_zipfile_serialization=not old)
        files = [path.read_bytes() for path in sorted(Path(folder).iterdir())]

    def check(case, folder):
        number, edits = case
        path = folder / "step-00000001.ckpt"
        path.write_bytes(mutate(files[number], edits))
        assert _read_or_refuse(load_official_checkpoint, path) is None
        _read_or_refuse(Checkpoints(folder, 0, silent, "toy").newest)

    return Target(st.tuples(st.integers(0, 1), mutations()), check)


# Folders of results --------------------------------------------------------------------------------------------------


def study_target():
    measured = measure(CHEST.ct, CHEST.findings, CHEST.lungs, None)
    study = Study(
        "case", Path("ct.nrrd"), measured.rows, None, measured.sources, {"model": "toy"}, ["w"], {"read": 0.1}
    )
    values = {"schema": "infnet-result/1", **{k: v for k, v in vars(study).items() if k != "folder"}, "ct": "/ct.nrrd"}

    def check(text, folder):
        (folder / "result.json").write_bytes(text)
        try:
            read = read_study(folder)
        except InputError:
            return
        assert read.folder == folder and isinstance(read.ct, Path)
        write_table(read.table, read.case, folder / "t.csv")  # what is read can be told

    return Target(json_cases(values), check)


def run_folder_target():
    from infnet.training.recipe import preset
    from infnet.training.run_folder import claim

    recipe = preset("modern", "findings")

    def check(text, folder):
        (folder / "run.json").write_bytes(text)
        try:
            claim(folder, recipe, [])
        except (InputError, OutputError):
            return
        raise AssertionError("another run's folder was taken")

    return Target(json_cases({"recipe": {}, "data_sha256": ""}), check)


# Tables and lists that people write or correct ------------------------------------------------------------------------


def table_cases(text):
    """A CSV file: damaged as bytes, or with cells of any letters."""
    rows = [line.split(",") for line in text.splitlines()]
    cell = st.one_of(
        st.text(LETTERS, max_size=8), st.sampled_from(("", '"', "../x", "1e999", "nan", "\udcff", "x" * 200_000))
    )
    edits = st.lists(st.tuples(st.integers(0, len(rows) - 1), st.integers(0, 12), cell), min_size=1, max_size=4)

    def with_cells(edits):
        changed = [list(row) for row in rows]
        for row, column, value in edits:
            changed[row][column : column + 1] = [value]
        return "\n".join(map(",".join, changed)).encode(errors="surrogateescape")

    return st.one_of(mutations().map(lambda edits: mutate(text.encode(), edits)), edits.map(with_cells))


def listing_target():
    """``slices.csv`` of ``infnet prepare``, as all that read it do."""
    from infnet.data.labelled_slices import Slice
    from infnet.data.listing import volumes_of
    from infnet.data.prepared import PreparedSlice, read_listing, without_volumes, write_listing

    with tempfile.TemporaryDirectory() as folder:
        write_listing(
            Path(folder), [PreparedSlice(f"{v}_{z}", v, z, 0, 3, 0, 4, -1100, 250, 0) for v in "ab" for z in (1, 2)]
        )
        text = (Path(folder) / "slices.csv").read_text(encoding="utf-8")
    slices = [Slice(f"{v}_{z}", np.zeros((2, 2), np.uint8)) for v in "ab" for z in (1, 2)]

    def check(data, folder):
        (folder / "slices.csv").write_bytes(data)
        volumes = _read_or_refuse(volumes_of, folder)
        assert volumes is None or all(volumes.values())
        places = _read_or_refuse(read_listing, folder)
        assert places is None or all(isinstance(place.slice, int) for place in places)
        left = _read_or_refuse(without_volumes, slices, folder, ["a"])
        assert left is None or len(left) < len(slices)

    return Target(table_cases(text), check)


def cases_target():
    from infnet.inference.cohort import read_cases

    def check(data, folder):
        (folder / "cases.csv").write_bytes(data)
        cases = _read_or_refuse(read_cases, folder / "cases.csv")
        assert cases is None or all(Path(case.name).name == case.name for case in cases)

    return Target(table_cases("ct,case,date,patient\na.nrrd,one,2020-03-01,p\nb.nrrd,two,,\n"), check)


def rejected_target():
    """A person's ``rejected.txt`` beside pseudo-labels."""
    from infnet.data.labelled_slices import Slice
    from infnet.training.pseudo_labels import Review, write_pseudo_label

    slices = [Slice(stem, np.zeros((40, 40), np.uint8)) for stem in ("a", "b")]

    def check(data, folder):
        for s in slices:
            write_pseudo_label(folder, s, {"predictions": s.image})
        (folder / "rejected.txt").write_bytes(data)
        used = _read_or_refuse(Review(folder).read, folder / "Soft", slices, folder / "slices.csv")
        assert used is None or len(used) == 2 - len({"a", "b"} & {line.strip() for line in data.decode().splitlines()})

    return Target(st.one_of(st.binary(max_size=20), mutations().map(lambda edits: mutate(b"a\nb\n", edits))), check)


def evaluations_target():
    """JSON of ``infnet evaluate``, ``compare`` and ``cross-validate``, where other commands read it."""
    from infnet.commands.train import _read_metrics
    from infnet.evaluation.tables import comparison_table, read_evaluation
    from infnet.report.change import read_change
    from infnet.training.recipe import preset

    means = {"dice": 0.5, "mae": None}
    evaluation = {"mean": means, "with_finding": {"count": 1, "mean": means}, "protocol": "threshold"}
    evaluation |= {"threshold": 0.5, "class": None, "count": 2, "images": {"a": means, "b": means}}
    figures = [f"{finding}_{unit}" for finding in ("ggo", "consolidation", "infection") for unit in ("ml", "percent")]
    row = {"region": "total", "case": "a", "value": 1.5, "change_since_previous": None}
    row |= {"change_since_previous_percent": 3.0}
    change = {"schema": "infnet-change/1", "warnings": ["w"], "changes": [{**row, "figure": name} for name in figures]}
    change |= {"studies": [{"case": "a", "date": None, "severity": 3}]}
    change |= {"maps": [{"earlier": "a", "later": "b", "ml": {"new": 1.0}}]}
    recipe = preset("modern", "infection")
    metrics = {"command": "c", "folds": 5, "seed": 0, "metrics": {}, "recipe": recipe.as_dict()}
    metrics["calibration"] = {"temperature": 1.1, "offset": 0.2}
    png = io.BytesIO()
    Image.new("L", (8, 6)).save(png, "PNG")

    def check(case, folder):
        name, text = case
        path = folder / f"{name}.json"
        path.write_bytes(text)
        if name == "evaluation":
            table = _read_or_refuse(lambda: comparison_table({"m": [read_evaluation(path)]}, None, True))
            assert table is None or table.count("\n") >= 3
        elif name == "change":
            (folder / "change.png").write_bytes(png.getvalue())
            read = _read_or_refuse(read_change, folder)
            assert read is None or all(isinstance(text, str) for text in (*read.cases, *chain(*read.table.rows)))
        else:
            _read_or_refuse(_read_metrics, path, recipe)

    files = {"evaluation": evaluation, "change": change, "metrics": metrics}
    return Target(st.one_of(*(st.tuples(st.just(name), json_cases(value)) for name, value in files.items())), check)


# The process protocol, on the Slicer side ----------------------------------------------------------------------------

EVENTS = (
    {"event": "progress", "stage": "infection", "done": 1, "total": 3},
    {"event": "message", "text": "Warning: „ü“"},
    {"event": "result", "output": "x", "table": []},
    {"event": "error", "code": "no-lung", "message": "No lung."},
)


def _backend_process():
    """The module of Slicer's side, which itself needs no Slicer."""
    sys.path.append(str(REPOSITORY / "InfNetSegmentation"))
    return importlib.import_module("InfNetSegmentationLib.BackendProcess")


def protocol_target():
    """A child process prints anything, in pieces, and ends with any status."""
    module = _backend_process()
    line = st.one_of(
        st.sampled_from(EVENTS).flatmap(json_cases),
        st.sampled_from(EVENTS).map(lambda event: json.dumps(event).encode()),
        st.binary(max_size=40),
    )
    cases = st.tuples(
        st.lists(line, max_size=5), st.sampled_from((b"\n", b"\r\n", b"")), st.lists(st.floats(0, 1), max_size=4),
        st.sampled_from((0, 0, 0, 3, 130, 255)),
    )  # fmt: skip

    def check(case, folder):
        lines, ending, cuts, status = case
        text = b"".join(line + ending for line in lines)
        places = [0, *sorted(int(cut * len(text)) for cut in cuts), len(text)]
        for number, (start, end) in enumerate(pairwise(places)):
            (folder / f"{number}").write_bytes(text[start:end])
        script = " ".join(f"cat {folder}/{number};" for number in range(len(places) - 1)) + f" exit {status}"
        told, ended = [], []
        process = module.BackendProcess(
            ["sh", "-c", script],
            onProgress=lambda stage, done, total: told.append((stage[:0], done + 0, total + 0)),
            onMessage=lambda message: told.append(message[:0]),
            onResult=lambda payload: ended.append(payload["event"]),
            onError=lambda error: ended.append((error.code[:0], str(error))),
        )
        try:
            process.start([], useTimer=False)
            while process.running:
                process.poll()
        finally:
            process.abort()
        assert len(ended) == 1, ended
        assert ended != ["result"] or status == 0
        assert not process.folder.exists()

    return Target(cases, check)


def round_trip_target():
    """What the backend tells is what Slicer's side is told, whatever the texts and numbers are."""
    parse = importlib.import_module(f"{_backend_process().__package__}.BackendLines").parseEvent
    value = st.one_of(st.none(), st.booleans(), st.integers(), st.floats(allow_nan=False), st.text(max_size=20))
    payload = st.dictionaries(
        st.text(max_size=8).filter(lambda key: key != "event"), value | st.lists(value), max_size=4
    )

    def check(case, folder):
        text, done, values = case
        stream = io.StringIO()
        reporter = JsonReporter(None, stream)
        reporter.message(text)
        reporter.progress(text, done, done)
        reporter.error(InputError(text))
        reporter.result(values, text)
        lines = stream.getvalue().encode().split(b"\n")  # as NewLines has them
        assert len(lines) == 5 and lines[-1] == b""
        assert [parse(line.decode()) for line in lines[:-1]] == [
            {"event": "message", "text": text},
            {"event": "progress", "stage": text, "done": done, "total": done},
            {"event": "error", "code": "input", "message": text},
            {"event": "result", **values},
        ]

    return Target(st.tuples(st.text(), st.integers(), payload), check)


def lines_target():
    """Lines do not depend on where the pieces end in which they come."""
    module = _backend_process()

    def check(case, folder):
        text, cuts = case
        path = folder / "stdout"
        path.touch()
        lines, got = module.NewLines(path), []
        places = [0, *sorted(int(cut * len(text)) for cut in cuts), len(text)]
        with path.open("ab", buffering=0) as file:
            for start, end in pairwise(places):
                file.write(text[start:end])
                got += lines.read(last=False)
        got += lines.read(last=True)
        whole = text.split(b"\n")
        expected = whole if whole[-1] else whole[:-1]
        assert got == [line.decode(errors="replace").rstrip() for line in expected]

    text = st.lists(st.one_of(st.binary(max_size=20), st.sampled_from((b"\n", "ü„\n".encode(), b"\r\n")))).map(b"".join)
    return Target(st.tuples(text, st.lists(st.floats(0, 1), max_size=6)), check)


TARGETS = {
    "nrrd": partial(volume_target, ".nrrd"),
    "nrrd, compressed": partial(volume_target, ".nrrd", compressed=True),
    "mha": partial(volume_target, ".mha"),
    "mha, compressed": partial(volume_target, ".mha", compressed=True),
    "nifti": partial(volume_target, ".nii"),
    "nifti, compressed, float": partial(volume_target, ".nii.gz", pixel_type=sitk.sitkFloat32),
    "dicom": dicom_target,
    "enhanced dicom": enhanced_dicom_target,
    "bits of nrrd": partial(flipped_bits_target, ".nrrd"),
    "bits of mha": partial(flipped_bits_target, ".mha"),
    "bits of nifti": partial(flipped_bits_target, ".nii.gz"),
    "segmentation": segmentation_target,
    "segmentation header": segmentation_header_target,
    "dicom segmentation": dicom_segmentation_target,
    "model card": card_target,
    "safetensors": weights_target,
    "checkpoint": checkpoint_target,
    "study": study_target,
    "run folder": run_folder_target,
    "slices.csv": listing_target,
    "cases.csv": cases_target,
    "rejected.txt": rejected_target,
    "evaluations": evaluations_target,
    "protocol": protocol_target,
    "round trip": round_trip_target,
    "lines": lines_target,
}
"""What makes each target, by its name."""
