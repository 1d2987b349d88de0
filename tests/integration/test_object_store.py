"""A holdout in an object store: real servers of both kinds, and what is said where one refuses or does not answer."""

import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow.fs
import pytest

from tests.integration.conftest import environment
from tests.stories.project import CHALLENGER, CHAMPION, Models, Project, make_models, until

KEY, SECRET = "AKIDTESTKEY12345", "s3cr3tS3cr3t99/abcdef"


@pytest.fixture(scope="module")
def store() -> Iterator[str]:
    """The URL of an S3 server."""
    with served("moto[server]==5.*", "moto_server", "-H", "127.0.0.1", "-p", "{port}") as port:
        yield f"http://127.0.0.1:{port}"


@pytest.fixture(scope="module")
def google() -> Iterator[int]:
    """The port of a server of Google's kind, with a bucket `teams`."""
    options = ["start", "--host=127.0.0.1", "--port={port}", "--in-memory", "--default-bucket=teams"]
    with served("gcp-storage-emulator==2026.*", "gcp-storage-emulator", *options) as port:
        yield port


@contextmanager
def served(requirement: str, program: str, *options: str) -> Iterator[int]:
    """The port at which this program answers."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port: int = free.getsockname()[1]
    command = [str(environment(requirement) / program), *(each.format(port=port) for each in options)]
    server = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        until(partial(answers, port))
        yield port
    finally:
        server.terminate()
        server.wait()


def answers(port: int) -> bool:
    with socket.socket() as asking:
        return asking.connect_ex(("127.0.0.1", port)) == 0


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Models:
    return make_models(tmp_path_factory.mktemp("models"))


@pytest.fixture
def project(tmp_path: Path, models: Models, store: str) -> Project:
    """A project with two models, whose holdout is in the store."""
    project = Project(tmp_path, models)
    project.link(models.weak, CHAMPION)
    project.link(models.strong, CHALLENGER)
    project.environment |= {"AWS_ENDPOINT_URL": store, "AWS_ACCESS_KEY_ID": KEY, "AWS_SECRET_ACCESS_KEY": SECRET}
    project.environment |= {"AWS_EC2_METADATA_DISABLED": "true", "AWS_REGION": "us-east-1"}
    return project


def put(store: str, models: Models, directory: str, files: int) -> None:
    """Put the rows of the holdout into so many objects."""
    there = pyarrow.fs.S3FileSystem(
        access_key=KEY, secret_key=SECRET, endpoint_override=store, region="us-east-1", allow_bucket_creation=True
    )
    there.create_dir(directory)
    write(there, models, directory, files)


def write(there: pyarrow.fs.FileSystem, models: Models, directory: str, files: int) -> None:
    """Write the rows of the holdout into so many objects."""
    rows = pd.read_csv(models.holdout)
    for number, places in enumerate(np.array_split(np.arange(len(rows)), files)):
        rows.iloc[places].to_parquet(f"{directory}/part={number}/rows.parquet", filesystem=there)
        rows.iloc[places].to_parquet(f"{directory}/flat-{number}.parquet", filesystem=there)


def judged(project: Project, holdout: str) -> subprocess.CompletedProcess[str]:
    """What comes of judging the challenger on this holdout, as a rehearsal."""
    project.configure(promotion={"holdout": holdout})
    return project.run("promote", CHALLENGER, "--dry-run")


def test_objects_are_judged_as_the_same_rows_in_one_file(project: Project, models: Models, store: str) -> None:
    """A pattern in the store and a local file have one verdict and use up one comparison; it is scored once."""
    put(store, models, "teams/holdout", 7)
    first = judged(project, "s3://teams/holdout/flat-*.parquet")
    assert first.returncode == 0, first
    again = judged(project, "s3://teams/holdout/flat-*.parquet")
    assert "recorded" in again.stdout, again
    local = judged(project, "data/holdout.csv")
    for each in (again, local):
        assert "holdout comparison 1 of 10" in each.stdout, each
        assert each.stdout[each.stdout.index("F1 ") :][:60] == first.stdout[first.stdout.index("F1 ") :][:60]
    address = f"s3://teams/holdout/flat-0.parquet?scheme=http&endpoint_override={store.removeprefix('http://')}"
    del project.environment["AWS_ENDPOINT_URL"]
    assert judged(project, address).returncode in (0, 11), "one object, by an address that names the server"


def test_objects_of_a_google_bucket_are_judged_as_the_same_rows(project: Project, models: Models, google: int) -> None:
    """As those of the other kind: one verdict, and one comparison."""
    where = f"127.0.0.1:{google}"
    write(pyarrow.fs.GcsFileSystem(anonymous=True, scheme="http", endpoint_override=where), models, "teams/holdout", 3)
    server = f"scheme=http&endpoint_override={where}&retry_limit_seconds=5"
    first = judged(project, f"gs://anonymous@teams/holdout/flat-*.parquet?{server}")
    assert first.returncode == 0, first
    local = judged(project, "data/holdout.csv")
    assert local.stdout[local.stdout.index("F1 ") :][:60] == first.stdout[first.stdout.index("F1 ") :][:60]
    absent = judged(project, f"gs://anonymous@teams/nothing?{server}")
    assert (absent.returncode, absent.stdout) == (1, "")
    assert "is not there" in absent.stderr, absent
    silent = judged(project, "gs://anonymous@teams/holdout?scheme=http&endpoint_override=127.0.0.1:1")
    assert (silent.returncode, silent.stdout) == (1, "")
    assert "Could not connect to server" in silent.stderr, silent


def test_status_and_doctor_of_a_project_in_a_store(project: Project, models: Models, store: str) -> None:
    """Doctor tests the gate on the rows there; status does not ask the store."""
    put(store, models, "others/holdout", 2)
    project.configure(promotion={"holdout": "s3://others/holdout/flat-*.parquet"})
    assert project.run("promote", CHALLENGER).returncode == 0
    found = project.run("doctor", "-v").stdout
    assert "s3://others/holdout/flat-*.parquet has 3,000 rows with the label 'y'" in found, found
    assert "1 of 10 used on the holdout" in project.run("status", AWS_ENDPOINT_URL="http://127.0.0.1:1").stdout


def test_a_bucket_or_path_that_is_not_there(project: Project, models: Models, store: str) -> None:
    """It is said which, and nothing changes."""
    put(store, models, "third/holdout", 1)
    for address, said in {
        "s3://nowhere/holdout": "s3://nowhere/holdout is not there: no bucket 'nowhere' can be seen",
        "s3://third/nothing": "s3://third/nothing is not there (is it promotion.holdout?)",
        "s3://third/holdout/*.pq": "s3://third/holdout/*.pq has no file of that name (it needs Parquet files)",
    }.items():
        done = judged(project, address)
        assert (done.returncode, done.stdout) == (1, "")
        assert said in done.stderr, done


def test_a_server_that_does_not_answer(project: Project) -> None:
    """There is no verdict, the sentence says which server did not answer, and the champion stays."""
    project.environment["AWS_ENDPOINT_URL"] = "http://127.0.0.1:1"
    before = (project.root / CHAMPION).read_bytes()
    done = judged(project, "s3://teams/holdout")
    assert done.returncode == 1
    assert "Failed to connect to 127.0.0.1" in done.stderr, done
    assert (project.root / CHAMPION).read_bytes() == before


def test_denied_access_is_said_without_the_keys(project: Project, tmp_path: Path) -> None:
    """A server that refuses is quoted, what it says of the credentials is not."""
    (tmp_path / "server.py").write_text(DENYING)
    command = [sys.executable, str(tmp_path / "server.py"), KEY, SECRET]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as server:
        try:
            assert server.stdout is not None
            project.environment["AWS_ENDPOINT_URL"] = f"http://127.0.0.1:{server.stdout.readline().strip()}"
            done = judged(project, "s3://teams/holdout/*.parquet")
        finally:
            server.terminate()
    assert done.returncode == 1
    assert "ACCESS_DENIED" in done.stderr, done
    assert KEY not in done.stderr
    assert SECRET not in done.stderr
    assert "Request ID" not in done.stderr, "each error would be news to cron"


DENYING = """
import sys
from http.server import BaseHTTPRequestHandler, HTTPServer


class Denying(BaseHTTPRequestHandler):
    def do_GET(self):
        said = f"<Error><Code>AccessDenied</Code><Message>{sys.argv[1]} and {sys.argv[2]} may not</Message></Error>"
        self.send_response(403)
        self.send_header("Content-Type", "application/xml")
        self.send_header("Content-Length", str(len(said)))
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(said.encode())

    do_HEAD = do_GET

    def log_message(self, *_):
        pass


server = HTTPServer(("127.0.0.1", 0), Denying)
print(server.server_port, flush=True)
server.serve_forever()
"""
