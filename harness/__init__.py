"""The test harness: hosts, control, generators, faults, history, runs and reports."""
