"""The reader's role on a ClickHouse server that keeps roles. The embedded engine keeps none: its front is the fence."""

from clickhouse_connect.driver.client import Client
from clickhouse_connect.driver.exceptions import ClickHouseError

from clickhouse import roles
from infra.base.errors import SmartmeterError, first_line

KEEPS_ROLES = "SELECT count() FROM system.user_directories WHERE type IN ('local_directory', 'replicated', 'memory')"


def apply_roles(client: Client, database: str) -> bool:
    """Make the reader's role and its limits as declared, whatever they were; False where the server keeps no roles.

    Raises SmartmeterError where the user may not manage access.
    """
    try:
        if not client.command(KEEPS_ROLES):
            return False
        for statement in roles.statements(database):
            client.command(statement)
    except ClickHouseError as error:
        raise SmartmeterError(
            f"the reader's role {roles.role_of(database)} could not be made ({first_line(error)}); have somebody who "
            "may manage access run what `smartmeter apply --print-roles` prints"
        ) from error
    return True
