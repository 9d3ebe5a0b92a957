"""An HTTP front for the in-process ClickHouse engine (chDB): ClickHouse's HTTP interface, users, and a schema mirror.

`request` reads HTTP, `statement` reads SQL through the engine's own parser, `access` says who may do what, `formats`
and `native` shape results, `errors` maps exceptions: all pure. `engine` owns the engine, `mirror` the registry, `app`
joins them.
"""
