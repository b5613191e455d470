"""What the fleet remembers beside its queues: dead letters, the index of tasks, the audit. Redis, JSON, capped."""
