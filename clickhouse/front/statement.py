"""What a statement is: read from the engine's own print of it, or, for INSERT with data, where its data begins."""

import re
from dataclasses import dataclass

from clickhouse.front.errors import NOT_IMPLEMENTED, SYNTAX_ERROR, QueryError

_FORMAT = re.compile(r"^FORMAT (\w+)$", re.MULTILINE)
_FORMATQUERY_SCOPE = re.compile(r"\s*: In scope SELECT formatQuery\(.*", re.DOTALL)
_ABOUT_A_TABLE = re.compile(r"\A(DESCRIBE TABLE|SHOW CREATE (TABLE|VIEW)|EXISTS (TABLE|VIEW))\s+")
_BRACKET = re.compile(r"[(\[{)\]}]")
_KILL = re.compile(r"KILL QUERY WHERE query_id = '((?:[^'\\]|\\.)*)'(?: (?:SYNC|ASYNC))?")
_SYNC = re.compile(r"\s+SYNC$")
_TOKEN = re.compile(
    # What is opened and never closed takes the rest at once: each mark is looked at once, however many there are.
    r"""(?P<skip>\s+|--[^\n]*|\#[!\x20][^\n]*|/\*(?:[^*]|\*(?!/))*+(?:\*/)?)
    |(?P<quoted>'(?:[^'\\]|\\.|'')*+'?|`(?:[^`\\]|\\.)*+`?|"(?:[^"\\]|\\.)*+"?)
    |(?P<word>\w+)
    |(?P<mark>.)""",
    re.VERBOSE | re.DOTALL,
)
_AFTER_FORMAT = re.compile(r"[ \t\f\v]*(?:;[ \t]*)?(?:\r?\n)?")


@dataclass(frozen=True)
class Statement:
    """A statement in the engine's words.

    `verb` is its first keyword; `output_format` is None when the text names none.
    """

    normalised: str
    verb: str
    output_format: str | None

    @property
    def writes_a_file(self) -> bool:
        return "\nINTO OUTFILE " in self.normalised

    @property
    def returns_rows_of_select(self) -> bool:
        return self.verb in {"SELECT", "WITH"} and not self.writes_a_file

    @property
    def without_format(self) -> str:
        return _FORMAT.sub("", self.normalised)


@dataclass(frozen=True)
class InsertHead:
    """An INSERT whose data follows: `before` ends where FROM INFILE belongs, `after` holds SETTINGS up to FORMAT."""

    before: str
    after: str
    input_format: str
    data_offset: int

    def from_file(self, path: str) -> str:
        """The same INSERT, reading its data from a file: bytes that are not UTF-8 cannot be part of the SQL."""
        return f"{self.before} FROM INFILE '{path}' COMPRESSION 'none' {self.after} FORMAT {self.input_format}"


def parse_normalised(normalised: str) -> Statement:
    """Read what `formatQuery` printed.

    Each clause of the outer statement begins a line, and literals hold no line breaks.
    """
    text = normalised.strip()
    verb = text.split(None, 1)[0].upper().lstrip("(") if text else ""
    formats = _FORMAT.findall(text)
    return Statement(normalised=text, verb=verb or "SELECT", output_format=formats[-1] if formats else None)


def judged_text(statement: Statement) -> str:
    """The SELECT that reads what the statement is about, where the engine's parser gives no tree of the statement.

    From the engine's own print, in which what follows these words is a table expression.
    """
    return _ABOUT_A_TABLE.sub("SELECT * FROM ", statement.normalised, count=1)


def nesting(sql: str) -> int:
    """How deep brackets stand within brackets; an upper bound, as it counts those in literals too."""
    deepest = depth = 0
    for bracket in _BRACKET.findall(sql):
        depth = depth + 1 if bracket in "([{" else max(0, depth - 1)
        deepest = max(deepest, depth)
    return deepest


def killed_query_id(statement: Statement) -> str | None:
    """The id in `KILL QUERY WHERE query_id = '…'`; None for every other statement."""
    found = _KILL.fullmatch(statement.without_format.strip())
    return re.sub(r"\\(.)", r"\1", found[1]) if found else None


def typed_columns(types: str) -> str:
    """`_1 Int8, _2 String` from `Int8, String`: what ClickHouse makes of `<table>_types`."""
    columns, depth, begin = [], 0, 0
    for place, character in enumerate(types + ","):
        depth += {"(": 1, ")": -1}.get(character, 0)
        if character == "," and depth == 0:
            columns.append(types[begin:place].strip())
            begin = place + 1
    return ", ".join(f"_{number} {kind}" for number, kind in enumerate(columns, 1))


def without_formatquery_scope(message: str) -> str:
    """A parser's message without the mention of the query that asked for the parse."""
    return _FORMATQUERY_SCOPE.sub("", message)


def without_sync(statement: Statement) -> str | None:
    """DROP or DETACH … SYNC without SYNC, None for other statements.

    In process, the engine never ends such a statement.
    """
    if statement.verb in {"DROP", "DETACH", "TRUNCATE", "UNDROP"} and _SYNC.search(statement.normalised):
        return _SYNC.sub("", statement.normalised)
    return None


def is_insert(text: str) -> bool:
    """Whether the first word after comments is INSERT."""
    for token in _TOKEN.finditer(text):
        if token.lastgroup == "skip":
            continue
        return token[0].upper() == "INSERT"
    return False


def split_insert(head: bytes) -> InsertHead | None:
    """Find `INSERT … FORMAT name` at the start of a request; None if the statement brings no data of that kind.

    Only finds where data begins; what the statement may do is the engine's to decide. INSERT … SELECT, VALUES and
    FROM INFILE are plain statements. Offsets count bytes: Latin-1 maps each byte to one character. Raises error 62
    where what stands before the data is not UTF-8, and error 48 for rows that a SELECT reads with `input`.
    """
    text = head.decode("latin-1")
    if not is_insert(text):
        return None
    depth, settings_at, selects = 0, None, False
    previous = ""
    for token in _TOKEN.finditer(text):
        kind, value = token.lastgroup, token[0]
        if kind == "skip":
            continue
        if selects:
            if value == "(" and previous == "INPUT":
                reason = "INSERT … SELECT … FROM input() is not supported here: insert the rows into a table by FORMAT"
                raise QueryError(NOT_IMPLEMENTED, reason)  # the engine in process would drop them in silence
        elif kind == "mark":
            depth += {"(": 1, ")": -1}.get(value, 0)
        elif kind == "word" and depth == 0:
            word = value.upper()
            if previous == "FORMAT":
                return _insert_head(head, text, settings_at, token.start(), token.end())
            if word in {"SELECT", "WITH", "VALUES", "INFILE", "WATCH"} and previous not in {"INTO", "TABLE", "."}:
                if word not in {"SELECT", "WITH"}:
                    return None
                selects = True
            if word == "SETTINGS" and previous not in {"INTO", "TABLE", "."}:
                settings_at = token.start()
        previous = value.upper()
    return None


def _insert_head(head: bytes, text: str, settings_at: int | None, name_at: int, name_end: int) -> InsertHead:
    format_at = text.upper().rindex("FORMAT", 0, name_at)
    middle = settings_at if settings_at is not None else format_at
    after = _AFTER_FORMAT.match(text, name_end)
    try:
        before, settings = head[:middle].decode(), head[middle:format_at].decode()
    except UnicodeDecodeError as error:
        raise QueryError(SYNTAX_ERROR, f"the statement is not UTF-8: {error}") from error
    return InsertHead(
        before=before.rstrip(),
        after=settings.strip(),
        input_format=text[name_at:name_end],
        data_offset=after.end() if after else name_end,
    )
