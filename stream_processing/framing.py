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
VARINT_BYTES = {"int": 5, "long": 10, "timestamp-millis": 10}
"""Bytes at most."""


def decode(
    messages: DataFrame,
    reader: Record,
    writers: Mapping[int, str],
    refused: Collection[int] = (),
    counted_as: str | Observation = COUNTS,
) -> DataFrame:
    """Kafka's rows to rows of the reader's fields, `partition`, `offset`, and the message's time as `produced_at`.

    `writers` maps each known schema id to its writer's schema. A message gives no row where its value is unreadable
    (empty, no framing, a body that does not parse, an id in `refused`) or outside the contract's bounds. An id in
    neither makes the task fail with UNKNOWN_ID and the number. The caller then asks the registry and starts again, so
    no message is skipped while its schema is still unknown.

    `counted_as` names an observation (`DataFrame.observe`, part of a query's progress) of `read`, all messages, and
    `unreadable`, those that have a value and gave no row.
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
    unknown_id = F.concat(F.lit(f"{UNKNOWN_ID} "), F.conv(F.hex(F.substring("value", 2, 4)), 16, 10))
    read = F.when(unknown, F.raise_error(unknown_id).cast(_row_type(reader))).otherwise(known)
    filled = (F.length("value") > 0).alias("filled")
    position = ("partition", "offset", F.col("timestamp").alias("produced_at"))
    body_length = (F.length("value") - HEADER_BYTES).alias("body_length")
    decoded = messages.select(*position, read.alias("record"), filled, start.alias("start"), body_length)
    # A body that does not parse becomes a row of nulls: then a field that is never null is null.
    required = next(field.name for field in reader.fields if not field.nullable)
    is_read = F.col("record")[required].isNotNull() & _is_whole(reader, writers)
    is_kept = F.coalesce(is_read & in_contract(reader, of="record."), F.lit(False))
    counts = F.count(F.lit(1)).alias("read"), F.count_if(F.col("filled") & ~is_kept).alias("unreadable")
    # Spark pushes no filter below an observation. Without it Spark would decode once for each field in a filter.
    decoded = decoded.observe(counted_as, *counts)
    readable = decoded.where(is_read)
    return readable.select("partition", "offset", "produced_at", "record.*").where(in_contract(reader))


def names_unknown_id(error: BaseException) -> bool:
    """Whether `decode` failed because it does not know a schema id.

    The number after UNKNOWN_ID decides: every failed query shows its plan, in which UNKNOWN_ID itself stands, too.
    """
    return re.search(rf"{UNKNOWN_ID} \d", str(error)) is not None


def _is_whole(reader: Record, writers: Mapping[int, str]) -> Column:
    """True unless bytes follow the record: Spark's decoder ignores those, and every other consumer refuses them.

    The body must have the length that its values take when encoded. For a writer with strings, decimals or fields that
    the reader lacks that length is not known, and any is accepted.
    """
    whole = F.lit(True)
    known = {field.name for field in reader.fields}
    for schema_id, writer in writers.items():
        try:
            fields = parse_record(writer, f"schema {schema_id}").fields
        except ContractError:  # it uses more of Avro than contracts may, so its length does not follow from values
            continue
        if all(field.type in FIXED_BYTES | VARINT_BYTES and field.name in known for field in fields):
            length = reduce(Column.__add__, (_encoded_bytes(field) for field in fields))
            whole = F.when(F.col("start") == F.lit(header(schema_id)), F.col("body_length") == length).otherwise(whole)
    return whole


def _encoded_bytes(field: Field) -> Column:
    """Bytes of an encoded field: one for each seven bits of a zigzag integer, and one for a nullable field's branch."""
    value = F.col(f"record.{field.name}")
    if field.type in FIXED_BYTES:
        size = F.lit(FIXED_BYTES[field.type])
    else:
        number = F.unix_millis(value) if field.type == "timestamp-millis" else value.cast("long")
        zigzag = F.shiftleft(number, 1).bitwiseXOR(F.shiftright(number, 63))
        # Beyond 63 bits a zigzag integer is negative here, and takes every byte.
        steps = (1 << 7 * count for count in range(1, VARINT_BYTES[field.type]))
        more = (((zigzag < 0) | (zigzag >= step) if step < 1 << 63 else zigzag < 0).cast("int") for step in steps)
        size = reduce(Column.__add__, more, F.lit(1))
    return F.lit(1) + F.when(value.isNull(), 0).otherwise(size) if field.nullable else size


def in_contract(record: Record, of: str = "") -> Column:
    """True where every field lies within the bounds that the contract states; NaN lies within none.

    `of` is the prefix of the fields' names where they are in a struct, such as "record.".
    """
    in_bounds = F.lit(True)
    for field in record.fields:
        column = F.col(f"{of}{field.name}")
        value = F.unix_millis(column) if field.type == "timestamp-millis" else column
        if field.minimum is not None:
            in_bounds &= value.isNull() | (value >= field.minimum)
        if field.maximum is not None:
            in_bounds &= value.isNull() | (value <= field.maximum)
    return in_bounds


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
