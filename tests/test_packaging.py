"""What is installed: the metadata, the files, their size, and the links and claims of the documents."""

from __future__ import annotations

import importlib.metadata
import re
from pathlib import Path

import pytest

import fastcnn

PACKAGE = Path(fastcnn.__file__).parent
MEGABYTE = 1_000_000


@pytest.fixture(scope="module")
def distribution() -> importlib.metadata.Distribution:
    try:
        return importlib.metadata.distribution("fastcnn")
    except importlib.metadata.PackageNotFoundError:
        pytest.skip("fastcnn runs from its sources")


class TestInstalled:
    def test_the_hard_dependencies_are_few(self, distribution: importlib.metadata.Distribution) -> None:
        hard = [line for line in distribution.requires or [] if "extra ==" not in line]
        assert [re.split(r"[<>=!~ ]", line)[0] for line in hard] == ["numpy", "rich", "h5py", "safetensors"]

    def test_the_command_is_installed(self, distribution: importlib.metadata.Distribution) -> None:
        commands = {entry.name: entry.value for entry in distribution.entry_points if entry.group == "console_scripts"}
        assert commands == {"fastcnn": "fastcnn.cli:main"}

    def test_licences_travel_with_the_package(self, distribution: importlib.metadata.Distribution) -> None:
        files = [str(path) for path in distribution.files or []]
        assert any(path.endswith("licenses/LICENSE") for path in files)
        assert any(path.endswith("licenses/python/fastcnn/datasets/LICENSE.fashion-mnist") for path in files)

    def test_no_sources_of_other_languages_or_tests_are_installed(
        self, distribution: importlib.metadata.Distribution
    ) -> None:
        files = [path for path in distribution.files or [] if path.parts[0] != ".." and "__pycache__" not in path.parts]
        assert {path.parts[0] for path in files} <= {"fastcnn", f"fastcnn-{fastcnn.__version__}.dist-info"}
        assert [str(path) for path in files if path.suffix in {".cpp", ".h", ".cmake", ".o", ".a"}] == []

    def test_the_package_says_that_it_is_typed(self) -> None:
        assert (PACKAGE / "py.typed").is_file()
        assert (PACKAGE / "_core.pyi").is_file()

    def test_the_package_stays_small(self) -> None:
        size = sum(path.stat().st_size for path in PACKAGE.rglob("*") if path.suffix not in {".pyc"} and path.is_file())
        assert size < 12 * MEGABYTE, "unpacked; the wheel's limit is 5 MB"


class TestDocuments:
    def test_links_between_documents_lead_somewhere(self, project_root: Path) -> None:
        documents = [*project_root.glob("*.md"), *project_root.glob("docs/*.md")]
        assert len(documents) >= 7
        broken = [
            f"{path.name}: {target}"
            for path in documents
            for target in re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", path.read_text(encoding="utf-8"))
            if not (path.parent / target).exists()
        ]
        assert broken == []

    def test_the_readme_opens_with_the_two_commands(self, project_root: Path) -> None:
        readme = (project_root / "README.md").read_text(encoding="utf-8")
        commands = re.findall(r"```(?:sh|bash)\n(.*?)\n```", readme, re.DOTALL)
        assert commands[:2] == [
            "python3 -m venv .venv && .venv/bin/pip install . && .venv/bin/fastcnn demo",
            '.venv/bin/pip install ".[test]" && .venv/bin/pytest',
        ]

    def test_the_readme_explains_every_environment_variable(self, project_root: Path) -> None:
        readme = (project_root / "README.md").read_text(encoding="utf-8")
        sources = [*project_root.glob("cpp/**/*.cpp"), *project_root.glob("python/**/*.py")]
        used = {
            name
            for path in sources
            for name in re.findall(
                r'(?:getenv\(|environ\.get\(|environ\[)\s*"(FASTCNN_\w+)"', path.read_text(encoding="utf-8")
            )
        }
        assert {"FASTCNN_MAX_ISA", "FASTCNN_DATA_DIR"} <= used
        assert [name for name in sorted(used) if f"`{name}`" not in readme] == []

    def test_the_changelog_describes_this_version(self, project_root: Path) -> None:
        changelog = (project_root / "CHANGELOG.md").read_text(encoding="utf-8")
        assert f"\n## {fastcnn.__version__}" in changelog
