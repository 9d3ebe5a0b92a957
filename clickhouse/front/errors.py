"""Errors as ClickHouse's HTTP interface reports them: a code, a text, and the HTTP status that belongs to the code."""

import re

ABORTED = 236
AUTHENTICATION_FAILED = 516
BAD_ARGUMENTS = 36
NOT_ENOUGH_PRIVILEGES = 497
NOT_IMPLEMENTED = 48
QUERY_IS_PROHIBITED = 392
QUERY_IS_TOO_LARGE = 307
QUERY_WAS_CANCELLED = 394
QUERY_WITH_SAME_ID = 216
READONLY = 164
REQUIRED_PASSWORD = 194
SESSION_IS_LOCKED = 373
SESSION_NOT_FOUND = 372
SYNTAX_ERROR = 62
TIMEOUT_EXCEEDED = 159
TOO_DEEP = 306
TOO_MANY_QUERIES = 202
UNEXPECTED = 1002
UNKNOWN_TABLE = 60

_NAMES = {
    ABORTED: "ABORTED",
    AUTHENTICATION_FAILED: "AUTHENTICATION_FAILED",
    BAD_ARGUMENTS: "BAD_ARGUMENTS",
    NOT_ENOUGH_PRIVILEGES: "ACCESS_DENIED",
    NOT_IMPLEMENTED: "NOT_IMPLEMENTED",
    QUERY_IS_PROHIBITED: "QUERY_IS_PROHIBITED",
    QUERY_IS_TOO_LARGE: "QUERY_IS_TOO_LARGE",
    QUERY_WAS_CANCELLED: "QUERY_WAS_CANCELLED",
    QUERY_WITH_SAME_ID: "QUERY_WITH_SAME_ID_IS_ALREADY_RUNNING",
    READONLY: "READONLY",
    REQUIRED_PASSWORD: "REQUIRED_PASSWORD",
    SESSION_IS_LOCKED: "SESSION_IS_LOCKED",
    SESSION_NOT_FOUND: "SESSION_NOT_FOUND",
    SYNTAX_ERROR: "SYNTAX_ERROR",
    TIMEOUT_EXCEEDED: "TIMEOUT_EXCEEDED",
    TOO_DEEP: "TOO_DEEP_RECURSION",
    TOO_MANY_QUERIES: "TOO_MANY_SIMULTANEOUS_QUERIES",
    UNEXPECTED: "UNKNOWN_EXCEPTION",
    UNKNOWN_TABLE: "UNKNOWN_TABLE",
}

# The groups of ClickHouse's exceptionCodeToHTTPStatus; a code that is in none of them is a 500.
_STATUS_CODES: dict[int, frozenset[int]] = {
    400: frozenset({6, 7, 26, 27, 33, 36, 38, 41, 43, 53, 62, 69, 70, 72, 117, 131, 306, 321, 456, 457, 467}),
    401: frozenset({REQUIRED_PASSWORD}),
    403: frozenset({164, 192, 193, 452, 497, 511, 516}),
    404: frozenset({16, 20, 45, 46, 47, 50, 56, 60, 63, 73, 78, 81, 113, 115, 183, 372}),
    408: frozenset({159}),
    413: frozenset({QUERY_IS_TOO_LARGE}),
    500: frozenset({SESSION_IS_LOCKED}),
    501: frozenset({NOT_IMPLEMENTED}),
    503: frozenset({ABORTED, TOO_MANY_QUERIES, 209, 210, 439}),
}
_CODE = re.compile(r"\s*Code: (\d+)\. DB::\w*Exception: ")


class QueryError(Exception):
    """A query that failed: `code` is ClickHouse's error code, `str()` the sentence a client shows."""

    def __init__(self, code: int, message: str) -> None:
        super().__init__(message)
        self.code = code

    @property
    def http_status(self) -> int:
        return next((status for status, codes in _STATUS_CODES.items() if self.code in codes), 500)

    def text(self, version: str) -> str:
        """The body of the response, as ClickHouse words it, newline included."""
        name = _NAMES.get(self.code)
        suffix = f" ({name})" if name and not str(self).endswith(")") else ""
        return f"Code: {self.code}. DB::Exception: {self}{suffix} (version {version})\n"


def from_engine(text: str) -> QueryError:
    """The error behind the text of an engine exception; the innermost code counts when the engine nests them."""
    code = UNEXPECTED
    while match := _CODE.match(text):
        code, text = int(match[1]), text[match.end() :]
    if code == NOT_ENOUGH_PRIVILEGES and "the grant READ ON FILE" in text:
        # The engine in process takes a name that no table has for a file's. What reads files was refused before.
        code, text = UNKNOWN_TABLE, "the statement names a table that does not exist"
    return QueryError(code, text.strip() or "the engine gave no reason")
