"The counting of tests/run.py: a failure, a crash and an empty part are never taken for success."
from pathlib import Path

import pytest
import run

A, B = run.ROOT / "nbs" / "a.ipynb", run.ROOT / "nbs" / "nn" / "b.ipynb"
DONE = f"Starting {A}\n- Completed {A}\nStarting {B}\n- Completed {B}\n"


def test_notebooks_that_completed_have_passed():
    assert run.count_notebooks([A, B], 0, DONE + "Success.\n") == (2, [], 0)

def test_notebook_that_raised_is_named():
    assert run.count_notebooks([A, B], 1, f"ValueError in {B}:\n=====\nno\n"
                               + DONE) == (1, ["nbs/nn/b.ipynb"], 0)

def test_lines_that_two_workers_print_at_once_are_told_apart():
    assert run.count_notebooks([A, B], 1, f"Starting {A}Starting {B}\n\n- Completed {A}InputError in "
                                          f"{B}:\n\n- Completed {B}\n").passed == 1

def test_notebook_lost_with_its_worker_has_failed():
    assert run.count_notebooks([A, B], 1,
                               f"Starting {A}\n- Completed {A}\nStarting {B}\n") == (1, ["nbs/nn/b.ipynb "
                                                                                         "(never completed)"],
                                                                                     0)

def test_exit_code_without_a_culprit_is_a_failure():
    assert run.count_notebooks([A, B], 3, DONE).failures == ["nbdev_test ended with exit code 3"]
    assert run.count_cases(Path("nowhere.xml"), 4).failures == ["pytest ended with exit code 4 and no report"]

def test_cases_are_counted_from_the_report(tmp_path):
    report = tmp_path / "report.xml"
    report.write_text('<testsuites><testsuite><testcase classname="t" name="a"/><testcase classname="t" '
                      'name="b"><failure/></testcase>'
                      '<testcase classname="t" name="c"><skipped/></testcase><testcase classname="t" '
                      'name="d"><error/></testcase>'
                      '</testsuite></testsuites>')
    assert run.count_cases(report, 1) == (1, ["t::b", "t::d"], 1)

def test_part_that_crashes_or_finds_nothing_has_failed():
    def crash(): "A part."; raise OSError("no such tool")
    def empty(): "A part."; return run.Tally(0, [])
    assert run.attempt(crash).failures == ["crash crashed: OSError: no such tool"]
    assert run.attempt(empty).failures == ["empty found nothing to test"]

@pytest.mark.parametrize("spoil", [lambda f: f.write_text("x = 2"), lambda f: f.unlink(),
                                   lambda f: f.with_name("left_over.py").touch()])
def test_export_sees_edited_missing_and_left_over_modules(tmp_path, spoil):
    for tree in ("ours", "fresh"):
        (tmp_path / tree / "nn").mkdir(parents=True)
        (tmp_path / tree / "nn" / "zoo.py").write_text("x = 1")
    assert run.differences(tmp_path / "ours", tmp_path / "fresh") == []
    spoil(tmp_path / "ours" / "nn" / "zoo.py")
    assert len(run.differences(tmp_path / "ours", tmp_path / "fresh")) == 1
