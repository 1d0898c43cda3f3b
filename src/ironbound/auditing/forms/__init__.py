"""Other forms of what an audit says: JSON with its schema, Markdown, JUnit XML, SARIF, CSV. All are made from audit.json."""
