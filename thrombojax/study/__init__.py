"""Study files: the TOML schema, patient tables, and the plan."""
