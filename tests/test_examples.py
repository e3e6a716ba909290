"""The examples that need no download run from start to end, and the benchmarks' programs start."""

import subprocess
import sys

import pytest


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "needs", "shown"),
    [
        ("shirts_with_callbacks", None, "test accuracy: 0."),
        ("augmentation", None, "Trained on pictures augmented: test loss 0."),
        ("custom_layer", None, "largest error of the gradients: 0.00"),
        ("custom_loss", None, "largest error of the gradient: "),
        ("cross_validation", "sklearn", "Cross-validation: 0.8"),
        ("image_folder", "PIL", "Using 480 files for validation."),
    ],
)
def test_example(project_root, name, needs, shown):
    if needs is not None:
        pytest.importorskip(needs)
    path = project_root / "examples" / f"{name}.py"
    result = subprocess.run([sys.executable, str(path)], capture_output=True, text=True, encoding="utf-8")
    assert result.returncode == 0, result.stderr
    assert shown in result.stdout


@pytest.mark.parametrize("name", ["accuracy", "render", "targets"])
def test_benchmark_programs_start(project_root, name):
    command = [sys.executable, str(project_root / "benchmarks" / f"{name}.py"), "--help"]
    result = subprocess.run(command, capture_output=True, text=True, encoding="utf-8")
    assert result.returncode == 0, result.stderr
    assert result.stdout.startswith(f"usage: {name}.py")
