"""The part of the benchmarks that knows no topic:

the shape of a scenario, the runner, the tables, the facts of the machine.
"""
