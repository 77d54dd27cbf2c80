"""The `storage` section of a config: where an object store is and how it is spoken to. Never a credential."""

from __future__ import annotations

import os
from typing import Literal, Self

from pydantic import Field, model_validator

from sift_ray.config_sections import Section


class StorageConfig(Section):
    """Where `s3://` is, if not at Amazon, and how. Credentials come by the SDK's own ways, never from here."""

    endpoint_url: str | None = None  # None: AWS_ENDPOINT_URL_S3 or AWS_ENDPOINT_URL where set
    region: str | None = None  # None: AWS_REGION or AWS_DEFAULT_REGION where set
    profile: str | None = None  # of the SDK's credentials file; None: AWS_PROFILE, or the other ways of the SDK
    path_style: bool | None = None  # address buckets by path, not by host name; None: where endpoint_url is set
    retries: int = Field(10, ge=0, le=100)  # of a request that was throttled (503 SlowDown), cut off or timed out
    connect_timeout_s: float = Field(10.0, gt=0)
    read_timeout_s: float = Field(60.0, gt=0)
    encryption: Literal["AES256", "aws:kms"] | None = None  # of what is written; None: as the bucket has it
    kms_key_id: str | None = None  # with aws:kms; None: the account's own key
    request_payer: bool = False  # pay for requests to a bucket whose owner does not
    ca_file: str | None = None  # certificates (PEM) to trust for https

    @model_validator(mode="after")
    def _keyed(self) -> Self:
        if self.kms_key_id is not None and self.encryption != "aws:kms":
            raise ValueError("kms_key_id: only with encryption: aws:kms")
        return self

    def resolved(self) -> Self:
        """Return the section with what this process's environment says; workers elsewhere may have another."""
        endpoint_url = self.endpoint_url or os.environ.get("AWS_ENDPOINT_URL_S3") or os.environ.get("AWS_ENDPOINT_URL")
        region = self.region or os.environ.get("AWS_REGION") or os.environ.get("AWS_DEFAULT_REGION")
        return self.model_copy(update={"endpoint_url": endpoint_url, "region": region})
