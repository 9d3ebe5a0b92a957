"""An HTTP front for the in-process ClickHouse engine: ClickHouse's HTTP interface, two users, and a schema mirror.

Two processes. The front's: `app` joins `request`, `exchange`, `externals` and `compression` (HTTP), `access` and
`reader` (who may do what), `mirror` (schemas from the registry) and `supervisor`, its side of the engine's process. The
engine's: `worker` and `engine`, behind `confine`; `wire` is how the two talk. `catalogue` writes what the reader may
use, from the engine that is installed, to `allowed/`; `limits` holds every bound. `statement`, `formats`, `native` and
`errors` are pure.
"""
