"""The dashboards without Grafana: the same JSON and panel SQL, drawn by plotly in one page."""
