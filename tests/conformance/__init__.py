"""CPython's own asyncio suite, run on a loop of choice.

`python -m tests.conformance --help` is the way in; test_conformance.py runs it under pytest. The tests are those of the
running interpreter (`test.test_asyncio`); none is copied. Files: swap.py puts a loop in the place of the standard
one, worker.py runs tests in a process of their own, runner.py feeds workers and outlives them, exclusions.txt says
what does not apply to a loop that is not asyncio's own, and why.
"""
