"""Spark Structured Streaming: the raw topic is read once, and one topic per aggregate is written."""
