"""The ``fastcnn`` command as a person meets it: what it prints, where, and its exit status."""

from __future__ import annotations

import importlib.metadata
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

import fastcnn
from fastcnn import cli

COMMAND = [sys.executable, "-m", "fastcnn"]


def run(*words: str, timeout: float = 120, **environment: str) -> subprocess.CompletedProcess[str]:
    """Runs the command in a process of its own."""
    return subprocess.run(
        [*COMMAND, *words],
        capture_output=True,
        encoding="utf-8",
        timeout=timeout,
        env=os.environ | {"PYTHONIOENCODING": "utf-8"} | environment,
        stdin=subprocess.DEVNULL,
    )


@pytest.fixture(scope="module")
def demo() -> subprocess.CompletedProcess[str]:
    return run("demo", "--epochs", "3", "--seed", "1")


class TestDemo:
    @pytest.mark.isa
    def test_trains_with_keras_progress_and_learns(self, demo: subprocess.CompletedProcess[str]) -> None:
        assert demo.returncode == 0, demo.stderr
        assert demo.stderr == ""
        for epoch in ("Epoch 1/3", "Epoch 2/3", "Epoch 3/3"):
            assert epoch in demo.stdout
        for name in ("accuracy:", "loss:", "val_accuracy:", "val_loss:", "60/60"):  # 60: 1,920 of 2,400 in 32s
            assert name in demo.stdout
        accuracy = re.search(r"^Test accuracy: (\d+\.\d) %$", demo.stdout, re.MULTILINE)
        assert accuracy is not None
        assert float(accuracy[1]) > 75, "T-shirts and shirts: chance is 50, three epochs reach above 80"

    def test_confusion_table_counts_every_test_picture_and_agrees_with_the_accuracy(
        self, demo: subprocess.CompletedProcess[str]
    ) -> None:
        rows = re.findall(r"^actually (?:T-shirt/top|Shirt) +(\d+) +(\d+)$", demo.stdout, re.MULTILINE)
        (tn, fp), (fn, tp) = [tuple(map(int, row)) for row in rows]
        assert (tn + fp, fn + tp) == (302, 298)
        assert f"Test accuracy: {100 * (tn + tp) / 600:.1f} %" in demo.stdout

    def test_shows_an_example_prediction_with_its_picture(self, demo: subprocess.CompletedProcess[str]) -> None:
        example = demo.stdout.partition("The first test picture:\n")[2]
        drawing = [line for line in example.splitlines() if re.search(r"[-=+*#%@]{3}", line)]
        assert 8 <= len(drawing) <= 14 and all(len(line) <= 28 for line in drawing)
        pattern = r"^Predicted: (T-shirt/top|Shirt) \(\d+ % sure\)\. It is: (T-shirt/top|Shirt)\.$"
        assert re.search(pattern, example, re.MULTILINE)

    def test_says_how_fast_it_was(self, demo: subprocess.CompletedProcess[str]) -> None:
        assert re.search(r"^Trained in \d+\.\d\d s: [\d,]+ pictures a second", demo.stdout, re.MULTILINE)

    def test_same_seed_gives_the_same_result_on_any_number_of_threads(
        self, demo: subprocess.CompletedProcess[str]
    ) -> None:
        def results(output: str) -> list[str]:
            return re.findall(r"(?:loss|accuracy): [\d.e-]+|^actually .*|^Predicted.*", output, re.MULTILINE)

        again = run("demo", "--epochs", "3", "--seed", "1", FASTCNN_NUM_THREADS="3")
        other = run("demo", "--epochs", "3", "--seed", "2")
        assert results(again.stdout)[-4:] == results(demo.stdout)[-4:] != results(other.stdout)[-4:]

    @pytest.mark.slow
    def test_full_fashion_mnist_in_one_epoch(self, full_fashion_mnist: object) -> None:
        result = run("demo", "--data", "fashion_mnist", "--epochs", "1", timeout=250)
        assert result.returncode == 0, result.stderr
        accuracy = re.search(r"^Test accuracy: (\d+\.\d) %$", result.stdout, re.MULTILINE)
        assert accuracy is not None and float(accuracy[1]) > 90

    @pytest.mark.skipif(sys.platform == "win32", reason="signals")
    def test_ctrl_c_ends_quietly_with_status_130(self) -> None:
        process = subprocess.Popen(
            [*COMMAND, "demo", "--epochs", "10000"], stdout=subprocess.PIPE, stderr=subprocess.PIPE, encoding="utf-8"
        )
        assert process.stdout is not None
        while "Epoch 1/" not in (line := process.stdout.readline()):
            assert line, "ended before the first epoch"
        time.sleep(0.5)
        process.send_signal(signal.SIGINT)
        _, errors = process.communicate(timeout=30)
        assert process.returncode == 130
        assert errors.strip() == ""


class TestErrors:
    def test_absent_data_is_one_line_on_stderr_and_status_2(self, tmp_path: Path) -> None:
        result = run("demo", "--data", "fashion_mnist", FASTCNN_DATA_DIR=str(tmp_path / "absent"))
        assert (result.returncode, result.stdout) == (2, "")
        assert result.stderr == (
            f"fastcnn: fashion_mnist: FASTCNN_DATA_DIR: expected a folder, received '{tmp_path / 'absent'}'\n"
        )

    @pytest.mark.parametrize(
        ("words", "message"),
        [
            (["demo", "--data", "cats"], "invalid choice: 'cats'"),
            (["demo", "--epochs", "0"], "expected a whole number of at least 1, received '0'"),
            (["demo", "--epochs", "two"], "expected a whole number of at least 1, received 'two'"),
            (["demo", "--seed", "-1"], "expected"),
            (["demo", "--seed", "4294967296"], "expected a whole number from 0 to 4294967295"),
            (["fly"], "invalid choice: 'fly'"),
        ],
    )
    def test_wrong_words_give_status_2(
        self, words: list[str], message: str, capsys: pytest.CaptureFixture[str]
    ) -> None:
        assert cli.main(words) == 2
        shown = capsys.readouterr()
        assert message in shown.err and shown.out == ""

    def test_an_unknown_instruction_set_is_refused_in_one_sentence(self) -> None:
        result = run("demo", "--epochs", "1", FASTCNN_MAX_ISA="avx9")
        assert result.returncode != 0 and result.stdout == ""
        sentence = "FASTCNN_MAX_ISA: expected one of 'baseline', 'avx2', 'avx512', 'amx', received 'avx9'"
        assert result.stderr.splitlines()[-1].endswith(sentence)

    def test_a_reader_that_goes_away_is_no_error(self) -> None:
        result = subprocess.run(
            f'"{sys.executable}" -m fastcnn demo --epochs 1 | head -n 1',
            shell=True,
            capture_output=True,
            encoding="utf-8",
            timeout=60,
        )
        assert result.stderr == ""
        assert result.stdout.startswith("T-shirt/top or shirt?")


class TestInformation:
    def test_version(self, capsys: pytest.CaptureFixture[str]) -> None:
        assert cli.main(["--version"]) == 0
        assert capsys.readouterr().out == f"fastcnn {fastcnn.__version__}\n"

    def test_version_is_the_installed_package_s(self) -> None:
        try:
            installed = importlib.metadata.version("fastcnn")
        except importlib.metadata.PackageNotFoundError:
            pytest.skip("fastcnn runs from its sources")
        assert fastcnn.__version__ == installed

    def test_config_names_instruction_sets_and_threads(self) -> None:
        result = run("config", FASTCNN_MAX_ISA="baseline", FASTCNN_NUM_THREADS="3")
        assert result.returncode == 0, result.stderr
        assert "baseline" in result.stdout and "3" in result.stdout
        assert "None" not in result.stdout.splitlines()

    @pytest.mark.parametrize("words", [[], ["--help"]])
    def test_help_names_every_command(self, words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
        assert cli.main(words) == 0
        shown = capsys.readouterr().out
        assert all(word in shown for word in ("demo", "config", "--version"))
