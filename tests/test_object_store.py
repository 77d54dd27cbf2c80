import ast
import pickle
import socket
import threading
import time
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import urlsplit

import botocore.session
import pytest
from botocore import xform_name
from botocore.awsrequest import AWSResponse
from botocore.exceptions import ClientError
from pydantic import ValidationError

import sift_ray
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


def operations_of_the_package():
    """Return every operation of S3 that a line of the package asks a client for, in boto3's own name for the API."""
    model = botocore.session.get_session().get_service_model("s3")
    names = {xform_name(name): {name} for name in model.operation_names}
    names |= {"download_file": {"HeadObject", "GetObject"}}
    for transfer in ("upload_file", "upload_fileobj", "download_fileobj", "copy", "generate_presigned_url"):
        names[transfer] = {f"({transfer}: say here what it asks for)"}
    found = set()
    for file in Path(sift_ray.__file__).parent.rglob("*.py"):
        for node in ast.walk(ast.parse(file.read_text())):
            match node:
                case ast.Attribute(ast.Attribute(attr="client") | ast.Name("client"), name) if name in names:
                    found |= names[name]
                case ast.Call(ast.Attribute(attr="get_paginator"), [ast.Constant(str(name))]):
                    found |= names[name]
    return model, found


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


def test_all_that_is_asked_of_a_store_can_be_paid_for_and_what_is_written_be_encrypted():
    model, used = operations_of_the_package()
    assert used >= {"GetObject", "HeadObject", "PutObject", "ListObjectsV2", "DeleteObjects", "ListMultipartUploads"}
    sent = {}
    connection = S3Connection(StorageConfig(**HERE, encryption="AES256", request_payer=True))
    events = connection.client.meta.events
    for name in model.operation_names:
        given = {}
        events.emit(f"provide-client-params.s3.{name}", params=given, model=None, context={})
        sent[name] = given
    for name in used:
        members = model.operation_model(name).input_shape.members
        assert (sent[name].get("RequestPayer") == "requester") == ("RequestPayer" in members), name
        assert (sent[name].get("ServerSideEncryption") == "AES256") == ("ServerSideEncryption" in members), name
    for name, given in sent.items():  # (what an operation does not know, boto3 refuses)
        assert given.keys() <= model.operation_model(name).input_shape.members.keys(), name


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


def test_without_s3fs_it_says_what_to_install(monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "s3fs", None)
    with pytest.raises(StoreError, match=r"install sift-ray\[s3fs\]"):
        _ = S3Connection(StorageConfig(**HERE, request_payer=True)).filesystem


def test_boto3_takes_the_times_and_certificates_of_the_config():
    storage = StorageConfig(**HERE, connect_timeout_s=3.5, read_timeout_s=7.5, retries=4, ca_file="/ca/own.pem")
    client = S3Connection(storage).client
    assert (client.meta.config.connect_timeout, client.meta.config.read_timeout) == (3.5, 7.5)
    assert client.meta.config.retries == {"total_max_attempts": 5, "mode": "standard"}
    session = client._endpoint.http_session
    assert (session._verify, session._timeout.connect_timeout, session._timeout.read_timeout) == (
        "/ca/own.pem",
        3.5,
        7.5,
    )


def test_pyarrow_waits_as_long_as_the_config_says_for_a_server_that_never_answers():
    with socket.create_server(("127.0.0.1", 0)) as silent:
        waited = [time_until_given_up(silent.getsockname()[1], seconds) for seconds in (1.0, 6.0)]
    # (its own default is 3 s, so that neither of the two can be that)
    assert 0.9 <= waited[0] < waited[1] - 3.0, waited
    assert 5.9 <= waited[1] < 60.0, waited


def time_until_given_up(port, read_timeout_s):
    here = {"endpoint_url": f"http://127.0.0.1:{port}", "region": "eu-west-1"}
    filesystem = S3Connection(StorageConfig(**here, retries=0, read_timeout_s=read_timeout_s)).filesystem
    began = time.monotonic()
    with pytest.raises(OSError, match=r"(?i)time|curl"):
        filesystem.get_file_info("bucket/x")
    return time.monotonic() - began


def test_a_role_that_may_not_see_uploads_can_still_delete(caplog):
    connection = S3Connection(StorageConfig(**HERE))
    refusal = b"<Error><Code>AccessDenied</Code></Error>"
    answer = lambda request, **_: AWSResponse(request.url, 403, {}, _Body(refusal))  # noqa: E731
    connection.client.meta.events.register("before-send.s3", answer)
    for wave in ("wave=00000", "wave=00001"):
        connection.abort_uploads("bucket", wave)
    assert caplog.text.count("unfinished uploads there are not looked for") == 1


def test_encryption_is_not_silently_left_out_elsewhere():
    job = {"corpora": [{"type": "demo", "name": "demo", "path": "demo"}], "storage": {"encryption": "AES256"}}
    assert Config(output="s3://bucket/job", **job).storage.encryption
    for output in ("gs://bucket/job", "out/job"):
        with pytest.raises(ValidationError, match=r"storage\.encryption is for s3:// alone"):
            Config(output=output, **job)


def test_a_key_without_its_kind_of_encryption_is_a_mistake():
    with pytest.raises(ValidationError, match="kms_key_id: only with encryption: aws:kms"):
        StorageConfig(encryption="AES256", kms_key_id="k")
