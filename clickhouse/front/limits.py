"""Every bound of the front in one place: how much, how deep, how long, how many."""

READER_MAX_EXECUTION_TIME_S = 70
"""What a reader's statement may take. clickhouse-go asks for the data source's time and 5 s, and Grafana gives 60."""

READER_MAX_MEMORY_BYTES = 2_000_000_000
READER_MAX_SQL_BYTES = 256 << 10
"""The engine's own max_query_size."""

PRINTED_MAX_BYTES = 16 << 20
"""Of a reader's statement as the engine prints it, which is longer than what was sent: it is indented."""

READER_MAX_NESTING = 100
"""Brackets within brackets. The deepest of our panels has 9."""

ADMIN_MAX_SQL_BYTES = 64 << 20
MAX_EXTERNAL_BYTES = 64 << 20
"""Of one external table, decoded."""

MAX_BLOCK_BYTES = 64 << 20
"""Of one block of ClickHouse's own compression, either side of it."""

PIECE_BYTES = 1 << 20
"""What is decoded, compressed or sent at a time."""

PARSE_S = 5.0
"""The engine's parser takes milliseconds; where it takes longer, it will not come back."""

CANCEL_S = 8.0
"""After it was asked to stop, a reader's statement may run so long. Then the engine is restarted without it."""

UNREAD_S = 20.0
"""A client that takes nothing of its answer for so long loses it."""

READER_ANSWER_S = 600.0
"""A reader's answer, the client's reading included."""

SLOT_WAIT_S = 60.0
"""A statement waits so long for its turn."""

BODY_S = 30.0
"""A reader's statement, or the next piece of an administrator's body, arrives within this time."""

ENGINE_START_S = 120.0
MAX_SESSIONS = 500
