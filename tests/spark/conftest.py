"""One Spark session for all tests of transforms; they need no broker."""

from collections.abc import Iterator

import pytest
from pyspark.sql import SparkSession

from infra.jars import jars
from infra.java import java_home
from stream_processing.session import start_session
from stream_processing.settings import StreamSettings


@pytest.fixture(scope="session")
def spark() -> Iterator[SparkSession]:
    session = start_session(StreamSettings(driver_memory="1g"), jars("spark"), java_home(17))
    yield session
    session.stop()
