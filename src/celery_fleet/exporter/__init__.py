"""The exporter: the fleet's figures for Prometheus, read from Redis alone at each scrape."""
