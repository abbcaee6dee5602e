"""Grade a folder of submissions: read them, grade them in parallel, and write tables and pages."""
