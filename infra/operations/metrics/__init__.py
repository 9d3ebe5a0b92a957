"""The pipeline's own figures, gathered from every part: for `status`, for Prometheus, and for the log.

`figures` names them, `sources` asks the parts, `windows` sums them up, `exposition` and `run` publish them.
"""
