import re

from InfNetSegmentationLib.Remedies import withoutOptions
from slicer.i18n import tr as _


def inPanelWords(message):
    """A message of the backend that names the panel's controls where it names options of the command line."""
    controls = {
        "--device auto or cpu": _("“Automatic” or “Processor (CPU)” as device"),
        "--precision auto, 32 or bf16": _("“Automatic”, “float32” or “bfloat16” as precision"),
        "--precision 32": _("“float32” as precision"),
        "--encoder-weights none": _("“Start from”: “Nothing (random weights)”"),
        "--extra": _("“Extra slices”"),
        "--k": _("“K”"),
        "--rounds": _("“Rounds”"),
    }
    options = "|".join(map(re.escape, controls))
    return withoutOptions(re.sub(rf"(?<![\w-])(?:{options})(?![\w-])", lambda found: controls[found[0]], message))
