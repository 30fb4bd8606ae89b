FIELDS: dict[str, dict[str, str]]
