"""What is where in the fleet, read from Redis: backlogs, workers, messages, health. The faces show it."""
