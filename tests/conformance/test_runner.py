"""The runner of the conformance suite: what a test does to its process is a result, and costs no other test."""

import sys
import textwrap
import time
from pathlib import Path

import pytest

from tests.conformance import exclusions, runner, suite
from tests.conformance.runner import Result

TESTS = """
    import asyncio, ctypes, os, time, unittest

    class Tests(unittest.TestCase):
        def test_passes(self):
            loop = asyncio.new_event_loop()
            loop.run_until_complete(asyncio.sleep(0))
            loop.close()

        def test_makes_no_loop(self):
            pass

        def test_fails(self):
            print("said before it failed")
            self.assertEqual(1, 2)

        def test_fails_in_a_subtest(self):
            with self.subTest():
                self.fail("inside")

        def test_skips(self):
            self.skipTest("not today")

        @unittest.expectedFailure
        def test_passes_unexpectedly(self):
            pass

        def test_exits(self):
            raise SystemExit(3)

        def test_hangs(self):
            time.sleep(1000)

        def test_hangs_with_the_gil(self):
            ctypes.PyDLL(None).pause()

        def test_hangs_in_a_child(self):
            if os.fork():
                os.wait()
            time.sleep(1000)

        def test_crashes(self):
            ctypes.string_at(0)
"""
EXPECTED = {
    "test_passes": ("passed", ""),
    "test_makes_no_loop": ("passed", ""),
    "test_fails": ("failed", "said before it failed"),
    "test_fails_in_a_subtest": ("failed", "inside"),
    "test_skips": ("skipped", "not today"),
    "test_passes_unexpectedly": ("failed", "unexpected success"),
    "test_exits": ("failed", "SystemExit: 3"),
    "test_hangs": ("hung", "in test_hangs"),
    "test_hangs_with_the_gil": ("hung", "in test_hangs_with_the_gil"),
    "test_hangs_in_a_child": ("hung", "in test_hangs_in_a_child"),
    "test_crashes": ("crashed", "Segmentation fault"),
}


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    directory = tmp_path / "strange_tests"
    directory.mkdir()
    (directory / "__init__.py").touch()
    (directory / "test_all.py").write_text(textwrap.dedent(TESTS))
    monkeypatch.syspath_prepend(tmp_path)
    return "strange_tests"


def test_every_end_of_a_test_is_told_apart(package: str) -> None:
    names = runner.list_tests("test_all", package)
    assert {name.rpartition(".")[2] for name in names} == EXPECTED.keys()
    results = runner.run_tests("asyncio", [(name, 1.5) for name in names], package=package)
    for result in results:
        outcome, text = EXPECTED[result.name.rpartition(".")[2]]
        assert result.outcome == outcome and text in result.text, result
        assert result.bad == (outcome not in ("passed", "skipped"))
        assert result.made == (result.name == "test_all.Tests.test_passes")
    assert sorted(result.name for result in results) == sorted(names)


def test_a_run_stops_early_when_told_to(package: str) -> None:
    names = ["test_all.Tests.test_passes", "test_all.Tests.test_fails", "test_all.Tests.test_skips"]
    results = runner.run_tests(
        "asyncio", [(name, 10) for name in names], package=package, go_on=lambda result: not result.bad
    )
    assert [result.outcome for result in results] == ["passed", "failed"]


def test_what_a_hanging_test_started_ends_with_it(package: str) -> None:
    start = time.monotonic()
    runner.run_tests("asyncio", [("test_all.Tests.test_hangs_in_a_child", 1)], package=package)
    assert time.monotonic() - start < 10
    assert not [path for path in Path("/proc").glob("[0-9]*/cmdline") if package.encode() in read(path)]


def read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError:
        return b""


def test_a_record_survives_a_run_cut_short(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(runner, "RESULTS", tmp_path / "new")
    record = runner.Record("some:Loop")
    assert record.read() == {}
    first = Result("test_a.T.test_1", "passed")
    record.begin([first])
    record.add(Result("test_a.T.test_2", "failed", "why", 1, 0.5))
    with record.path.open("a") as file:
        file.write('{"name": "test_a.T.te')
    found = runner.Record("some:Loop").read()
    assert list(found) == ["test_a.T.test_1", "test_a.T.test_2"] and found["test_a.T.test_1"] == first


@pytest.mark.parametrize(
    ("versions", "applies"),
    [("*", "11 12 13 14"), ("3.11", "11"), ("3.12+", "12 13 14"), ("3.11-3.12", "11 12")],
)
def test_exclusions_name_versions(tmp_path: Path, versions: str, applies: str) -> None:
    path = tmp_path / "list.txt"
    path.write_text(f"# a comment\n\nmock | {versions} | test_a.T.test_* | because a | b\n")
    for minor in (11, 12, 13, 14):
        found = exclusions.load(path, (3, minor))
        assert len(found) == (str(minor) in applies.split())
        assert not found or (found[0].reason, found[0].line, found[0].module) == ("because a | b", 3, "test_a")


@pytest.mark.parametrize(
    "line",
    [
        "mock | * | test_a.T.test_b",
        "mock | * | test_a.T.test_b |",
        "whim | * | test_a.T.test_b | no reason",
        "mock | * | test_*.T.test_b | too much",
        "mock | 3.x | test_a.T.test_b | which version",
    ],
)
def test_a_line_that_is_no_exclusion_is_refused(tmp_path: Path, line: str) -> None:
    path = tmp_path / "list.txt"
    path.write_text(line + "\n")
    with pytest.raises(ValueError, match=r"list\.txt:1|range of versions"):
        exclusions.load(path)


def test_stale_exclusions_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    name = "test_protocols.ProtocolsAbsTests.test_protocol"
    rules = [
        exclusions.Exclusion("mock", "*", "test_protocols.*.test_protocol", "passes", 1),
        exclusions.Exclusion("mock", "*", "test_protocols.*.test_gone", "is not there", 2),
        exclusions.Exclusion("mock", "*", "test_other.*", "another module's", 3),
    ]
    if "test_protocols" not in available():
        pytest.skip("this interpreter has no asyncio tests")
    monkeypatch.setattr(exclusions, "load", lambda: rules)
    report = suite.run("asyncio", ["test_protocols"])
    assert not report.ok and not report.failures
    assert [each for each, _ in report.excluded] == [name]
    assert report.stale == [
        f"exclusions.txt:1: {name} now passed",
        "exclusions.txt:2: no test is called test_protocols.*.test_gone",
    ]


def available() -> list[str]:
    try:
        return suite.modules()
    except suite.NoSuite:
        return []


def test_an_interpreter_without_its_tests_is_told_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "test", None)
    with pytest.raises(suite.NoSuite, match="testsuite"):
        suite.modules()
