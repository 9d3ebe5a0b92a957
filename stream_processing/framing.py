"""Confluent framing in Spark: framed Avro values to columns and back, with the writer's schema resolved per id."""

import re
from collections.abc import Collection, Mapping
from functools import reduce

from pyspark.sql import Column, DataFrame, Observation
from pyspark.sql import functions as F
from pyspark.sql.avro.functions import from_avro, to_avro

from schemas.avro import ContractError, Field, Record, parse_record
from schemas.framing import HEADER_BYTES, header
from schemas.manifest import Dataset

UNKNOWN_ID = "unknown schema id"
COUNTS = "messages"
FIXED_BYTES = {"double": 8, "boolean": 1}
VARINT_BYTES = {"int": 5, "long": 9, "timestamp-millis": 9}
"""Bytes at most; a tenth of a long comes only with numbers beyond 2^62, which no contract allows."""


def decode(
    messages: DataFrame,
    reader: Record,
    writers: Mapping[int, str],
    refused: Collection[int] = (),
    counted_as: str | Observation = COUNTS,
) -> DataFrame:
    """Kafka rows to rows with the reader's fields beside `partition`, `offset` and `timestamp` as `produced_at`.

    `writers` maps each known schema id to its writer's schema. A value that cannot be read (empty, no framing, a body
    that does not parse, an id in `refused`) or lies outside the contract's bounds gives no row. An id in neither
    makes the task fail with UNKNOWN_ID and the number: the caller asks the registry and starts again, so no message
    is skipped while its schema is still unknown.

    `counted_as` names an observation of what passed (`DataFrame.observe`, part of a query's progress): `read`, the
    messages, and `left_out`, those with a value that gave no row.
    """
    start = F.substring("value", 1, HEADER_BYTES)
    body = F.expr(f"substring(value, {HEADER_BYTES + 1})")
    known = F.lit(None)
    for schema_id, writer in sorted(writers.items()):
        record = from_avro(body, writer, {"avroSchema": reader.schema, "mode": "PERMISSIVE"})
        known = F.when(start == F.lit(header(schema_id)), record).otherwise(known)
    expected = [*writers, *refused]
    framed = (F.length("value") > HEADER_BYTES) & (F.substring("value", 1, 1) == F.lit(b"\0"))
    unknown = framed & ~start.isin([header(schema_id) for schema_id in expected])
    complaint = F.concat(F.lit(f"{UNKNOWN_ID} "), F.conv(F.hex(F.substring("value", 2, 4)), 16, 10))
    read = F.when(unknown, F.raise_error(complaint).cast(_row_type(reader))).otherwise(known)
    filled = (F.length("value") > 0).alias("filled")
    position = ("partition", "offset", F.col("timestamp").alias("produced_at"))
    body_length = (F.length("value") - HEADER_BYTES).alias("body_length")
    decoded = messages.select(*position, read.alias("record"), filled, start.alias("start"), body_length)
    # A body that does not parse becomes a row of nulls, so a field that is never null tells.
    required = next(field.name for field in reader.fields if not field.nullable)
    is_read = F.col("record")[required].isNotNull() & _is_whole(reader, writers)
    is_kept = F.coalesce(is_read & in_contract(reader, of="record."), F.lit(False))
    counts = F.count(F.lit(1)).alias("read"), F.count_if(F.col("filled") & ~is_kept).alias("left_out")
    # The observation is also a fence: Spark would push the filters below the decoding, and decode once for each field.
    decoded = decoded.observe(counted_as, *counts)
    readable = decoded.where(is_read)
    return readable.select("partition", "offset", "produced_at", "record.*").where(in_contract(reader))


def names_unknown_id(error: BaseException) -> bool:
    """Whether this is how `decode` fails of an id that it does not know.

    Told by the number: a failed query of any kind shows its plan, and the words stand there too.
    """
    return re.search(rf"{UNKNOWN_ID} \d", str(error)) is not None


def _is_whole(reader: Record, writers: Mapping[int, str]) -> Column:
    """True unless bytes follow the record: Spark's decoder does not look, and every other consumer refuses them.

    Told by the length that the values must have, where they tell it: a writer with strings, decimals or fields that
    the reader lacks is taken at its word.
    """
    whole = F.lit(True)
    known = {field.name for field in reader.fields}
    for schema_id, writer in writers.items():
        try:
            fields = parse_record(writer, f"schema {schema_id}").fields
        except ContractError:  # not of the contracts' part of Avro, so its length does not follow from values
            continue
        if all(field.type in FIXED_BYTES | VARINT_BYTES and field.name in known for field in fields):
            length = reduce(Column.__add__, (_encoded_bytes(field) for field in fields))
            whole = F.when(F.col("start") == F.lit(header(schema_id)), F.col("body_length") == length).otherwise(whole)
    return whole


def _encoded_bytes(field: Field) -> Column:
    """Bytes of a decoded field: seven bits a byte of a zigzag integer, and one for the branch of a nullable one."""
    value = F.col(f"record.{field.name}")
    if field.type in FIXED_BYTES:
        size = F.lit(FIXED_BYTES[field.type])
    else:
        number = F.unix_millis(value) if field.type == "timestamp-millis" else value.cast("long")
        zigzag = F.shiftleft(number, 1).bitwiseXOR(F.shiftright(number, 63))
        more = (
            ((zigzag < 0) | (zigzag >= F.lit(1 << (7 * count)))).cast("int")
            for count in range(1, VARINT_BYTES[field.type])
        )
        size = reduce(Column.__add__, more, F.lit(1))
    return F.lit(1) + F.when(value.isNull(), 0).otherwise(size) if field.nullable else size


def in_contract(record: Record, of: str = "") -> Column:
    """True where every field lies within the bounds that the contract states; NaN lies within none.

    `of` is what comes before the fields' names, where they are those of a struct.
    """
    kept = F.lit(True)
    for field in record.fields:
        column = F.col(f"{of}{field.name}")
        value = F.unix_millis(column) if field.type == "timestamp-millis" else column
        if field.minimum is not None:
            kept &= value.isNull() | (value >= field.minimum)
        if field.maximum is not None:
            kept &= value.isNull() | (value <= field.maximum)
    return kept


def spark_type(field: Field) -> str:
    """The field's type in Spark's DDL."""
    match field.type:
        case "decimal":
            return f"decimal({field.precision},{field.scale})"
        case "timestamp-millis":
            return "timestamp"
        case "long":
            return "bigint"
        case name:
            return name


def _row_type(record: Record) -> str:
    return f"struct<{', '.join(f'{field.name}: {spark_type(field)}' for field in record.fields)}>"


def message(dataset: Dataset, schema_id: int, columns: Mapping[str, Column]) -> Column:
    """A Kafka message as a struct of `topic`, `key`, `value`: `columns` by field name, encoded as the newest version.

    Raises KeyError where a field of the contract has no column.
    """
    record = dataset.latest
    typed = (columns[field.name].cast(spark_type(field)).alias(field.name) for field in record.fields)
    value = to_avro(F.struct(*typed), record.schema)
    return F.struct(
        F.lit(dataset.topic).alias("topic"),
        _key(dataset.key, columns).cast("binary").alias("key"),
        F.concat(F.lit(header(schema_id)), value).alias("value"),
    )


def _key(template: str, columns: Mapping[str, Column]) -> Column:
    """The manifest's key template, such as building_{building_id}, over columns."""
    prefix, _, rest = template.partition("{")
    name, _, suffix = rest.partition("}")
    return F.concat(F.lit(prefix), columns[name].cast("string"), F.lit(suffix))
