"""Proof of law 6 on a running system: the tables hold what the log holds, and aggregates follow from the readings.

Reads Kafka and ClickHouse only, and shares no code with the stream. `positions` accounts for every offset, `values`
compares each aggregate with SQL over the readings.
"""
