"""One module per dashboard, found by its name: `build()` builds it, `<module>.json` beside it is what Grafana loads.

Render all of them anew with `smartmeter dashboards render`.
"""
