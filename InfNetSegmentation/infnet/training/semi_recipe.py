"""What a semi-supervised training is made of, besides the recipe that each of its trainings follows."""

from collections.abc import Mapping
from dataclasses import dataclass

from infnet.errors import InputError


@dataclass(frozen=True)
class SemiRecipe:
    """How pseudo-labels are had and used (`infnet.training.semi_supervised`). The defaults are the paper's.

    k - unlabelled slices that are labelled in a round
    rounds - None: until every unlabelled slice has been used
    round_epochs, round_learning_rate, round_batch_size - of the fine-tuning in each round
    pre_training_epochs, pre_training_batch_size - of the training on the pseudo-labels alone
    refresh - whether each round labels the slices of the rounds before it again, and all are labelled at the end
    hard - whether pseudo-labels are taken as masks, at 0.5, rather than as probabilities
    smallest_stability - of the pseudo-labels that are used, 0..1 (`infnet.training.pseudo_labels.stability`)
    """

    k: int = 5
    rounds: int | None = None
    round_epochs: int = 9
    round_learning_rate: float = 3e-4
    round_batch_size: int = 16
    pre_training_epochs: int = 100
    pre_training_batch_size: int = 24
    refresh: bool = False
    hard: bool = False
    smallest_stability: float = 0.0

    def __post_init__(self) -> None:
        """Raises InputError for values that no training can have."""
        for problem, wrong in {
            f"K = {self.k}: one or more": self.k < 1,
            f"{self.rounds} rounds: one or more": self.rounds is not None and self.rounds < 1,
            f"stability {self.smallest_stability}: 0 to 1": not 0 <= self.smallest_stability <= 1,
        }.items():
            if wrong:
                raise InputError(f"{problem} can be used.")

    def rounds_for(self, unlabelled: int) -> int:
        """The rounds that ``unlabelled`` slices are good for."""
        needed = -(-unlabelled // self.k)
        return needed if self.rounds is None else min(self.rounds, needed)


SEMI_RECIPES: Mapping[str, SemiRecipe] = {
    "paper": SemiRecipe(),
    # A few thousand slices are seen in training, where the paper's sees millions.
    "small": SemiRecipe(
        k=200,
        rounds=3,
        round_epochs=2,
        round_batch_size=8,
        pre_training_epochs=8,
        pre_training_batch_size=8,
        refresh=True,
    ),
}
