"""The ``fastcnn`` command: a demonstration, the version and the configuration."""

from __future__ import annotations

import argparse
import os
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["main"]

# Dark to bright, for a terminal with a dark background.
_SHADES = " .:-=+*#%@"


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the command.

    Args:
        arguments: The words after the command's name; None: those of this process.

    Returns:
        The exit status: 0, 2 after an error (one line on standard error), 130 after Ctrl-C.

    Example:
        >>> from fastcnn.cli import main
        >>> main(["--version"])  # doctest: +ELLIPSIS
        fastcnn ...
        0
    """
    try:
        options = _parser().parse_args(arguments)
        status: int = options.run(options)
        sys.stdout.flush()
        return status
    except SystemExit as finished:  # argparse, after --help or an unknown option
        return int(finished.code or 0)
    except KeyboardInterrupt:
        print(file=sys.stderr)
        return 130
    except BrokenPipeError:
        # The reader (`| head`) has gone; what Python would still flush at exit goes nowhere.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except (OSError, ValueError, ImportError, MemoryError) as error:
        print(f"fastcnn: {' '.join(str(error).split()) or type(error).__name__}", file=sys.stderr)
        return 2


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="fastcnn", description="Train and run small convolutional networks on the CPU, fast."
    )
    parser.add_argument(
        "--version", dest="run", action="store_const", const=_version, default=_usage, help="print the version"
    )
    commands = parser.add_subparsers(title="commands", metavar="COMMAND")

    demo = commands.add_parser("demo", help="train a small network on real pictures and show what it learned")
    demo.add_argument(
        "--data",
        choices=tuple(_TASKS),
        default="shirts",
        help="shirts: the bundled T-shirts and shirts (default); fashion_mnist, mnist: the full set, classes below 5 "
        "against the others, found on this machine or downloaded",
    )
    demo.add_argument("--epochs", type=_positive, help="passes over the training data (default: 8; full sets: 3)")
    demo.add_argument("--seed", type=_seed, default=0, help="the same seed gives the same bits (default: 0)")
    demo.set_defaults(run=_demo)

    config = commands.add_parser("config", help="print instruction sets, threads and build options")
    config.set_defaults(run=_config)
    parser.set_defaults(parser=parser)
    return parser


def _positive(text: str) -> int:
    if not text.isascii() or not text.isdigit() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"expected a whole number of at least 1, received '{text}'")
    return int(text)


def _seed(text: str) -> int:
    if not text.isascii() or not text.isdigit() or int(text) >= 1 << 32:
        raise argparse.ArgumentTypeError(f"expected a whole number from 0 to 4294967295, received '{text}'")
    return int(text)


def _usage(options: argparse.Namespace) -> int:
    options.parser.print_help()
    return 0


def _version(options: argparse.Namespace) -> int:
    import fastcnn

    print(f"fastcnn {fastcnn.__version__}")
    return 0


def _config(options: argparse.Namespace) -> int:
    import fastcnn

    shown = fastcnn.show_config()  # prints, or returns what to print
    if shown is not None:
        print(shown)
    return 0


# ------------------------------------------------------------------------------------------------------- demo


@dataclass(frozen=True)
class _Task:
    """A binary question about a data set."""

    question: str
    negative: str
    positive: str
    first_positive_class: int
    epochs: int


_TASKS = {
    "shirts": _Task("T-shirt/top or shirt?", "T-shirt/top", "Shirt", 1, 8),
    "fashion_mnist": _Task("Which half of Fashion-MNIST's ten classes?", "class 0-4", "class 5-9", 5, 3),
    "mnist": _Task("Is the digit below 5?", "digit 0-4", "digit 5-9", 5, 3),
}


def _demo(options: argparse.Namespace) -> int:
    import fastcnn as keras
    from fastcnn import datasets, layers

    task = _TASKS[options.data]
    (x_train, y_train), (x_test, y_test) = getattr(datasets, options.data).load_data()
    x_train, x_test = _scaled(x_train), _scaled(x_test)
    y_train, y_test = y_train >= task.first_positive_class, y_test >= task.first_positive_class
    epochs = options.epochs or task.epochs
    print(f"{task.question}  {len(x_train):,} training and {len(x_test):,} test pictures of 28 x 28 pixels")

    keras.utils.set_random_seed(options.seed)
    model = keras.Sequential(
        [
            keras.Input(shape=(28, 28, 1)),
            layers.Conv2D(32, (3, 3), activation="relu"),
            layers.MaxPooling2D((2, 2)),
            layers.Conv2D(64, (3, 3), activation="relu"),
            layers.MaxPooling2D((2, 2)),
            layers.Conv2D(64, (3, 3), activation="relu"),
            layers.Flatten(),
            layers.Dense(64, activation="relu"),
            layers.Dense(1, activation="sigmoid"),
        ]
    )
    model.compile(optimizer="adam", loss="binary_crossentropy", metrics=["accuracy"])

    started = time.perf_counter()
    history = model.fit(x_train, y_train, epochs=epochs, batch_size=32, validation_split=0.2)
    seconds = time.perf_counter() - started
    _, accuracy = model.evaluate(x_test, y_test, verbose=0)
    probability = np.asarray(model.predict(x_test, batch_size=256, verbose=0)).reshape(-1)

    trained = (len(x_train) - len(x_train) // 5) * len(history.epoch)
    print(f"\nTrained in {seconds:.2f} s: {trained / seconds:,.0f} pictures a second, validation included.")
    print(f"Test accuracy: {100 * float(accuracy):.1f} %\n")
    print(_confusion_table(y_test, probability > 0.5, task.negative, task.positive))
    print(_example(x_test[0, :, :, 0], bool(y_test[0]), float(probability[0]), task))
    return 0


def _scaled(images: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Returns (n, height, width, 1) in [0, 1]."""
    return images[..., np.newaxis].astype(np.float32) / np.float32(255)


def _confusion_table(actual: NDArray[Any], predicted: NDArray[Any], negative: str, positive: str) -> str:
    """Returns the four counts as a table: a row for what a picture shows, a column for what was predicted.

    >>> truth, guess = np.array([False, True, True]), np.array([False, True, False])
    >>> print(_confusion_table(truth, guess, "no", "yes"))
                  predicted no  predicted yes
    actually no              1              0
    actually yes             1              1
    <BLANKLINE>
    """
    heads = [f"predicted {name}" for name in (negative, positive)]
    rows = [f"actually {name}" for name in (negative, positive)]
    first = max(map(len, rows))
    lines = [" " * first + "".join(f"  {head}" for head in heads)]
    for truth, row in zip((False, True), rows, strict=True):
        counts = [np.count_nonzero((actual == truth) & (predicted == guess)) for guess in (False, True)]
        cells = "".join(f"  {count:>{len(head)}}" for count, head in zip(counts, heads, strict=True))
        lines.append(f"{row:<{first}}{cells}")
    return "\n".join(lines) + "\n"


def _example(image: NDArray[np.float32], actual: bool, probability: float, task: _Task) -> str:
    """Returns one test picture drawn with characters, and what the network says about it."""
    name = task.positive if probability > 0.5 else task.negative
    certainty = 100 * max(probability, 1 - probability)
    truth = task.positive if actual else task.negative
    return (
        f"The first test picture:\n\n{_picture(image)}\n\nPredicted: {name} ({certainty:.0f} % sure). It is: {truth}."
    )


def _picture(image: NDArray[np.float32]) -> str:
    """Draws an image of values in [0, 1]: one character for two rows, as characters are twice as high as wide.

    >>> print(_picture(np.array([[0.0, 0.5, 1.0], [0.0, 0.5, 1.0]], np.float32)))
     =@
    """
    even = image[: len(image) // 2 * 2]
    rows = even.reshape(len(even) // 2, 2, -1).mean(axis=1)
    shades = np.clip(np.rint(rows * (len(_SHADES) - 1)), 0, len(_SHADES) - 1).astype(int)
    lines = ["".join(_SHADES[shade] for shade in row).rstrip() for row in shades]
    return "\n".join(lines).strip("\n")
