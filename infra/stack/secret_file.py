"""The users and passwords of an embedded stack."""

import os
import secrets
from collections.abc import Mapping
from pathlib import Path

from infra.base.settings import parse_env_file

USERS = {"CLICKHOUSE_USER": "admin", "CLICKHOUSE_READER_USER": "reader"}
PASSWORDS = ("CLICKHOUSE_PASSWORD", "CLICKHOUSE_READER_PASSWORD")


def credentials(path: Path, environment: Mapping[str, str]) -> dict[str, str]:
    """The four credentials: from the environment, else from the env file `path`, else new and added to the file.

    What the environment gives is never written down. The file is made readable by its owner alone.
    """
    known = parse_env_file(path.read_text()) if path.exists() else {}
    given = {name: value for name in (*USERS, *PASSWORDS) if (value := environment.get(name))}
    new = {name: secrets.token_urlsafe(24) for name in PASSWORDS if name not in known | given}
    new |= {name: user for name, user in USERS.items() if name not in known | given}
    if new:
        # Never readable by others, not even between creation and a change of mode.
        handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        with os.fdopen(handle, "a") as file:
            file.writelines(f"{name}={value}\n" for name, value in sorted(new.items()))
    return {**new, **known, **given}
