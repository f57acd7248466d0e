def returned(steps):
    """What a generator of steps returns, when it has taken them all."""
    while True:
        try:
            next(steps)
        except StopIteration as end:
            return end.value
