"""Systems under test: how each is installed on hosts, started, stopped and asked."""
