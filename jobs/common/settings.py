"""Settings of every job, read once from the environment.

The same names work in the embedded mode, in Compose, in the charts and in ``feature_store.yaml``.
Credentials for S3 are not settings: they come from the AWS default chain, so that no static key is
needed where the machine or the pod has an identity.
"""

from __future__ import annotations

import re
from datetime import UTC, datetime
from typing import Literal
from urllib.parse import urlsplit

from pydantic import Field, ValidationError, field_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from jobs.common.errors import WrongCall


class Settings(BaseSettings):
    """Typed, frozen settings. Each field is the environment variable of the same name in capitals."""

    model_config = SettingsConfigDict(frozen=True, extra="ignore", env_ignore_empty=True)

    lake_uri: str | None = Field(
        None, description="The lake: `file:///folder` or `s3://bucket[/prefix]`. `--lake` overrides it."
    )
    aws_endpoint_url: str | None = Field(
        None, description="S3 endpoint of a store that is not AWS (MinIO). Unset on AWS."
    )
    aws_region: str = Field("us-east-1", description="S3 region.")
    s3_path_style: bool = Field(False, description="Address buckets by path instead of host name. True for MinIO.")
    redis_url: str = Field(
        "redis://localhost:6379/0",
        description="Online store: `redis://` or `rediss://`, with user and password where the server asks for them.",
    )
    feast_registry_url: str | None = Field(
        None, description="SQLAlchemy URL of the Feast registry, such as `sqlite:////folder/registry.db`."
    )
    online_loader: Literal["fast", "stock"] = Field(
        "fast",
        description="What loads the online store: `fast`, the plug-in `feast_fast`, or `stock` Feast's own engine.",
    )
    spark_master: str = Field(
        "local[2]",
        description="Spark master of the bronze and features jobs. `local[*]` takes all cores, and half a gigabyte for each.",
    )
    spark_driver_memory: str = Field(
        "640m", description="JVM heap of the bronze and features jobs.", pattern=r"^[1-9][0-9]*[mg]$"
    )
    spark_conf: str | None = Field(
        None, description="Further Spark settings of these jobs, a line `name=value` each; they win over the jobs' own."
    )
    serve_host: str = Field("0.0.0.0", description="Address at which the service of features listens.")
    serve_port: int = Field(8090, description="Its port.", ge=1, le=65535)
    serve_deadline_ms: int = Field(
        200, description="Milliseconds for which it waits for Redis before it answers 503.", ge=1, le=60_000
    )
    serve_batch_limit: int = Field(1_000, description="The most cards in one request to it.", ge=1, le=100_000)
    serve_as_of: datetime | None = Field(
        None,
        description="The moment at which it judges the age of values where a request names none, ISO 8601. Unset: now. For data of the past, such as the demo's.",
    )
    log_format: Literal["auto", "json", "text"] = Field(
        "auto", description="`json`: one object a line; `text`: for a person; `auto`: text on a terminal."
    )

    @field_validator("aws_endpoint_url")
    @classmethod
    def _http(cls, value: str | None) -> str | None:
        if value is not None and not _is_address(value, ("http", "https")):
            raise ValueError("must start with http:// or https:// and name a host")
        return value

    @field_validator("serve_as_of")
    @classmethod
    def _utc(cls, value: datetime | None) -> datetime | None:
        return value.replace(tzinfo=UTC) if value and value.tzinfo is None else value

    @field_validator("spark_conf")
    @classmethod
    def _name_value(cls, value: str | None) -> str | None:
        if any(not re.fullmatch(r"spark\.[^\s=]+=.*", line) for line in _lines(value)):
            raise ValueError("must be lines such as spark.executor.memory=1g")
        return value

    @property
    def spark_settings(self) -> dict[str, str]:
        """``spark_conf`` by name."""
        return dict(line.split("=", 1) for line in _lines(self.spark_conf))

    @field_validator("redis_url")
    @classmethod
    def _redis(cls, value: str) -> str:
        if not _is_address(value, ("redis", "rediss")):
            raise ValueError("must look like redis://host:6379/0")
        return value


def load_settings() -> Settings:
    """Reads the settings from the environment.

    Raises:
        WrongCall: naming every wrong variable at once, without its value (it may hold a password).
    """
    try:
        return Settings()
    except ValidationError as error:
        problems = "; ".join(f"{str(e['loc'][0]).upper()} {_words(e['msg'])}" for e in error.errors())
        raise WrongCall(f"Wrong settings in the environment: {problems}.") from None


def _lines(text: str | None) -> list[str]:
    return [line.strip() for line in (text or "").splitlines() if line.strip()]


def _is_address(url: str, schemes: tuple[str, ...]) -> bool:
    """Whether the URL has one of the schemes, a host, and a port that is one or none."""
    try:
        parts = urlsplit(url)
        return parts.scheme in schemes and bool(parts.hostname) and (parts.port is None or parts.port > 0)
    except ValueError:
        return False


def _words(message: str) -> str:
    message = message.removeprefix("Value error, ").removeprefix("Input ")
    return message[0].lower() + message[1:]
