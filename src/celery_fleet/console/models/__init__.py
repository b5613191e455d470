"""What the console takes and answers, as pydantic models; JSON routes and pages use the same."""
