import pickle
import threading
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import urlsplit

import pytest
from botocore.awsrequest import AWSResponse
from botocore.exceptions import ClientError
from pydantic import ValidationError

from sift_ray.config import Config
from sift_ray.config_storage import StorageConfig
from sift_ray.object_store import S3Connection, StoreError

HERE = {"endpoint_url": "http://127.0.0.1:9", "region": "eu-west-1"}
LISTING = b'<?xml version="1.0"?><ListBucketResult><IsTruncated>false</IsTruncated></ListBucketResult>'


class _Body:
    """What botocore reads an answer from."""

    def __init__(self, data):
        self._data = data

    def stream(self, **_):
        yield self._data


@pytest.fixture(autouse=True)
def keys(monkeypatch, tmp_path):
    for name in ("AWS_PROFILE", "AWS_SESSION_TOKEN", "AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.delenv(name, raising=False)
    credentials = tmp_path / "credentials"
    credentials.write_text("[default]\naws_access_key_id = a\naws_secret_access_key = b\n")
    credentials.write_text(
        credentials.read_text() + "[other]\naws_access_key_id = c\naws_secret_access_key = SECRETVALUE\n"
    )
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(credentials))
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "config"))


def requests_of(connection, *statuses):
    """Let the connection's client put an object and list the bucket; return the requests that it sends."""
    answers, sent = [*statuses], []

    def answer(request, **_):
        sent.append(request)
        status = answers.pop(0) if answers else 200
        return AWSResponse(request.url, status, {}, _Body(LISTING if request.method == "GET" else b""))

    connection.client.meta.events.register("before-send.s3", answer)
    connection.client.put_object(Bucket="bucket", Key="x", Body=b"data")
    list(connection.keys("bucket", "p"))
    return sent


@contextmanager
def recording_server():
    """Run a server that knows no object; yield its address and the signatures of what it is asked."""
    seen = []

    class Handler(BaseHTTPRequestHandler):
        def do_HEAD(self):
            seen.append(self.headers["Authorization"])
            self.send_response(404)
            self.end_headers()

        do_GET = do_HEAD

        def log_message(self, *_):
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}", seen
    server.shutdown()
    server.server_close()
    thread.join()


def header(request, name):
    value = request.headers.get(name)
    return value.decode() if isinstance(value, bytes) else value


def test_plain_requests_carry_nothing_more():
    put, listing = requests_of(S3Connection(StorageConfig(**HERE)))
    assert urlsplit(put.url).path == "/bucket/x"
    for name in ("x-amz-server-side-encryption", "x-amz-request-payer"):
        assert header(put, name) is None
        assert header(listing, name) is None


def test_what_is_written_is_encrypted_as_asked():
    storage = StorageConfig(**HERE, encryption="aws:kms", kms_key_id="key-1")
    put, listing = requests_of(S3Connection(storage))
    assert header(put, "x-amz-server-side-encryption") == "aws:kms"
    assert header(put, "x-amz-server-side-encryption-aws-kms-key-id") == "key-1"
    assert header(listing, "x-amz-server-side-encryption") is None


def test_requests_are_paid_for_as_asked():
    put, listing = requests_of(S3Connection(StorageConfig(**HERE, request_payer=True)))
    assert header(put, "x-amz-request-payer") == header(listing, "x-amz-request-payer") == "requester"


def test_buckets_are_addressed_by_host_name_as_asked():
    storage = StorageConfig(endpoint_url="http://store.example", region="eu-west-1", path_style=False)
    put, _ = requests_of(S3Connection(storage))
    assert urlsplit(put.url).netloc == "bucket.store.example"


def test_a_store_that_is_throttling_is_asked_again(monkeypatch):
    monkeypatch.setattr("time.sleep", lambda _: None)
    sent = requests_of(S3Connection(StorageConfig(**HERE, retries=3)), 503, 500)
    assert [request.method for request in sent] == ["PUT", "PUT", "PUT", "GET"]


def test_a_profile_is_used_by_both_clients(tmp_path):
    (tmp_path / "config").write_text("[profile other]\nregion = eu-west-3\n")
    with recording_server() as (endpoint, seen):
        connection = S3Connection(StorageConfig(endpoint_url=endpoint, profile="other", retries=0))
        with suppress(ClientError):
            connection.client.head_object(Bucket="bucket", Key="x")
        by_boto3 = len(seen)
        connection.filesystem.get_file_info("bucket/x")
    assert 0 < by_boto3 < len(seen)
    assert all("Credential=c/" in signature and "/eu-west-3/s3/" in signature for signature in seen)


def test_no_key_travels():
    connection = S3Connection(StorageConfig(**HERE, profile="other"))
    assert connection.client is not None
    assert connection.filesystem is not None  # (pyarrow's own pickle would hold the secret)
    travelling = pickle.dumps(connection)
    assert b"SECRETVALUE" not in travelling
    assert pickle.loads(travelling).client is not None


def test_what_pyarrow_can_not_do_goes_through_s3fs():
    pytest.importorskip("s3fs")
    for more in ({"encryption": "AES256"}, {"request_payer": True}):
        assert S3Connection(StorageConfig(**HERE, **more)).filesystem.type_name == "py::fsspec+('s3', 's3a')"


def test_without_s3fs_it_says_what_to_install(monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "s3fs", None)
    with pytest.raises(StoreError, match=r"install sift-ray\[s3fs\]"):
        _ = S3Connection(StorageConfig(**HERE, request_payer=True)).filesystem


def test_a_role_that_may_not_see_uploads_can_still_delete(caplog):
    connection = S3Connection(StorageConfig(**HERE))
    refusal = b"<Error><Code>AccessDenied</Code></Error>"
    answer = lambda request, **_: AWSResponse(request.url, 403, {}, _Body(refusal))  # noqa: E731
    connection.client.meta.events.register("before-send.s3", answer)
    connection.abort_uploads("bucket", "wave")
    assert "unfinished uploads there are not looked for" in caplog.text


def test_encryption_is_not_silently_left_out_elsewhere():
    job = {"corpora": [{"type": "demo", "name": "demo", "path": "demo"}], "storage": {"encryption": "AES256"}}
    assert Config(output="s3://bucket/job", **job).storage.encryption
    for output in ("gs://bucket/job", "out/job"):
        with pytest.raises(ValidationError, match=r"storage\.encryption is for s3:// alone"):
            Config(output=output, **job)


def test_a_key_without_its_kind_of_encryption_is_a_mistake():
    with pytest.raises(ValidationError, match="kms_key_id: only with encryption: aws:kms"):
        StorageConfig(encryption="AES256", kms_key_id="k")
