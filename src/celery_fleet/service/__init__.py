"""What a worker or Beat process gets to be a good service: readiness, watchdog, logs, memory."""
