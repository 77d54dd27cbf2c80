import pickle
from urllib.parse import urlsplit

import pytest
from botocore.awsrequest import AWSResponse
from pydantic import ValidationError

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
    credentials.write_text(credentials.read_text() + "[other]\naws_access_key_id = c\naws_secret_access_key = d\n")
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


def test_a_profile_is_used_by_both_clients():
    connection = S3Connection(StorageConfig(**HERE, profile="other"))
    put, _ = requests_of(connection)
    assert "Credential=c/" in header(put, "Authorization")
    assert connection.filesystem.type_name == "s3"


def test_no_key_travels():
    travelling = pickle.dumps(S3Connection(StorageConfig(**HERE, profile="other")))
    assert b"aws_secret" not in travelling
    assert pickle.loads(travelling).client is not None


def test_what_pyarrow_can_not_do_goes_through_s3fs():
    pytest.importorskip("s3fs")
    for more in ({"encryption": "AES256"}, {"request_payer": True}):
        assert S3Connection(StorageConfig(**HERE, **more)).filesystem.type_name == "py::fsspec+('s3', 's3a')"


def test_without_s3fs_it_says_what_to_install(monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "s3fs", None)
    with pytest.raises(StoreError, match=r"install sift-ray\[s3fs\]"):
        _ = S3Connection(StorageConfig(**HERE, request_payer=True)).filesystem


def test_a_key_without_its_kind_of_encryption_is_a_mistake():
    with pytest.raises(ValidationError, match="kms_key_id: only with encryption: aws:kms"):
        StorageConfig(encryption="AES256", kms_key_id="k")
