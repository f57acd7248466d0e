import re

from slicer.i18n import tr as _

_BREAK = "\u200b"  # a space of no width, at which a line may end


def withoutOptions(message):
    """A message of the backend without what it says of the command line's options."""
    message = re.sub(r" \((?:[^()]* )?--[a-z][^()]*\)", "", message)
    return re.sub(r";[^;]* --[a-z][^;]*?(?=\.(?:\s|$))", "", message)


def wrappable(text):
    """A text for a label that wraps it: a path of Windows, or another long word, may go on in the next line too.

    Else the whole panel would become as wide as the word is.
    """
    return re.sub(r"(\\|[^\s/\\]{24})(?=\S)", rf"\1{_BREAK}", text)


def unwrapped(text):
    """The text as it was before `wrappable`."""
    return text.replace(_BREAK, "")


def remedy(code):
    """What a user can do about an error of this code (infnet/errors.py, `BackendError`), or ""."""
    remedies = {
        "no-lung": _(
            "Check that the CT shows the chest and is in Hounsfield units, or choose a segmentation of the lungs."
        ),
        "intensity": _("Check that the CT is in Hounsfield units: air is about -1000."),
        "not-a-volume": _("Choose a CT of several slices."),
        "device": _("Choose “Automatic” or “Processor (CPU)” as device in the section Advanced."),
        "out-of-memory": _("Close other programs, or choose “Processor (CPU)” as device in the section Advanced."),
        "invalid-model": _("Choose another model, or import its weights again."),
        "unknown-model": _("Choose another model, or import its weights again."),
        "missing-package": _("Install what the message names, or choose another source of lobes."),
        "unavailable-weights": _("Choose another source of lobes: the atlas needs no download."),
        "tool": _("Choose another source of lobes: the atlas needs no other program."),
        "atlas": _("Choose another source of lobes."),
        "output": _("Choose another place, and check that there is space left."),
        "crash": _("The log below has the details; copy it for a message to the developers."),
    }
    return remedies.get(code, "")
