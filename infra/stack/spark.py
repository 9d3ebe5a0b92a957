"""What Spark runs on here: its modules from the cache of jars, and a Java that this machine has."""

from infra.stack.jars import jars
from infra.stack.java import java_home, wrapped
from stream_processing.session import SparkRuntime

OLDEST_JAVA = 17


def spark_runtime() -> SparkRuntime:
    """The modules, fetched if need be, and a Java of at least OLDEST_JAVA that does not warn of how Spark starts it.

    Raises SmartmeterError without one.
    """
    return SparkRuntime(jars("spark"), wrapped(java_home(OLDEST_JAVA)))
