"""The data sets: what they hold, where they are looked for, how they are downloaded, how bad files are refused."""

from __future__ import annotations

import contextlib
import gzip
import hashlib
import io
import socket
import tarfile
import threading
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from fastcnn import utils
from fastcnn.datasets import _formats, _places, fashion_mnist, mnist, shirts

NAMES = list(fashion_mnist._SHA256)


def idx(array: np.ndarray) -> bytes:
    """The idx format of unsigned bytes."""
    return bytes((0, 0, 8, array.ndim)) + np.array(array.shape, ">u4").tobytes() + array.astype(np.uint8).tobytes()


def small_files(seed: int) -> dict[str, bytes]:
    """Four gzipped files like Fashion-MNIST's: 6 training and 4 test images of 3 x 2."""
    random = np.random.default_rng(seed)
    arrays = {
        NAMES[0]: random.integers(0, 256, (6, 3, 2)),
        NAMES[1]: random.integers(0, 10, 6),
        NAMES[2]: random.integers(0, 256, (4, 3, 2)),
        NAMES[3]: random.integers(0, 10, 4),
    }
    return {name: gzip.compress(idx(array)) for name, array in arrays.items()}


def write(folder: Path, files: dict[str, bytes]) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for name, content in files.items():
        (folder / name).write_bytes(content)


def first_image(files: dict[str, bytes]) -> list[int]:
    return list(gzip.decompress(files[NAMES[0]])[16:22])


@dataclass
class Server:
    """A web server on the loopback address: answers with `files`, announces `extra` bytes more than it sends."""

    url: str
    files: dict[str, bytes]
    extra: int = 0
    requests: list[str] = field(default_factory=list)


@pytest.fixture
def server() -> Iterator[Server]:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            state.requests.append(self.path)
            body = state.files.get(self.path.rpartition("/")[2])
            if body is None:
                self.send_error(404)
                return
            self.send_response(200)
            self.send_header("Content-Length", str(len(body) + state.extra))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *values: object) -> None:
            pass

    listening = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    state = Server(f"http://127.0.0.1:{listening.server_port}/public", {})
    thread = threading.Thread(target=listening.serve_forever)
    thread.start()
    yield state
    listening.shutdown()
    listening.server_close()
    thread.join()


@pytest.fixture
def bare(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A machine without any data set, and without a network."""
    for name in ("FASTCNN_DATA_DIR", "KERAS_HOME", "XDG_CACHE_HOME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.setenv("USERPROFILE", str(tmp_path / "home"))
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    monkeypatch.setattr(_places, "DEBIAN_FOLDER", tmp_path / "debian")
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))  # bound and closed: nobody listens there
        monkeypatch.setenv("FASTCNN_DATA_URL", f"http://127.0.0.1:{taken.getsockname()[1]}/")
    return tmp_path


@pytest.fixture
def own_cache(bare: Path) -> Path:
    return bare / "home" / ".cache" / "fastcnn"


def expect_hashes(monkeypatch: pytest.MonkeyPatch, files: dict[str, bytes]) -> None:
    hashes = {name: hashlib.sha256(gzip.decompress(files[name])).hexdigest() for name in NAMES}
    monkeypatch.setattr(fashion_mnist, "_SHA256", hashes)


class TestBundled:
    def test_holds_about_as_many_shirts_as_t_shirts(self) -> None:
        (x_train, y_train), (x_test, y_test) = shirts.load_data()
        assert x_train.shape == (2400, 28, 28) and x_test.shape == (600, 28, 28)
        assert all(array.dtype == np.uint8 for array in (x_train, y_train, x_test, y_test))
        assert np.bincount(y_train).tolist() == [1137, 1263] and np.bincount(y_test).tolist() == [302, 298]
        assert x_train.max() == 255 and x_train.min() == 0

    def test_arrays_have_the_documented_sha256(self) -> None:
        readme = Path(shirts.__file__).with_name("README.md").read_text(encoding="utf-8")
        for pair in shirts.load_data():
            for array in pair:
                assert hashlib.sha256(array.tobytes()).hexdigest() in readme

    def test_the_tail_that_validation_split_takes_is_like_the_rest(self) -> None:
        (_, y_train), _ = shirts.load_data()
        assert abs(y_train[-480:].mean() - y_train[:-480].mean()) < 0.05

    def test_is_what_the_rule_selects_from_fashion_mnist(self, full_fashion_mnist) -> None:
        for (x_all, y_all), (x, y), count in zip(full_fashion_mnist, shirts.load_data(), (2400, 600), strict=True):
            picked = np.flatnonzero((y_all == 0) | (y_all == 6))[:count]
            np.testing.assert_array_equal(x, x_all[picked])
            np.testing.assert_array_equal(y, y_all[picked] == 6)

    def test_ships_zalandos_licence(self) -> None:
        licence = Path(shirts.__file__).with_name("LICENSE.fashion-mnist").read_text(encoding="utf-8")
        assert "Zalando SE" in licence and "shall be included in all copies" in licence


class TestFull:
    def test_fashion_mnist_has_keras_shapes_and_the_published_content(self, full_fashion_mnist) -> None:
        (x_train, y_train), (x_test, y_test) = full_fashion_mnist
        assert x_train.shape == (60000, 28, 28) and x_test.shape == (10000, 28, 28)
        assert np.bincount(y_train).tolist() == [6000] * 10 and np.bincount(y_test).tolist() == [1000] * 10
        for array, sha256 in zip((x_train, y_train, x_test, y_test), fashion_mnist._SHA256.values(), strict=True):
            assert array.dtype == np.uint8
            assert hashlib.sha256(idx(array)).hexdigest() == sha256


class TestSearch:
    def test_takes_the_first_place_that_has_all_files(self, bare: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        data_dir, keras_home = bare / "data", bare / "keras"
        data_dir.mkdir()
        monkeypatch.setenv("FASTCNN_DATA_DIR", str(data_dir))
        monkeypatch.setenv("KERAS_HOME", str(keras_home))
        places = [  # last choice first
            bare / "home" / ".cache" / "fastcnn" / "fashion-mnist",
            bare / "debian" / "fashion-mnist",
            keras_home / "datasets" / "fashion-mnist",
            data_dir,
            data_dir / "fashion-mnist",
        ]
        for seed, place in enumerate(places):
            files = small_files(seed)
            incomplete = {name: files[name] for name in NAMES[:3]}
            write(place, incomplete)
            if seed:
                (x_train, _), _ = fashion_mnist.load_data()
                assert x_train[0].ravel().tolist() == first_image(small_files(seed - 1)), f"before {place} is complete"
            write(place, files)
            (x_train, y_train), (x_test, y_test) = fashion_mnist.load_data()
            assert x_train[0].ravel().tolist() == first_image(files), place
            assert x_train.shape == (6, 3, 2) and x_test.shape == (4, 3, 2)
            assert y_train.shape == (6,) and y_test.shape == (4,)

    def test_keras_home_is_in_the_home_folder_unless_set(self, bare: Path) -> None:
        write(bare / "home" / ".keras" / "datasets" / "fashion-mnist", small_files(7))
        (x_train, _), _ = fashion_mnist.load_data()
        assert x_train[0].ravel().tolist() == first_image(small_files(7))

    def test_arrays_can_be_written_to(self, bare: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        write(bare / "data", small_files(1))
        monkeypatch.setenv("FASTCNN_DATA_DIR", str(bare / "data"))
        (x_train, _), _ = fashion_mnist.load_data()
        x_train[0] = 9
        assert (x_train[0] == 9).all()

    def test_a_data_dir_that_is_no_folder_is_refused(self, bare: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("FASTCNN_DATA_DIR", "/no/such/folder")
        with pytest.raises(FileNotFoundError, match="FASTCNN_DATA_DIR: expected a folder, received '/no/such/folder'"):
            fashion_mnist.load_data()


class TestDownload:
    def test_good_files_are_kept_and_not_fetched_twice(
        self, own_cache: Path, server: Server, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        files = server.files = small_files(3)
        expect_hashes(monkeypatch, files)
        monkeypatch.setenv("FASTCNN_DATA_URL", server.url)
        (x_train, _), _ = fashion_mnist.load_data()
        assert x_train[0].ravel().tolist() == first_image(files)
        assert server.requests == [f"/public/{name}" for name in NAMES]
        fashion_mnist.load_data()
        assert len(server.requests) == len(NAMES)
        assert sorted(path.name for path in (own_cache / "fashion-mnist").iterdir()) == sorted(NAMES)

    def test_an_interrupted_download_goes_on_with_the_missing_files(
        self, own_cache: Path, server: Server, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        files = small_files(3)
        expect_hashes(monkeypatch, files)
        monkeypatch.setenv("FASTCNN_DATA_URL", server.url)
        server.files = {name: files[name] for name in NAMES[:2]}
        with pytest.raises(OSError, match=rf"{NAMES[2]} cannot be downloaded"):
            fashion_mnist.load_data()
        server.files, server.requests = files, []
        fashion_mnist.load_data()
        assert server.requests == [f"/public/{name}" for name in NAMES[2:]]

    @pytest.mark.parametrize(
        ("answer", "message"),
        [
            (gzip.compress(idx(np.zeros((6, 3, 2)))), r"expected SHA-256 \w{64}, received \w{64}; nothing was stored"),
            (b"<html>Not here</html>", r"expected SHA-256 \w{64}, received something else \(a damaged gzip file"),
            (small_files(3)[NAMES[0]][:-9], r"received something else \(a damaged gzip file.*nothing was stored"),
            (b"", r"expected SHA-256 \w{64}, received e3b0c442\w+; nothing was stored"),
        ],
        ids=["wrong hash", "a web page", "cut off", "empty"],
    )
    def test_a_wrong_file_is_refused_and_not_stored(
        self, own_cache: Path, server: Server, monkeypatch: pytest.MonkeyPatch, answer: bytes, message: str
    ) -> None:
        expect_hashes(monkeypatch, small_files(3))
        monkeypatch.setenv("FASTCNN_DATA_URL", server.url)
        server.files = small_files(3) | {NAMES[0]: answer}
        with pytest.raises(OSError, match=message):
            fashion_mnist.load_data()
        assert list((own_cache / "fashion-mnist").iterdir()) == []

    def test_a_connection_that_ends_early_is_noticed(
        self, own_cache: Path, server: Server, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        server.files, server.extra = small_files(3), 5
        expect_hashes(monkeypatch, server.files)
        monkeypatch.setenv("FASTCNN_DATA_URL", server.url)
        with pytest.raises(OSError, match=r"cannot be downloaded \(.*\d+ (of|bytes read)"):
            fashion_mnist.load_data()
        assert list((own_cache / "fashion-mnist").iterdir()) == []

    @pytest.mark.parametrize(
        ("load", "remedy"),
        [
            (fashion_mnist.load_data, r"run 'apt-get install dataset-fashion-mnist', or .* FASTCNN_DATA_DIR"),
            (mnist.load_data, r"put Keras's mnist.npz into a folder and name it in FASTCNN_DATA_DIR"),
        ],
    )
    def test_without_a_network_one_sentence_says_what_to_do(
        self, bare: Path, load: Callable[[], object], remedy: str
    ) -> None:
        with pytest.raises(
            OSError, match=rf"mnist: not found on this machine and http.* \(.*refused.*\): {remedy}"
        ) as e:
            load()
        assert "\n" not in str(e.value)
        assert e.value.__cause__ is None and e.value.__suppress_context__

    def test_other_schemes_are_refused(self, bare: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("FASTCNN_DATA_URL", "file:///etc")
        with pytest.raises(ValueError, match="FASTCNN_DATA_URL: expected an http or https address"):
            mnist.load_data()

    def test_mnist_is_downloaded_checked_and_kept(
        self, own_cache: Path, server: Server, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        buffer = io.BytesIO()
        images, labels = np.arange(24, dtype=np.uint8).reshape(4, 3, 2), np.arange(4, dtype=np.uint8)
        np.savez(buffer, x_train=images, y_train=labels, x_test=images[:2], y_test=labels[:2])
        server.files = {"mnist.npz": buffer.getvalue()}
        monkeypatch.setenv("FASTCNN_DATA_URL", server.url)
        with pytest.raises(OSError, match="expected SHA-256 731c5ac"):
            mnist.load_data()
        monkeypatch.setattr(mnist, "_SHA256", hashlib.sha256(buffer.getvalue()).hexdigest())
        (x_train, _), (x_test, y_test) = mnist.load_data()
        np.testing.assert_array_equal(x_train, images)
        assert x_test.shape == (2, 3, 2) and y_test.tolist() == [0, 1]
        assert [path.name for path in own_cache.iterdir()] == ["mnist.npz"]


class TestBadFiles:
    GOOD = idx(np.arange(12).reshape(2, 3, 2))

    @pytest.mark.parametrize(
        ("content", "message"),
        [
            (b"no gzip", "expected a whole gzip file, received a damaged one"),
            (gzip.compress(GOOD)[:-6], "expected a whole gzip file, received a damaged one"),
            (gzip.compress(b""), "starts with nothing"),
            (gzip.compress(GOOD[:9]), "expected an idx file"),
            (gzip.compress(b"\0\0\x0d" + GOOD[3:]), "received one that starts with 00000d03"),
            (gzip.compress(b"\1" + GOOD[1:]), "received one that starts with 01000803"),
            (gzip.compress(idx(np.arange(12))), r"with 3 axes \(00000803\), received one that starts with 00000801"),
            (gzip.compress(GOOD[:-1]), r"expected 12 elements of shape \(2, 3, 2\), received 11"),
            (gzip.compress(GOOD + b"!"), r"expected 12 elements of shape \(2, 3, 2\), received more"),
            (gzip.compress(GOOD[:4] + b"\xff" * 12), "expected at most 1073741824 elements, received shape"),
        ],
    )
    def test_a_bad_idx_file_is_refused_by_name(self, tmp_path: Path, content: bytes, message: str) -> None:
        path = tmp_path / "images.gz"
        path.write_bytes(content)
        with pytest.raises(ValueError, match=message) as error:
            _formats.read_idx(path, 3)
        assert str(path) in str(error.value)

    def test_images_and_labels_must_pair(self, bare: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        write(bare / "data", small_files(1) | {NAMES[3]: gzip.compress(idx(np.zeros(5)))})
        monkeypatch.setenv("FASTCNN_DATA_DIR", str(bare / "data"))
        with pytest.raises(ValueError, match=r"test data: expected images .* received \(4, 3, 2\) and \(5,\)"):
            fashion_mnist.load_data()

    @pytest.mark.parametrize(
        ("arrays", "message"),
        [
            ({}, "expected arrays x_train, y_train, x_test, y_test"),
            ({"x_train": np.zeros((1, 2, 2))}, "x_train: expected uint8, received float64"),
            ({"x_train": np.array([None])}, "damaged one .*allow_pickle=False"),
            ({"x_test": np.zeros((1, 3, 3), np.uint8)}, r"images of one size, received \(2, 2\) and \(3, 3\)"),
        ],
    )
    def test_a_bad_npz_file_is_refused_by_name(self, tmp_path: Path, arrays: dict, message: str) -> None:
        images, labels = np.zeros((1, 2, 2), np.uint8), np.zeros(1, np.uint8)
        good = {"x_train": images, "y_train": labels, "x_test": images, "y_test": labels}
        path = tmp_path / "mnist.npz"
        np.savez(path, **(good | arrays if arrays else {"x": images}))
        with pytest.raises(ValueError, match=message) as error:
            mnist.load_data(str(path))
        assert str(path) in str(error.value)

    @pytest.mark.parametrize("content", [b"", b"no zip", b"PK\x03\x04 cut off"])
    def test_a_damaged_npz_file_is_refused_by_name(self, tmp_path: Path, content: bytes) -> None:
        path = tmp_path / "mnist.npz"
        path.write_bytes(content)
        with pytest.raises(ValueError, match=r"mnist\.npz: expected an npz file of four arrays, received a damaged"):
            mnist.load_data(str(path))

    def test_mnist_path_is_a_name_or_an_existing_file(self, bare: Path) -> None:
        with pytest.raises(FileNotFoundError, match="mnist: path: expected an existing file"):
            mnist.load_data(str(bare / "absent.npz"))
        with pytest.raises(ValueError, match="mnist: path: expected a file name or an absolute path"):
            mnist.load_data("../mnist.npz")


class TestGetFile:
    """`utils.get_file`: any file, once, whole and the right one."""

    BODY = b"numbers"
    SHA256 = hashlib.sha256(BODY).hexdigest()
    MD5 = hashlib.md5(BODY, usedforsecurity=False).hexdigest()

    def test_downloads_once(self, server: Server, tmp_path: Path) -> None:
        server.files["a.bin"] = self.BODY
        for _ in range(2):
            path = utils.get_file(origin=f"{server.url}/a.bin", cache_dir=tmp_path)
            assert Path(path) == tmp_path / "datasets" / "a.bin" and Path(path).read_bytes() == self.BODY
        assert len(server.requests) == 1
        utils.get_file(origin=f"{server.url}/a.bin", cache_dir=tmp_path, force_download=True)
        assert len(server.requests) == 2

    @pytest.mark.parametrize("given", [{"file_hash": SHA256}, {"file_hash": MD5}, {"md5_hash": MD5}], ids=str)
    def test_a_file_with_another_hash_is_replaced(self, server: Server, tmp_path: Path, given: dict[str, Any]) -> None:
        server.files["a.bin"] = self.BODY
        (tmp_path / "b.bin").write_bytes(b"older")
        path = utils.get_file("b.bin", f"{server.url}/a.bin", cache_subdir=str(tmp_path), **given)
        assert Path(path).read_bytes() == self.BODY

    def test_what_is_not_the_file_is_not_stored(self, server: Server, tmp_path: Path) -> None:
        server.files["a.bin"] = b"other numbers"
        with pytest.raises(ValueError, match=f"get_file: file_hash: expected sha256 {self.SHA256}, received"):
            utils.get_file(origin=f"{server.url}/a.bin", cache_dir=tmp_path, file_hash=self.SHA256)
        server.extra = 5
        with pytest.raises(OSError, match="get_file .* cannot be downloaded .*the connection ended"):
            utils.get_file(origin=f"{server.url}/a.bin", cache_dir=tmp_path)
        assert list((tmp_path / "datasets").iterdir()) == []

    @pytest.mark.parametrize("kind", ["tar", "zip"])
    def test_archives(self, server: Server, tmp_path: Path, kind: str) -> None:
        server.files["flowers.archive"] = archive(kind, {"flowers/rose.txt": b"red"})
        folder = Path(utils.get_file(origin=f"{server.url}/flowers.archive", extract=True, cache_dir=tmp_path))
        assert (folder / "flowers" / "rose.txt").read_bytes() == b"red"
        named = utils.get_file("f.tgz", f"{server.url}/flowers.archive", extract=True, cache_dir=tmp_path)
        assert Path(named) == tmp_path / "datasets" / "f_extracted"

    @pytest.mark.parametrize("kind", ["tar", "zip"])
    def test_archives_write_into_their_own_folder_only(self, server: Server, tmp_path: Path, kind: str) -> None:
        server.files["bad"] = archive(kind, {"../../outside.txt": b"x"})
        with contextlib.suppress(ValueError):
            utils.get_file(origin=f"{server.url}/bad", extract=True, cache_dir=tmp_path / "cache")
        assert [path for path in tmp_path.rglob("outside.txt") if "bad" not in path.parts] == []

    @pytest.mark.parametrize(
        ("arguments", "message"),
        [
            ({}, "origin: expected an http or https address, received None"),
            ({"origin": "ftp://x/y"}, "origin: expected an http or https address"),
            ({"origin": "http://x/"}, "fname: expected a file's name"),
            ({"origin": "http://x/y", "fname": "a/b"}, "fname: expected a file's name"),
            ({"origin": "http://x/y", "hash_algorithm": "crc"}, "hash_algorithm: expected 'auto' or"),
        ],
    )
    def test_refusals(self, arguments: dict[str, Any], message: str) -> None:
        with pytest.raises(ValueError, match=f"get_file: {message}"):
            utils.get_file(**arguments)


def archive(kind: str, files: dict[str, bytes]) -> bytes:
    stream = io.BytesIO()
    if kind == "zip":
        with zipfile.ZipFile(stream, "w") as zipped:
            for name, body in files.items():
                zipped.writestr(name, body)
    else:
        with tarfile.open(fileobj=stream, mode="w:gz") as tar:
            for name, body in files.items():
                member = tarfile.TarInfo(name)
                member.size = len(body)
                tar.addfile(member, io.BytesIO(body))
    return stream.getvalue()
