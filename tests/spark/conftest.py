"""One Spark session for all tests of transforms; they need no broker."""

from collections.abc import Iterator

import pytest
from pyspark.sql import SparkSession

from infra.stack.spark import spark_runtime
from stream_processing.session import start_session
from stream_processing.settings import StreamSettings


@pytest.fixture(scope="session")
def spark() -> Iterator[SparkSession]:
    session = start_session(StreamSettings(driver_memory="1g"), spark_runtime())
    yield session
    session.stop()
