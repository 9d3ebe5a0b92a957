CREATE SETTINGS PROFILE OR REPLACE `smartmeter_reader_limits` SETTINGS
  readonly = 2 CONST,
  max_execution_time = 70 MIN 0.001 MAX 70,
  max_memory_usage = 2000000000 MIN 1 MAX 2000000000,
  max_rows_to_read = 20000000000 MIN 1 MAX 20000000000,
  max_result_rows = 10000000 MIN 1 MAX 10000000,
  max_concurrent_queries_for_user = 32 CONST,
  compatibility CONST,
  stream_like_engine_allow_direct_select CONST,
  dialect CONST,
  format_schema CONST,
  format_template_row CONST,
  format_template_resultset CONST,
  format_avro_schema_registry_url CONST,
  additional_table_filters CONST,
  additional_result_filter CONST;
CREATE ROLE IF NOT EXISTS `smartmeter_reader` SETTINGS PROFILE `smartmeter_reader_limits`;
GRANT SELECT, SHOW TABLES, SHOW COLUMNS ON `default`.* TO `smartmeter_reader`;
GRANT SELECT ON system.aggregate_function_combinators TO `smartmeter_reader`;
GRANT SELECT ON system.collations TO `smartmeter_reader`;
GRANT SELECT ON system.columns TO `smartmeter_reader`;
GRANT SELECT ON system.contributors TO `smartmeter_reader`;
GRANT SELECT ON system.current_roles TO `smartmeter_reader`;
GRANT SELECT ON system.data_skipping_indices TO `smartmeter_reader`;
GRANT SELECT ON system.data_type_families TO `smartmeter_reader`;
GRANT SELECT ON system.database_engines TO `smartmeter_reader`;
GRANT SELECT ON system.databases TO `smartmeter_reader`;
GRANT SELECT ON system.dictionaries TO `smartmeter_reader`;
GRANT SELECT ON system.enabled_roles TO `smartmeter_reader`;
GRANT SELECT ON system.formats TO `smartmeter_reader`;
GRANT SELECT ON system.functions TO `smartmeter_reader`;
GRANT SELECT ON system.keywords TO `smartmeter_reader`;
GRANT SELECT ON system.licenses TO `smartmeter_reader`;
GRANT SELECT ON system.merges TO `smartmeter_reader`;
GRANT SELECT ON system.numbers TO `smartmeter_reader`;
GRANT SELECT ON system.numbers_mt TO `smartmeter_reader`;
GRANT SELECT ON system.one TO `smartmeter_reader`;
GRANT SELECT ON system.parts TO `smartmeter_reader`;
GRANT SELECT ON system.parts_columns TO `smartmeter_reader`;
GRANT SELECT ON system.projection_parts TO `smartmeter_reader`;
GRANT SELECT ON system.projections TO `smartmeter_reader`;
GRANT SELECT ON system.settings TO `smartmeter_reader`;
GRANT SELECT ON system.table_engines TO `smartmeter_reader`;
GRANT SELECT ON system.table_functions TO `smartmeter_reader`;
GRANT SELECT ON system.tables TO `smartmeter_reader`;
GRANT SELECT ON system.time_zones TO `smartmeter_reader`;
GRANT SELECT ON system.zeros TO `smartmeter_reader`;
GRANT SELECT ON system.zeros_mt TO `smartmeter_reader`;
