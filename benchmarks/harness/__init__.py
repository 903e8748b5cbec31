"""The part of the benchmarks that knows no topic: a scenario's shape, the runner, the tables, the machine's facts."""
