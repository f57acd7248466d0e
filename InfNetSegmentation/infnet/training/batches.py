"""The batches of a whole training, dealt to the processes that take part in it."""

from collections.abc import Iterator

from torch.utils.data import Sampler

from infnet.data.slice_dataset import SeededSampler


class DealtBatches(Sampler[list[tuple[int, int]]]):
    """Batch sampler that gives one process its share of every batch of a training.

    Each epoch has its own order and seeds (`SeededSampler`), so a batch is a function of its step alone: neither where
    a training was interrupted nor on how many devices it runs changes what is in it. The last batch of an epoch is
    smaller where the slices do not fill it, and left out where it would be one slice or cannot be dealt evenly.
    ``repeats``: steps that each batch is used for, one after the other. ``start``: the steps that are done already.
    """

    def __init__(
        self,
        draws: SeededSampler,
        batch_size: int,
        epochs: int,
        repeats: int = 1,
        rank: int = 0,
        processes: int = 1,
    ) -> None:
        self._draws = draws
        self._batch_size = batch_size
        self._epochs = epochs
        self._repeats = repeats
        self._rank = rank
        self._processes = processes
        self.start = 0
        full, rest = divmod(len(draws), batch_size)
        has_rest = rest > 1 and rest % processes == 0
        self._batches = full + has_rest
        self.shares = [size // processes for size in (batch_size, *[rest] * has_rest)]
        """How many images of a batch a process gets: of a full one, and of the smaller last one if there is one."""

    @property
    def steps_per_epoch(self) -> int:
        return self._batches * self._repeats

    def __len__(self) -> int:
        """The steps of the whole training, those before ``start`` included."""
        return self._epochs * self.steps_per_epoch

    def __iter__(self) -> Iterator[list[tuple[int, int]]]:
        for epoch in range(self.start // self.steps_per_epoch, self._epochs):
            self._draws.set_epoch(epoch)
            order = list(self._draws)
            for step in range(self.steps_per_epoch):
                if epoch * self.steps_per_epoch + step >= self.start:
                    first = step // self._repeats * self._batch_size
                    yield order[first : first + self._batch_size][self._rank :: self._processes]
