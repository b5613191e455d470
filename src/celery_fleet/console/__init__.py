"""The console: the fleet's HTTP API and its dashboard."""
