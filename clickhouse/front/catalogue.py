"""What the reader may use of this engine: lists made from its catalogue, committed, and reviewed as a change.

`python -m clickhouse.front.catalogue` writes `allowed/*.txt` from the engine that is installed. The front reads those
files and never the catalogue, so what a newer engine brings is refused until this was run and its change committed.
A test fails when the lists and the installed engine differ. Only reviewed names pass: the rules below say why a name
is left out.
"""

import json
import re
import tempfile
from collections.abc import Iterable
from pathlib import Path

FOLDER = Path(__file__).parent / "allowed"


def words(text: str) -> frozenset[str]:
    """The words of a text, as a set."""
    return frozenset(text.split())


# Functions that read nothing but their arguments: all of a category, but for the names below.
FUNCTION_CATEGORIES = (
    {"Aggregate Functions", "Type Conversion", "Dates and Times", "Arrays", "String", "Geo", "Hash", "String Search"}
    | {"JSON", "Mathematical", "URL", "Arithmetic", "Geo Polygon", "Map", "Comparison", "IP Address", "Tuple"}
    | {"Distance", "Bitmap", "Random Number", "NumericIndexedVector", "Encoding", "UUID", "Bit", "String Splitting"}
    | {"String Replacement", "Null", "Encryption", "Rounding", "Time Window", "Conditional", "Logical", "Financial"}
    | {"QBit"}
)
# Of the categories "Other", "Internal" and "Time Series" only these: the rest tells about the server, reads files,
# calls services, or keeps state.
FUNCTION_NAMES = words(
    """
    _CAST authenticatedUser bar blockNumber blockSerializedSize blockSize byteSize caseWithExpression
    colorOKLABToSRGB colorOKLCHToSRGB colorSRGBToOKLAB colorSRGBToOKLCH countDigits currentDatabase currentProfiles
    currentQueryID currentRoles currentSchemas currentUser defaultRoles defaultValueOfArgumentType
    defaultValueOfTypeName digits displayName dumpColumnStructure enabledRoles errorCodeToName finalizeAggregation
    flipCoordinates formatQuery formatQueryOrNull formatQuerySingleLine formatQuerySingleLineOrNull
    formatReadableDecimalSize formatReadableQuantity formatReadableSize formatReadableTimeDelta getSetting
    getSettingOrDefault getSizeOfEnumType getSubcolumn getTypeSerializationStreams globalVariable highlightQuery
    hostName identity ignore indexHint initialQueryID isConstant isDecimalOverflow
    lowCardinalityIndices lowCardinalityKeys materialize minSampleSizeContinuous minSampleSizeConversion neighbor
    normalizeQuery normalizeQueryKeepNames normalizedQueryHash normalizedQueryHashKeepNames parseISO8601Duration
    parseReadableSize parseReadableSizeOrNull parseReadableSizeOrZero parseTimeDelta partitionId queryID revision
    rowNumberInAllBlocks rowNumberInBlock runningAccumulate runningConcurrency runningDifference
    runningDifferenceStartingWithFirstValue seriesDecomposeSTL seriesOutliersDetectTukey seriesPeriodDetectFFT sleep
    sleepEachRow throwIf toColumnTypeName toTypeName tokenizeQuery transform uptime variantElement variantType version
    visibleWidth MACNumToString MACStringToNum
    """
)
# Whatever their category: they write to the log, show addresses in memory, or end the query on purpose in a way that
# only the engine's own tests want; `formatRow` and `groupFormat` take any output format by name, and the last three
# any aggregate function.
NEVER = frozenset(
    {"aggThrow", "flameGraph", "logTrace", "formatRow", "formatRowNoNewline", "groupFormat"}
    | {"arrayReduce", "arrayReduceInRanges", "initializeAggregation"}
)

SETTING_FAMILIES = re.compile(
    r"(output_format_(always|arrow|avro_(codec|rows|string|sync)|binary|bson|compression|csv|decimal|float|json"
    r"|markdown|msgpack|native|orc|parquet|pretty|sql_insert|trim|tsv|values|write)"
    r"|max_(rows|bytes)_(to|in|before)_|(read|result|sort|distinct|join|set|group_by|timeout)_overflow_mode$"
    r"|format_csv_|format_tsv_|bool_\w+_represent|use_(skip_indexes|partition|primary_key|query_condition_cache))"
)
SETTING_NAMES = words(
    """
    aggregate_functions_null_for_empty allow_experimental_analyzer allow_suspicious_types_in_group_by
    allow_suspicious_types_in_order_by async_insert wait_for_async_insert
    asterisk_include_alias_columns asterisk_include_materialized_columns
    allow_experimental_dynamic_type allow_experimental_json_type allow_experimental_variant_type cast_keep_nullable
    cast_string_to_dynamic_use_inference cast_string_to_variant_use_inference enable_dynamic_type
    input_format_native_decode_types_in_binary_format
    count_distinct_implementation date_time_input_format date_time_output_format
    date_time_overflow_behavior decimal_check_overflow do_not_merge_across_partitions_select_final
    empty_result_for_aggregation_by_empty_set enable_analyzer enable_global_with_statement enable_http_compression
    enable_json_type enable_named_columns_in_function_tuple enable_optimize_predicate_expression
    enable_positional_arguments enable_scalar_subquery_optimization enable_time_time64_type enable_variant_type
    enable_vertical_final exact_rows_before_limit extremes final force_index_by_date force_primary_key
    formatdatetime_f_prints_single_zero formatdatetime_parsedatetime_m_is_month_name
    function_range_max_elements_in_block function_sleep_max_microseconds_per_block group_by_two_level_threshold
    group_by_two_level_threshold_bytes group_by_use_nulls join_algorithm join_any_take_last_row
    join_default_strictness join_use_nulls limit lock_acquire_timeout max_block_size max_columns_to_read
    max_execution_speed max_execution_speed_bytes max_execution_time max_final_threads max_joined_block_size_rows
    max_memory_usage max_query_size max_read_buffer_size max_result_bytes max_result_rows
    max_streams_to_max_threads_ratio
    max_temporary_columns max_threads min_count_to_compile_expression min_execution_speed offset precise_float_parsing
    prefer_column_name_to_alias preferred_block_size_bytes priority regexp_max_matches_per_row
    select_sequential_consistency
    send_progress_in_http_headers session_timezone short_circuit_function_evaluation
    show_table_uuid_in_table_create_query_if_not_nil totals_mode transform_null_in union_default_mode
    except_default_mode intersect_default_mode use_client_time_zone wait_end_of_query
    http_write_exception_in_output_format network_compression_method network_zstd_compression_level
    optimize_aggregation_in_order optimize_move_to_prewhere optimize_read_in_order optimize_trivial_count_query
    optimize_use_projections query_plan_optimize_lazy_materialization
    cross_to_inner_join_rewrite compile_expressions compile_aggregate_expressions log_comment
    """
)  # log_comment: dbt and others set it in the URL; nothing of the front depends on it.
FORMATS = words(
    """
    Arrow ArrowStream Avro BSONEachRow CSV CSVWithNames CSVWithNamesAndTypes JSON JSONColumns JSONColumnsWithMetadata
    JSONCompact JSONCompactColumns JSONCompactEachRow JSONCompactEachRowWithNames JSONCompactEachRowWithNamesAndTypes
    JSONCompactEachRowWithProgress JSONCompactStrings JSONCompactStringsEachRow JSONCompactStringsEachRowWithNames
    JSONCompactStringsEachRowWithNamesAndTypes JSONEachRow JSONEachRowWithProgress JSONL JSONLines JSONObjectEachRow
    JSONStrings JSONStringsEachRow LineAsString Markdown MD MsgPack NDJSON Native Null ORC Parquet Pretty PrettyCompact
    PrettyCompactMonoBlock PrettyCompactNoEscapes PrettyJSONEachRow PrettyJSONLines PrettyMonoBlock PrettyNDJSON
    PrettyNoEscapes PrettySpace PrettySpaceNoEscapes Raw RawBLOB RawWithNames RawWithNamesAndTypes RowBinary
    RowBinaryWithNames RowBinaryWithNamesAndTypes SQLInsert TSKV TSV TSVRaw TSVRawWithNames TSVRawWithNamesAndTypes
    TSVWithNames TSVWithNamesAndTypes TabSeparated TabSeparatedRaw TabSeparatedRawWithNames
    TabSeparatedRawWithNamesAndTypes TabSeparatedWithNames TabSeparatedWithNamesAndTypes Values Vertical XML
    """
)


def functions(rows: Iterable[tuple[str, int, str, str]]) -> tuple[list[str], list[str]]:
    """Ordinary and aggregate functions for the reader, from rows of (name, is_aggregate, alias_to, category)."""
    rows = list(rows)
    category = {name: category for name, _, _, category in rows}
    ordinary: list[str] = []
    aggregate: list[str] = []
    for name, is_aggregate, alias_to, _ in rows:
        original = alias_to or name
        named = original in FUNCTION_NAMES or category.get(original, "") in FUNCTION_CATEGORIES
        if named and original not in NEVER and not original.startswith("__"):
            (aggregate if is_aggregate else ordinary).append(name)
    return sorted(ordinary), sorted(aggregate)


def settings(names: Iterable[str]) -> list[str]:
    """Settings that neither carry SQL, nor name files or services, nor change what the parser or the fence sees."""
    return sorted(name for name in names if name in SETTING_NAMES or SETTING_FAMILIES.match(name))


def lists(path: Path) -> dict[str, list[str]]:
    """File name → lines, from the engine that is installed; opens a folder of its own."""
    from clickhouse.front.engine import connect

    connection = connect(str(path))

    def rows(sql: str) -> list[list[str]]:
        lines = connection.query(sql, "JSONCompactEachRow").bytes().splitlines()
        return [json.loads(line) for line in lines]

    found = rows("SELECT name, is_aggregate, alias_to, categories FROM system.functions")
    ordinary, aggregate = functions((str(name), int(is_a), str(alias), str(kind)) for name, is_a, alias, kind in found)
    combinators = "FROM system.aggregate_function_combinators"
    answer = {
        "functions.txt": ordinary,
        "aggregates.txt": aggregate,
        "settings.txt": settings(str(name) for (name,) in rows("SELECT name FROM system.settings")),
        "formats.txt": sorted(str(name) for (name,) in rows("SELECT name FROM system.formats") if name in FORMATS),
        "combinators.txt": sorted(str(name) for (name,) in rows(f"SELECT name {combinators}")),
    }
    connection.close()
    return answer


def read(name: str) -> frozenset[str]:
    """The lines of a list, in small letters: the engine itself takes care of case."""
    return frozenset(line.lower() for line in (FOLDER / name).read_text(encoding="utf-8").split())


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        for name, lines in lists(Path(folder) / "engine").items():
            (FOLDER / name).write_text("\n".join(lines) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
