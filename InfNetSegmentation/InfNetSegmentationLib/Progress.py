import time

from slicer.i18n import tr as _

_SECONDS_BEFORE_A_GUESS = 2


def stageTitle(stage):
    """A stage of the backend in the user's words."""
    titles = {
        "read": _("Reading the CT"),
        "lungs": _("Finding the lungs"),
        "infection": _("Finding the infection"),
        "lobes": _("Finding the lobes"),
        "write": _("Writing the result"),
        "register": _("Registering the lungs"),
        "conversion": _("Reading the weights"),
    }
    return titles.get(stage, stage.capitalize())


class RemainingTime:
    """Guesses how long a stage still takes from how long it has taken so far."""

    def __init__(self, clock=time.monotonic):
        self._clock = clock
        self._stage = None

    def text(self, stage, done, total):
        """The stage in words, with the time left once it can be guessed."""
        if stage != self._stage:
            self._stage, self._start, self._doneAtStart = stage, self._clock(), done
        elapsed, steps = self._clock() - self._start, done - self._doneAtStart
        title = stageTitle(stage)
        if steps <= 0 or done >= total or elapsed < _SECONDS_BEFORE_A_GUESS:
            return title
        seconds = round(elapsed / steps * (total - done))
        return _("{title}, {minutes}:{seconds:02d} left").format(
            title=title, minutes=seconds // 60, seconds=seconds % 60
        )
