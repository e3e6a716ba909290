"""Checks that code compiled for an instruction set defines no symbol that other code could share.

    python tools/check_symbols.py BUILD_FOLDER

An inline function or template instance that a file compiled for AVX-512 emits is a weak symbol; if a baseline file
emits it too, the linker keeps one of the two for the whole program, and on an older processor that may be an illegal
instruction. So the objects of the libraries fastcnn_<level> may define global and weak symbols in the namespace
fastcnn::<level> only.
"""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

LEVELS = ("baseline", "avx2", "avx512", "avx512_pairs", "amx", "amx_emulated")


def belongs(symbol: str, level: str) -> bool:
    """True for a mangled name in fastcnn::<level> (functions, data, guards, and tables of its classes)."""
    return re.match(rf"_Z(?:T[VTIS]|GV)?N[rVKRO]*7fastcnn{len(level)}{level}(?=\d|I|[CD]\d|L)", symbol) is not None


def defined_symbols(objects: list[Path]) -> list[tuple[str, str]]:
    """Returns (object file, mangled name) of every global or weak symbol defined in `objects`."""
    listing = subprocess.run(
        ["nm", "--defined-only", "--extern-only", "--print-file-name", "--format=posix", *map(str, objects)],
        check=True,
        capture_output=True,
        text=True,
    ).stdout
    return [(Path(line.partition(": ")[0]).name, line.partition(": ")[2].split()[0]) for line in listing.splitlines()]


def check(build: Path) -> list[str]:
    """Returns what is wrong in a build folder, a line each."""
    problems = []
    for level in LEVELS:
        objects = sorted(build.rglob(f"fastcnn_{level}.dir/**/*.o"))
        if not objects:
            problems.append(f"fastcnn_{level}: no objects below {build}")
            continue
        symbols = defined_symbols(objects)
        strangers = [f"fastcnn_{level}: {file}: {symbol}" for file, symbol in symbols if not belongs(symbol, level)]
        problems += strangers
        print(f"fastcnn_{level}: {len(objects)} objects, {len(symbols)} symbols, {len(strangers)} outside")
        if not symbols:
            problems.append(f"fastcnn_{level}: defines no symbols at all")
    return problems


def main() -> int:
    if len(sys.argv) != 2:
        print("usage: check_symbols.py BUILD_FOLDER", file=sys.stderr)
        return 2
    problems = check(Path(sys.argv[1]))
    print(*problems, sep="\n", end="\n" if problems else "")
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
