"""What is done with tasks; routes and pages call it."""
