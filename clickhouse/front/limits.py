"""Every bound of the front in one place: how much, how deep, how long, how many."""

READER_MAX_EXECUTION_TIME_S = 70
"""What a reader's statement may take. clickhouse-go asks for the data source's time and 5 s, and Grafana gives 60."""

READER_MAX_MEMORY_BYTES = 2_000_000_000
READER_MAX_THREADS = 16
"""Of one statement. What the engine takes by itself, one for each core, is not bounded by it."""

READER_MAX_SPILL_BYTES = 4_000_000_000
"""What one statement may write into the engine's folder while it sorts, groups or joins: twice its memory."""

READER_MIN_SPILL_BYTES = 1 << 20
"""A statement that is told to write sooner makes a file of every block."""

READER_MAX_SQL_BYTES = 256 << 10
"""The engine's own max_query_size."""

PRINTED_MAX_BYTES = 16 << 20
"""Of a reader's statement as the engine prints it, which is longer than what was sent: it is indented."""

READER_MAX_NESTING = 100
"""Brackets within brackets. The deepest of our panels has 9."""

ADMIN_MAX_SQL_BYTES = 64 << 20
MAX_EXTERNAL_BYTES = 64 << 20
"""Of one external table, decoded."""

ADMIN_MAX_BLOCK_BYTES = 64 << 20
"""Of one block of ClickHouse's own compression, either side of it."""

READER_MAX_BLOCK_BYTES = 2 << 20
"""A reader sends statements and small tables; clients make blocks of 1 MiB. The rest is room for what packs badly."""

PIECE_BYTES = 1 << 20
"""What is decoded, compressed or sent at a time."""

PARSE_S = 5.0
"""The engine's parser takes milliseconds; where it takes longer, it will not come back."""

CANCEL_S = 8.0
"""After it was asked to stop, a reader's statement may run so long. Then the engine is restarted without it."""

BRAKE_S = 300.0
"""A reader's statement that ended the engine's process is refused for so long."""

MAX_BRAKES = 1000
"""So many statements are remembered for it."""

UNREAD_S = 20.0
"""A client that takes nothing of its answer for so long loses it."""

READER_ANSWER_S = 600.0
"""A reader's answer, the client's reading included."""

ANSWER_IN_MEMORY_BYTES = 1 << 20
"""Of an answer that is kept until it is whole; the rest of it lies in a file."""

MAX_KEPT_ANSWER_BYTES = 256 << 20
"""Of an answer that its client wants kept until it is whole; a larger one is sent as it comes from then on."""

PARSED_MAX_BYTES = 32 << 20
"""Of statements whose parse is kept, with their trees."""

SLOT_WAIT_S = 60.0
"""A statement waits so long for its turn."""

HEAD_S = 10.0
"""A request's line and headers arrive within this time from their first byte, or from the connection's begin."""

MAX_WAITING_CONNECTIONS = 256
"""Connections that no request holds; when there are more, the one that waits longest is closed."""

MAX_HEAD_BYTES = 1 << 20
"""Of a request's line and headers together: a GET carries its statement there."""

READ_BYTES = 16 << 10
"""Of one connection, before others have their turn: a body of chunks of one byte takes microseconds for each."""

MAX_HEADERS = 200
"""Of a request: a megabyte of empty ones would take seconds to read."""

MAX_WAITING_HEADS_BYTES = 32 << 20
"""Of all heads that are not whole; beyond it the longest of them loses its connection."""

READER_MAX_REQUESTS = 64
"""Of readers at once, those included whose body is on its way, whose turn is to come, whose answer is being read."""

BODY_S = 30.0
"""The whole of a reader's body, or the next piece of an administrator's, arrives within this time."""

ENGINE_START_S = 120.0
MAX_SESSIONS = 500
