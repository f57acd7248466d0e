"""Semi-supervised learning of Inf-Net: Algorithm 1 of Fan et al., IEEE TMI 2020.

In the paper's symbols, M being the network::

     1  D_Training = D_Labeled
     2  train M on D_Training
     3  repeat
     4      M gives pseudo-labels to K slices chosen at random from D_Unlabeled: D_Net-labeled
     5      D_Training = D_Training ∪ D_Net-labeled
     6      D_Unlabeled = D_Unlabeled less those K slices
     7      fine-tune M on D_Training
     8  until D_Unlabeled is empty

Semi-Inf-Net is then trained in two steps: from ImageNet on the pseudo-labels alone, and from there on D_Labeled.

Everything that has been done lies in the run folder, so that a run that was stopped goes on where it was.
"""

import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from infnet.data.files import check_folder, written_whole
from infnet.data.labelled_slices import LabelledSlice, Slice, digest
from infnet.devices import choose_device
from infnet.errors import InvalidModelError, ReviewPause, UnknownModelError
from infnet.reporting import Progress, silent
from infnet.training.fit import check, fit
from infnet.training.held_out import Maps, predict, write_maps
from infnet.training.model import make_model
from infnet.training.pseudo_labels import Review, is_written, write_montage, write_pseudo_label
from infnet.training.recipe import Recipe
from infnet.training.semi_recipe import SemiRecipe
from infnet.weights.store import Model, load_model, save_model


@dataclass(frozen=True)
class SemiSupervision:
    """One run: what to learn from, how, and the folder that it lives in.

    ``labelled`` is D_Labeled, ``unlabelled`` D_Unlabeled. ``recipe`` trains on D_Labeled both in line 2 and at the end,
    which makes those two models comparable: they differ in nothing but where that training starts.

    The run folder has ``supervised``, ``round-001`` …, ``pre-training`` and ``semi-supervised``, in each the losses and
    the model (of the rounds, only the last one's), and in the rounds the pseudo-labels. A person's word on these
    (`Review`) counts in every training that starts later, and one that was interrupted then starts again.
    With ``pause``, `ReviewPause` is raised once after each making of pseudo-labels, before they are trained on.
    ``device``, ``precision`` and ``held_out`` are those of `infnet.training.fit.fit`; pseudo-labels are computed in
    float32.
    """

    labelled: Sequence[LabelledSlice]
    unlabelled: Sequence[Slice]
    recipe: Recipe
    semi: SemiRecipe
    run_folder: Path
    device: str = "auto"
    precision: str = "auto"
    progress: Progress = silent
    pause: bool = False
    held_out: Sequence[LabelledSlice] = ()

    def __post_init__(self) -> None:
        """Raises InputError for recipes that no training can have: before hours of others."""
        self._fine_tuning()
        self._pre_training()

    @property
    def parts(self) -> Sequence[str]:
        """The folders of trainings and pseudo-labels in the run folder."""
        rounds = [_round(n) for n in range(1, self.semi.rounds_for(len(self.unlabelled)) + 1)]
        return ["supervised", *rounds, "pseudo-labels", "pre-training", "semi-supervised"]

    def check(self) -> None:
        """Raise OutputError, InputError or DeviceError where the run could not write, read or train, hours later."""
        for name in self.parts:
            for part in ("training/checkpoints", "Soft"):
                check_folder(self.run_folder / name / part)
        for name in ("model", "predictions"):
            check_folder(self.run_folder / name)
        self._review.check(self.unlabelled)
        if not any(self.run_folder.glob("*/model")):  # else it has trained
            check(self.labelled, self.recipe, self.device, None, self.precision)

    def supervised(self) -> Model:
        """Lines 1 and 2: M trained on D_Labeled."""
        return self._train("supervised", self.labelled, self.recipe)

    def propagate(self) -> list[LabelledSlice]:
        """Lines 3 to 8; returns the pseudo-labelled slices of D_Training."""
        order = np.random.default_rng(self.recipe.seed).permutation(len(self.unlabelled))
        d_unlabelled = [self.unlabelled[i] for i in order]
        k, rounds = self.semi.k, self.semi.rounds_for(len(d_unlabelled))
        finished = max((n for n in range(1, rounds + 1) if self._model_folder(_round(n)).is_dir()), default=0)
        m = self._trained(_round(finished)) if finished else self.supervised()
        d_net_labelled: dict[str, Sequence[Slice]] = {}  # by the folder of their pseudo-labels
        for n in range(1, rounds + 1):
            if self.semi.refresh:
                d_net_labelled = {_round(n): d_unlabelled[: n * k]}
            else:
                d_net_labelled[_round(n)] = d_unlabelled[(n - 1) * k : n * k]
            if n > finished:
                self._pseudo_label(m, d_net_labelled[_round(n)], _round(n))
                d_training = [*self.labelled, *self._read(d_net_labelled)]
                m = self._train(_round(n), d_training, self._fine_tuning(), m, "fine-tuning")
                shutil.rmtree(self._model_folder(_round(n - 1)), ignore_errors=True)
            self.progress("rounds", n, rounds)
        if self.semi.refresh:
            d_net_labelled = {"pseudo-labels": d_unlabelled[: rounds * k]}
            self._pseudo_label(m, d_net_labelled["pseudo-labels"], "pseudo-labels")
        return self._read(d_net_labelled)

    def ready(self, maps: Path) -> list[LabelledSlice]:
        """In place of Algorithm 1: D_Unlabeled with pseudo-labels that are there already, ``maps/STEM.png``, 0..255."""
        return self._review.read(maps, self.unlabelled, self.run_folder / "pseudo-labels.csv")

    def two_steps(self, pseudo_labelled: Sequence[LabelledSlice]) -> Model:
        """Semi-Inf-Net: trained on pseudo-labels, from ImageNet, and then on D_Labeled."""
        pre_trained = self._train("pre-training", pseudo_labelled, self._pre_training())
        model = self._train("semi-supervised", self.labelled, self.recipe, pre_trained)
        history = {"pre_training": {**pre_trained.card.training, "pseudo_labelled_slices": len(pseudo_labelled)}}
        return Model(replace(model.card, training={**model.card.training, **history}), model.network)

    def predict(self, model: Model) -> None:
        """Write the maps of the slices held out into ``predictions/NAME``; NAME is the model's (`write_maps`)."""
        write_maps(model, self.held_out, choose_device(self.device), self.run_folder, model.card.name)

    def _fine_tuning(self) -> Recipe:
        """That of each round."""
        return replace(
            self.recipe,
            epochs=self.semi.round_epochs,
            learning_rate=self.semi.round_learning_rate,
            batch_size=self.semi.round_batch_size,
        )

    def _pre_training(self) -> Recipe:
        # A gate is learnt from readers' labels alone: pseudo-labels may all show infection, or none.
        options = {name: value for name, value in self.recipe.network_options.items() if name != "gate_head"}
        return replace(
            self.recipe,
            network_options=options,
            epochs=self.semi.pre_training_epochs,
            batch_size=self.semi.pre_training_batch_size,
        )

    def _train(
        self,
        name: str,
        slices: Sequence[LabelledSlice],
        recipe: Recipe,
        initial: Model | None = None,
        stage: str | None = None,
    ) -> Model:
        """The model of a training, which is gone on with, or trusted where it has been finished."""
        folder, model_folder = self.run_folder / name / "training", self._model_folder(name)
        if not model_folder.is_dir():
            _begin_again_if_other_data(folder, slices)
            module = fit(
                slices,
                recipe,
                folder,
                self.device,
                self.progress,
                stage or name,
                initial,
                self.precision,
                held_out=self.held_out,
            )
            model = make_model(name, module)
            unfinished = model_folder.with_name("unfinished-model")
            save_model(unfinished, model.card, model.network)
            unfinished.replace(model_folder)
        shutil.rmtree(folder / "checkpoints", ignore_errors=True)
        # Read back in any case: the weights' half precision is then the same for a run that goes on later.
        return self._trained(name)

    def _trained(self, name: str) -> Model:
        """The model of a finished training."""
        try:
            return load_model(str(self._model_folder(name)))
        except (InvalidModelError, UnknownModelError) as error:
            folder = self._model_folder(name)
            raise InvalidModelError(f"{folder}: damaged; remove it, and it is trained again. ({error})") from error

    def _pseudo_label(self, m: Model, slices: Sequence[Slice], name: str) -> None:
        folder = self.run_folder / name
        for done, s in enumerate(slices, start=1):
            if not is_written(folder, s):
                write_pseudo_label(folder, s, self._maps(m, s))
            self.progress("pseudo-labels", done, len(slices))
        write_montage(folder, slices)
        told = folder / "paused"
        if self.pause and not told.exists():
            self._read({name: slices})  # for its list of them
            told.touch()
            raise ReviewPause(f"Paused for a review of {folder}; run again to go on.")

    def _read(self, pseudo_labels: Mapping[str, Sequence[Slice]]) -> list[LabelledSlice]:
        tells_findings = self.recipe.network_options.get("consolidation_head")
        accepted = []
        for name, slices in pseudo_labels.items():
            folder = self.run_folder / name
            findings = folder / "Consolidation" if tells_findings else None
            accepted += self._review.read(folder / "Soft", slices, folder / "slices.csv", findings)
        return accepted

    @property
    def _review(self) -> Review:
        return Review(self.run_folder, self.semi.hard, self.semi.smallest_stability)

    def _maps(self, model: Model, slice_: Slice) -> Maps:
        # One slice at a time: in batches, a resumed run's rounding would depend on where it was stopped.
        return predict(model, slice_, choose_device(self.device))

    def _model_folder(self, name: str) -> Path:
        return self.run_folder / name / "model"


def _round(n: int) -> str:
    return f"round-{n:03}"


def _begin_again_if_other_data(training: Path, slices: Sequence[LabelledSlice]) -> None:
    """Discard what an interrupted training has done on other slices: a pseudo-label was corrected or rejected since."""
    note = training.with_name("data.sha256")
    found = digest(slices)
    if training.is_dir() and not (note.is_file() and note.read_bytes() == found.encode()):
        shutil.rmtree(training)
    note.parent.mkdir(parents=True, exist_ok=True)
    with written_whole(note) as temporary:
        temporary.write_text(found, encoding="utf-8")
