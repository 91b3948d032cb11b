"""An S3 store that is late, gone, closed or full: what a lake waits for, and which error it ends with."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from jobs.common import s3, services
from jobs.common.errors import JobError, Unreachable, WrongCall
from jobs.common.lake import Lake, Manifest, Staged
from jobs.common.s3 import s3_failure
from jobs.common.settings import Settings
from tests import s3 as moto
from tests.outages import Proxy, free_port


@pytest.fixture(autouse=True)
def _credentials(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in moto.CREDENTIALS.items():
        monkeypatch.setenv(name, value)


@pytest.fixture(scope="module")
def server() -> Iterator[int]:
    with moto.running() as port:
        moto.client(port).create_bucket(Bucket="fti")
        yield port


@pytest.fixture
def proxy(server: int) -> Iterator[Proxy]:
    proxy = Proxy(server)
    yield proxy
    proxy.cut()


def settings(port: int) -> Settings:
    return Settings(aws_endpoint_url=f"http://127.0.0.1:{port}", s3_path_style=True)


def test_a_store_that_comes_back_in_time_is_waited_for(
    proxy: Proxy, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    proxy.mend_when_waited_for(monkeypatch)
    lake = Lake.open("s3://fti/lake", settings(proxy.port))
    lake.write_bytes("x", b"1")
    assert lake.read_bytes("x") == b"1"
    said = capsys.readouterr()  # where a test before this one set up logging, on standard error
    assert (said.out + said.err).count("waiting for a service") == 1


def test_a_prefix_is_taken_as_it_is_written(server: int) -> None:
    lake = Lake.open("s3://fti/my%20lake/a%23b/", settings(server))
    lake.write_bytes("x", b"1")
    assert moto.client(server).get_object(Bucket="fti", Key="my%20lake/a%23b/x")["Body"].read() == b"1"


def test_a_partition_of_many_files_is_moved_into_place_side_by_side(
    server: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    lake = Lake.open("s3://fti/many", settings(server))
    names = [f"part-{i:02}" for i in range(40)]
    together = threading.Barrier(16)
    move = Lake._move

    def waits_for_others(self: Lake, path: str, to: str) -> None:
        if int(to[-2:]) < 16:
            together.wait(timeout=20)
        move(self, path, to)

    with lake.staging() as staging:
        for name in names:
            lake.write_bytes(f"{staging}/{name}", name.encode())
        monkeypatch.setattr(Lake, "_move", waits_for_others)
        lake.publish(
            Manifest("t", "p", "job", "v", "i", "d", 40), [Staged(f"{staging}/{name}", name) for name in names]
        )
    assert [lake.relative(f.path) for f in lake.files("t")] == [f"t/p/{name}" for name in names]
    assert [lake.read_bytes(f"t/p/{name}").decode() for name in names] == names
    assert lake.manifests("t")["p"].files == names


def test_a_move_that_fails_leaves_no_manifest(server: int) -> None:
    lake = Lake.open("s3://fti/few", settings(server))
    lake.write_bytes("here", b"1")
    files = [Staged("here", "a"), Staged("nowhere", "b")]
    with pytest.raises(OSError, match="nowhere"):
        lake.publish(Manifest("t", "p", "job", "v", "i", "d", 2), files)
    assert lake.partitions("t") == []


def test_an_outage_in_the_middle_is_outlived(proxy: Proxy) -> None:
    proxy.mend()
    lake = Lake.open("s3://fti/lake", settings(proxy.port))
    lake.write_bytes("y", b"before")
    proxy.cut()
    proxy.mend_after(4)
    assert lake.read_bytes("y") == b"before"
    proxy.cut()
    proxy.mend_after(4)
    lake.write_bytes("y", b"after")
    assert lake.read_bytes("y") == b"after"


def test_a_store_that_dies_is_named_and_does_not_hold_up_the_end(proxy: Proxy, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(s3, "RETRIES", 3)
    proxy.mend()
    lake = Lake.open("s3://fti/lake", settings(proxy.port))

    def work() -> None:
        with lake.errors(), lake.staging() as staging:
            lake.write_bytes(f"{staging}/x", b"1")
            proxy.cut()
            lake.read_bytes(f"{staging}/x")

    with pytest.raises(Unreachable, match=f"S3 at 127.0.0.1:{proxy.port} cannot be reached: it refuses connections"):
        work()


def test_pyarrow_retries_for_half_a_minute_in_all(monkeypatch: pytest.MonkeyPatch) -> None:
    """Measured for four fewer pauses, since each is twice as long as the one before."""
    monkeypatch.setattr(s3, "RETRIES", s3.RETRIES - 4)
    filesystem = s3.s3_filesystem(settings(free_port()))
    began = time.monotonic()
    with pytest.raises(OSError, match="NETWORK_CONNECTION"):
        filesystem.get_file_info("fti")
    assert time.monotonic() - began > 20 / 2**4


def test_a_wrong_key_is_a_wrong_call_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    with moto.running(unchecked=1) as port:
        moto.client(port).create_bucket(Bucket="fti")
        with pytest.raises(WrongCall) as raised:
            Lake.open("s3://fti/lake", settings(port))
    said = str(raised.value)
    assert f"S3 at 127.0.0.1:{port} refuses access: check AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY" in said
    assert moto.KEY not in said
    assert moto.SECRET not in said


def test_a_bucket_that_is_not_there_is_a_wrong_call(server: int) -> None:
    with pytest.raises(WrongCall, match=f"There is no bucket another, S3 at 127.0.0.1:{server}: make it first"):
        Lake.open("s3://another", settings(server))


class _FullStore(BaseHTTPRequestHandler):
    """Answers as MinIO does whose disk is full: reads go well, writes do not."""

    protocol_version = "HTTP/1.1"

    def do_HEAD(self) -> None:
        self._answer(200 if self.path.strip("/") == "fti" else 404, b"")

    def do_PUT(self) -> None:
        self.rfile.read(int(self.headers.get("Content-Length", 0)))
        code, words = "XMinioStorageFull", "Storage backend has reached its minimum free drive threshold."
        self._answer(507, f"<Error><Code>{code}</Code><Message>{words}</Message></Error>".encode())

    do_POST = do_PUT  # noqa: N815  # the name that the base class looks for

    def _answer(self, status: int, body: bytes) -> None:
        self.send_response(status)
        self.send_header("Content-Type", "application/xml")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        pass


def test_a_full_store_is_exit_code_1_and_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(s3, "RETRIES", 2)
    with ThreadingHTTPServer(("127.0.0.1", 0), _FullStore) as full:
        threading.Thread(target=full.serve_forever, daemon=True).start()
        lake = Lake.open("s3://fti/lake", settings(full.server_port))
        with (
            pytest.raises(JobError, match=f"The disk of S3 at 127.0.0.1:{full.server_port} is full") as raised,
            lake.errors(),
        ):
            lake.write_bytes("x", b"1")
        full.shutdown()
    assert raised.value.exit_code == 1


def test_what_a_task_of_spark_says() -> None:
    """Its trace is in Python and Java; the cause is its worker's."""
    said = (
        "Job aborted due to stage failure: Task 0 in stage 0.0 failed 1 times\n"
        "OSError: When getting information for key 'a' in bucket 'b': AWS Error NETWORK_CONNECTION during HeadObject "
        "operation: curlCode: 7, Couldn't connect to server\n\tat org.apache.spark.api.python.BasePythonRunner.x(P.scala:1)"
    )
    failure = s3_failure("S3 at minio:9000", said)
    assert type(failure) is Unreachable
    assert "AWS_ENDPOINT_URL" in str(failure)


@pytest.mark.parametrize("said", ["java.lang.OutOfMemoryError: Java heap space", "division by zero", ""])
def test_what_is_no_failure_of_the_store(said: str) -> None:
    assert s3_failure("S3 at minio:9000", said) is None


def test_waiting_ends_with_patience(monkeypatch: pytest.MonkeyPatch) -> None:
    """With a clock that only sleeping moves."""
    clock = [0.0]
    monkeypatch.setattr(services.time, "monotonic", lambda: clock[0])
    monkeypatch.setattr(services.time, "sleep", lambda seconds: clock.__setitem__(0, clock[0] + seconds))
    attempts = []

    def fail() -> None:
        attempts.append(clock[0])
        raise Unreachable("gone", "gone")

    with pytest.raises(Unreachable):
        services.first_contact("a service", fail)
    assert attempts[-1] == services.PATIENCE == 30
    assert len(attempts) < 20
