"""Writing to the terminal whatever its encoding."""

from __future__ import annotations

import sys

from fastcnn import config


def can_print(text: str) -> bool:
    """Returns whether standard output can write the text. A stream without an encoding (`StringIO`) can write all."""
    try:
        text.encode(getattr(sys.stdout, "encoding", None) or "utf-8")
    except (UnicodeEncodeError, LookupError):
        return False
    return True


def print_message(message: str, line_break: bool = True) -> None:
    """Writes the message to standard output and flushes; never raises `UnicodeEncodeError`.

    Characters that the stream cannot write become question marks. Nothing is written where there is no standard output
    (`pythonw`).
    """
    if not config.is_interactive_logging_enabled():
        import logging

        logging.getLogger("fastcnn").info(message)
        return
    stream = sys.stdout
    if stream is None:
        return
    if line_break:
        message += "\n"
    try:
        stream.write(message)
    except UnicodeEncodeError:
        encoding = getattr(stream, "encoding", None) or "ascii"
        stream.write(message.encode(encoding, errors="replace").decode(encoding))
    stream.flush()
