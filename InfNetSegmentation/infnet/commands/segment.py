NAME = "segment"
HELP = "Segment a CT."


def add_arguments(parser):
    pass


def run(options, reporter):
    raise NotImplementedError
