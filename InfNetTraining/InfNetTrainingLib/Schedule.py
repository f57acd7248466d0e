"""The trainings that a run is made of, and from those how much of it is left."""

from pathlib import Path

from InfNetTrainingLib.TrainingConfig import FOLDS

_LEAST_SECONDS = 2  # of a stage, before its speed is believed
_SCALES_AT_ONCE = 3  # the paper's recipe sees a batch at three sizes, a step each


class Schedule:
    """What a run does, in its order: [stage, slices seen], the stages called as the backend tells them.

    Counting pseudo-labels, predictions and start-up for nothing, it makes an estimate, not a promise.
    """

    def __init__(self, stages):
        self._stages = [tuple(stage) for stage in stages]

    @classmethod
    def of(cls, config):
        """Of a configuration; counts the pictures in its folders."""
        labelled = _count(config.labelledFolder)
        extra = sum(_count(folder) for folder in config.extraFolders)  # though not each epoch has all healthy ones
        visits = _SCALES_AT_ONCE if config.preset == "paper" else 1
        held = -(-labelled // FOLDS) if config.holdOut else 0
        everything, kept = labelled + extra, labelled - held + extra
        if not config.isSemiSupervised:
            stages = [("fold 1", kept * config.epochs)] if held else []
            stages.append(("training", everything * config.epochs))
        else:
            unlabelled = _count(config.unlabelledFolder)
            rounds = -(-unlabelled // config.k)
            rounds = min(rounds, config.rounds) if config.rounds else rounds
            stages = [("supervised", kept * config.epochs)]
            for n in range(1, rounds + 1):
                used = min(n * config.k, unlabelled)
                stages.append(("fine-tuning", (kept + used) * config.roundEpochs))
            stages.append(("pre-training", min(rounds * config.k, unlabelled) * config.preTrainingEpochs))
            stages.append(("semi-supervised", kept * config.epochs))
        return cls((name, slices * visits) for name, slices in stages)

    def asList(self):
        return [list(stage) for stage in self._stages]

    @property
    def slices(self):
        """Slices that are seen in the whole run, each as often as it is seen."""
        return sum(slices for _name, slices in self._stages)

    def slicesOf(self, name):
        return sum(slices for stage, slices in self._stages if stage == name)

    @property
    def rounds(self):
        """How many rounds of Algorithm 1 there are."""
        return sum(name == "fine-tuning" for name, _slices in self._stages)

    def secondsLeft(self, measured, round=1):
        """Seconds that the run still takes at the speed of its present stage, or None where that is not known yet.

        measured - the first and the last progress of that stage (events with their time); round - that of Algorithm 1
        """
        if not measured or not measured[1]["total"]:
            return None
        first, last = measured
        places = [i for i, (name, slices) in enumerate(self._stages) if name == last["stage"] and slices]
        seconds, steps = last["time"] - first["time"], last["done"] - first["done"]
        if not places or seconds < _LEAST_SECONDS or steps < 1:
            return None
        place = places[min(round, len(places)) - 1]
        inStage = self._stages[place][1]
        left = inStage * (1 - last["done"] / last["total"]) + sum(n for _name, n in self._stages[place + 1 :])
        return left * seconds / (steps / last["total"] * inStage)


def _count(folder):
    from infnet.data.labelled_slices import find_images

    return len(find_images(Path(folder) / "Imgs"))
