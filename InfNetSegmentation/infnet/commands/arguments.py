"""Arguments that several commands share."""

import argparse
import math


def add_model_arguments(parser: argparse.ArgumentParser) -> None:
    """Which models, from which probability, on which device."""
    parser.add_argument("--model", help="infection model: name or path (see infnet models)")
    parser.add_argument(
        "--labels-model",
        help="multi-class model: name or path; default: none if the infection model tells the findings itself",
    )
    parser.add_argument(
        "--threshold",
        type=probability,
        metavar="P",
        help="probability from which a pixel counts as infected; default: the model's",
    )
    add_device_argument(parser)


def add_device_argument(parser: argparse.ArgumentParser, *spellings: str) -> None:
    """``--device``, and other ``spellings`` of it."""
    parser.add_argument(
        "--device", *spellings, default="auto", help="auto, cpu, cuda, cuda:N or mps; default %(default)s"
    )


def add_runtime_argument(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--runtime",
        choices=["auto", "eager", "fused", "openvino"],
        default="auto",
        help="what runs the networks; default %(default)s: openvino on a CPU where it is installed, else fused",
    )


def add_precision_argument(parser: argparse.ArgumentParser, default: str) -> None:
    parser.add_argument(
        "--precision",
        choices=["auto", "32", "bf16", "16"],
        default=default,
        help="of the networks' arithmetic; auto: bf16 where that is faster; default %(default)s",
    )


def add_mirror_argument(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--mirror-images",
        type=int,
        choices=[1, 2, 4],
        default=4,
        help="how many mirror images of a slice the network's answer is the mean of; slices of a CT that lie close "
        "together share them; two take half the time; default %(default)s",
    )


def add_trust_argument(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--trust-hu",
        action="store_true",
        help="take the CT's values for Hounsfield units even where they cannot be those of a chest CT",
    )


def probability(text: str) -> float:
    value = float(text)
    if not 0 < value < 1:
        raise argparse.ArgumentTypeError(f"{text} is not between 0 and 1")
    return value


def not_negative(text: str) -> float:
    value = float(text)
    if not 0 <= value < math.inf:
        raise argparse.ArgumentTypeError(f"{text} is not a number of 0 or more")
    return value
