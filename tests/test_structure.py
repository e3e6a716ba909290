"""The directions of dependence of docs/architecture.md, read from the sources."""

from __future__ import annotations

import ast
import importlib.util
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

# Each folder may include from itself and from folders to its left.
FOLDERS = ("base", "isa", "simd", "kernels", "graph", "engine", "bindings")

# All that code compiled for an instruction set may include: headers that emit no symbol, whose copy compiled with, say,
# AVX-512 the linker could keep for every processor.
SIMD_PROJECT_HEADERS = re.compile(
    r"base/(image|inline|geometry|random)\.h|kernels/(\w+\.h|table\.inc)|simd/\w+\.h|isa/levels\.inc"
)
SIMD_SYSTEM_HEADERS = {"cstdint", "cstring", "cmath"}
INTRINSICS_HEADERS = {"immintrin.h", "emmintrin.h", "arm_neon.h"}  # in simd/ only

# What a folder exists for may be imported there.
ALLOWED_MODULES = {"wrappers": {"sklearn"}, "onnx": {"onnx"}, "torch": {"torch"}}
FORBIDDEN_MODULES = {"torch", "keras", "tensorflow", "jax", "onnx", "onnxruntime", "sklearn", "pickle", "marshal"}

INCLUDE = re.compile(r'^[ \t]*#[ \t]*include[ \t]*(?:"([^"]+)"|<([^>]+)>)', re.MULTILINE)
THREADS = re.compile(r"\bstd::j?thread\b(?!::)|\bpthread_create\b|\bstd::async\b|#[ \t]*pragma[ \t]+omp\b|\bomp_\w+")


def includes(text: str) -> tuple[list[str], list[str]]:
    """Returns the project's and the system's headers that a source includes."""
    found = INCLUDE.findall(text)
    return [project for project, _ in found if project], [system for _, system in found if system]


def wrong_arrows(path: str, text: str) -> list[str]:
    """Returns what is wrong with the includes of the file at `path` below cpp/, a sentence each."""
    folder = path.split("/")[0]
    wrong = []
    for header in includes(text)[0]:
        target = header.split("/")[0]
        if target not in FOLDERS or "/" not in header or ".." in header:
            wrong.append(f'{path}: "{header}" is not written as folder/file')
        elif FOLDERS.index(target) > FOLDERS.index(folder):
            wrong.append(f'{path}: {folder} may not use {target} ("{header}")')
    return wrong


def wrong_simd_includes(path: str, text: str) -> list[str]:
    """Returns the includes of `path` that code compiled for an instruction set may not see."""
    project, system = includes(text)
    allowed = SIMD_SYSTEM_HEADERS | (INTRINSICS_HEADERS if path.startswith("simd/") else set())
    wrong = [f'{path}: "{header}"' for header in project if not SIMD_PROJECT_HEADERS.fullmatch(header)]
    return wrong + [f"{path}: <{header}>" for header in system if header not in allowed]


def imported_modules(source: str) -> Iterator[str]:
    """Yields the top-level names of all modules that a Python source imports anywhere, lazily or not."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            yield from (alias.name.split(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            yield node.module.split(".")[0]


def cpp_files(root: Path) -> dict[str, str]:
    cpp = root / "cpp"
    files = sorted(path for path in cpp.rglob("*") if path.suffix in {".h", ".cpp", ".inc"})
    return {path.relative_to(cpp).as_posix(): path.read_text(encoding="utf-8") for path in files}


def python_files(root: Path) -> dict[str, str]:
    package = root / "python" / "fastcnn"
    return {path.relative_to(package).as_posix(): path.read_text(encoding="utf-8") for path in package.rglob("*.py")}


class TestTheChecksThemselves:
    """A check that cannot fail checks nothing."""

    @pytest.mark.parametrize(
        ("path", "line", "wrong"),
        [
            ("base/shape.h", '#include "isa/isa.h"', True),
            ("kernels/dispatch.cpp", '#include "engine/plan.h"', True),
            ("engine/plan.cpp", '#  include "bindings/arrays.h"', True),
            ("engine/plan.cpp", '#include "../base/check.h"', True),
            ("engine/plan.cpp", '#include "plan.h"', True),
            ("engine/plan.cpp", '#include "kernels/dispatch.h"', False),
            ("bindings/module.cpp", '#include "engine/plan.h"', False),
            ("base/shape.h", "#include <vector>", False),
        ],
    )
    def test_arrows(self, path: str, line: str, wrong: bool) -> None:
        assert bool(wrong_arrows(path, f"#pragma once\n{line}\n")) is wrong

    @pytest.mark.parametrize(
        ("path", "line", "wrong"),
        [
            ("kernels/conv.simd.cpp", "#include <vector>", True),
            ("kernels/conv.simd.cpp", "#include <immintrin.h>", True),
            ("kernels/conv.simd.cpp", '#include "base/check.h"', True),
            ("kernels/conv.simd.cpp", '#include "base/threads.h"', True),
            ("simd/avx2.h", "#include <immintrin.h>", False),
            ("kernels/conv.simd.cpp", "#include <cmath>", False),
            ("kernels/conv.simd.cpp", '#include "simd/vec.h"', False),
        ],
    )
    def test_simd_includes(self, path: str, line: str, wrong: bool) -> None:
        assert bool(wrong_simd_includes(path, line)) is wrong

    def test_imports(self) -> None:
        source = "import torch.nn as nn\ndef f():\n    from keras import layers\n    from .torch import x\n"
        assert list(imported_modules(source)) == ["torch", "keras"]

    @pytest.mark.parametrize("line", ["#pragma omp parallel", "std::thread([] {})", "pthread_create(&t, 0, f, 0);"])
    def test_threads(self, line: str) -> None:
        assert THREADS.search(line)

    @pytest.mark.parametrize(
        ("symbol", "own"),
        [
            ("_ZN7fastcnn4avx213dense_forwardEv", True),
            ("_ZTVN7fastcnn4avx21SE", True),
            ("_ZN7fastcnn6avx51213dense_forwardEv", False),
            ("_ZN7fastcnn6sharedEi", False),
            ("_ZSt4sortIPfEvT_S1_", False),
            ("DW.ref.__gxx_personality_v0", False),
        ],
    )
    def test_symbols(self, project_root: Path, symbol: str, own: bool) -> None:
        spec = importlib.util.spec_from_file_location("check_symbols", project_root / "tools" / "check_symbols.py")
        assert spec is not None and spec.loader is not None
        check_symbols = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(check_symbols)
        assert check_symbols.belongs(symbol, "avx2") is own


class TestCpp:
    def test_every_source_lies_in_a_known_folder(self, project_root: Path) -> None:
        paths = cpp_files(project_root)
        assert paths
        assert [path for path in paths if path.split("/")[0] not in FOLDERS] == []

    def test_folders_use_only_what_stands_to_their_left(self, project_root: Path) -> None:
        wrong = [line for path, text in cpp_files(project_root).items() for line in wrong_arrows(path, text)]
        assert wrong == []

    def test_code_compiled_for_an_instruction_set_sees_only_headers_without_symbols(self, project_root: Path) -> None:
        files = cpp_files(project_root)
        seen = [path for path in files if path.endswith(".simd.cpp")]
        assert seen
        wrong: list[str] = []
        for path in seen:  # grows: what they include is read as well
            wrong += wrong_simd_includes(path, files[path])
            seen += [header for header in includes(files[path])[0] if header in files and header not in seen]
        assert wrong == []

    def test_threads_are_started_in_base_team_alone(self, project_root: Path) -> None:
        starting = {path for path, text in cpp_files(project_root).items() if THREADS.search(text)}
        assert starting == {"base/team.cpp"}

    def test_no_flag_that_changes_the_process_s_floating_point_state(self, project_root: Path) -> None:
        builds = [project_root / "CMakeLists.txt", *project_root.glob("cpp/**/*.cmake")]
        for path in builds:
            code = "\n".join(line.partition("#")[0] for line in path.read_text(encoding="utf-8").splitlines())
            assert not re.search(r"-ffast-math|-Ofast|-funsafe-math|/fp:fast", code), path


class TestPython:
    def test_no_module_imports_a_framework_or_a_format_that_runs_code(self, project_root: Path) -> None:
        files = python_files(project_root)
        assert "cli.py" in files
        wrong = {
            path: set(imported_modules(text)) & (FORBIDDEN_MODULES - ALLOWED_MODULES.get(path.split("/")[0], set()))
            for path, text in files.items()
        }
        assert {path: names for path, names in wrong.items() if names} == {}

    def test_importing_fastcnn_loads_numpy_and_the_standard_library_only(self) -> None:
        program = (
            "import sys, numpy, numpy.random\n"  # numpy.random brings Cython's own modules
            "before = set(sys.modules)\n"
            "import fastcnn\n"
            "loaded = {name.split('.')[0] for name in set(sys.modules) - before}\n"
            "print(*sorted(loaded - set(sys.stdlib_module_names) - {'numpy', 'fastcnn'}))\n"
            "print(*sorted({'urllib.request', 'http.client', 'ssl'} & (set(sys.modules) - before)))\n"
        )
        result = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
        assert result.returncode == 0, result.stderr
        assert result.stdout.split("\n") == ["", "", ""], "foreign modules, network modules"
