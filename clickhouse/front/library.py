"""The engine's library: chDB's extension module, without the Python package around it.

Importing the package `chdb` opens a connection and closes it again. With the last connection of a process the engine
shuts its registry of streaming tables down for good: from then on it refuses every Kafka table ("Shutdown was called").
So the package's `__init__` must never run, and one connection stays open for the life of a process.

The class `chdb.connect` would not do in any case: it hides the last chunk of a stream (totals) and starts progress
bars.
"""

import importlib
import importlib.util
import sys
from types import ModuleType
from typing import Any

PACKAGE = "chdb"
DISTRIBUTION = "chdb-core"
Connection = Any  # the connection's type comes from a C++ module without annotations


class EngineMissingError(ImportError):
    """The engine's library is not installed, or not whole."""


def connect(address: str) -> Connection:
    """Open a folder, or `:memory:`; options follow after a `?`. Raises RuntimeError with the engine's text.

    One process opens one folder, as often as it likes. The connection that it opens first must be the last to close.
    """
    return load().connect(address)


def load() -> Any:
    """The extension module; raises EngineMissingError with what to do where it is not whole."""
    if PACKAGE not in sys.modules:
        spec = importlib.util.find_spec(PACKAGE)
        if spec is None or spec.submodule_search_locations is None:
            raise EngineMissingError(f"there is no package {PACKAGE}: install {DISTRIBUTION}")
        package = ModuleType(PACKAGE)
        package.__path__ = list(spec.submodule_search_locations)
        sys.modules[PACKAGE] = package
    try:
        module = importlib.import_module(f"{PACKAGE}._chdb")
        module.connect  # noqa: B018 - where the extension is gone, a folder of type hints stands in for it
    except (ImportError, AttributeError) as error:
        # pip removes the old chdb after it has written the new chdb-core, and both have their files in one folder.
        raise EngineMissingError(
            f"the engine's library is not whole, as after an upgrade of chdb in place, which removes files of "
            f"{DISTRIBUTION}. Run `pip install --force-reinstall --no-deps {DISTRIBUTION}`, or install into a new "
            "environment"
        ) from error
    return module
