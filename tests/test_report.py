"""Tables, pages and the last mile, made of results that no kernel has to run for."""

import csv
import html
import io
import json
import re
import zipfile
from html.parser import HTMLParser

import msgspec
import nbformat
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from typer.testing import CliRunner

from course_utils.cli import app
from course_utils.coursework.grade.journal import FeedbackWritten, Graded, Journal, Left, Round
from course_utils.coursework.grade.submissions import digest_of, file_name, find_places
from course_utils.coursework.grade.types import (
    AnswerKey,
    CheckMark,
    ExpectedCheck,
    ExpectedExercise,
    Mark,
    Reason,
    Result,
)
from course_utils.coursework.report.explanation import explanation
from course_utils.coursework.report.exports import fill_in_export, fill_in_marks
from course_utils.coursework.report.feedback import REASONS, feedback_on
from course_utils.coursework.report.pages import class_page, student_page, worth_a_look
from course_utils.coursework.report.results import ReportError, of_notebook, read_results
from course_utils.coursework.report.tables import canvas_csv, exercises_csv, grades_csv, gradescope_json
from course_utils.coursework.report.text import number, printable
from course_utils.coursework.report.uploads import entries_of, pack_feedback, pack_like
from course_utils.coursework.report.write import write_report
from course_utils.coursework.run.limits import Limits
from course_utils.coursework.run.records import Values
from course_utils.coursework.source.notebooks import notebook_bytes, read_notebook, student_copy
from course_utils.errors import CourseError
from course_utils.paths import NOTEBOOKS_DIR

NOTEBOOK = "02_simple_monte_carlo.ipynb"
HINT = "Does the answer hold for other shapes?"
VISIBLE = "Expected 0.25 at position 1, found -0.25. The sign is turned around."
LEAK = "LEAK-3.14159"
VALUES = Values((2,), (0.5, -0.25))


def mark(reason=Reason.RIGHT, points=None, **changed):
    """A mark for an exercise of two checks, worth 2 points."""
    points = {Reason.RIGHT: 2.0}.get(reason, 0.0) if points is None else points
    checks = (
        CheckMark("the mean", True, points >= 1, "" if points >= 1 else VISIBLE, VALUES),
        CheckMark("the mean of other shapes", False, points == 2, "" if points == 2 else HINT, VALUES),
    )
    plain = Mark("ex-mean", "Exercise 2.1 · The mean", points, 2.0, reason, checks=checks)
    return msgspec.structs.replace(plain, **changed)


def result(student="ada", *marks, notebook=NOTEBOOK, digest="d1", **changed):
    return Result(student, notebook, marks or (mark(),), digest, **changed)


def without_marks(reason, student="ada", **changed):
    return result(student, mark(reason, checks=()), digest="", **changed)


ODD_NAMES = ["Zoë O’Brien-Łukasiewicz", "=1+1", "<script>alert(1)</script>", "Jos\udce9", "Jos\udce8", "x" * 120]


def made_up_class():
    """Twelve students: every reason, odd names, notes, stamps, and one that a human has to look at."""
    students = [
        *ODD_NAMES,
        "علی‌رضا",
        "evil\x1b[31m\u202eeman",
        "lovelaceada_4711",
        "Rita Roe_123",
        "ada",
        "李雷",
    ]
    title = "Exercise 2.{} · {}"
    names = [
        "An estimate and its error bar",
        "A log-mean-exp that neither overflows nor underflows",
        "The log predictive density",
    ]
    made = []
    for place, (student, reason) in enumerate(zip(students, [*Reason, Reason.RIGHT, Reason.WRONG], strict=True)):
        marks = []
        for k, name in enumerate(names):
            own = reason if k != 1 or reason in (Reason.MISSING, Reason.UNREADABLE) else Reason.RIGHT
            points = 1.0 if own == Reason.WRONG and k == 2 else None
            checks = (
                () if own in (Reason.MISSING, Reason.UNREADABLE, Reason.NOT_ATTEMPTED) else mark(own, points).checks
            )
            marks.append(
                mark(
                    own,
                    points,
                    exercise=f"ex-{k}",
                    title=title.format(k + 1, name),
                    checks=checks,
                    said=(f"NameError: name {LEAK!r} is not defined",) if own == Reason.ERROR else (),
                    note="a cell of the student’s failed in front of it and was left out" if k == place % 4 else "",
                )
            )
        note = "2 files have its name; work/02_simple_monte_carlo-2.ipynb counts." if place % 5 == 0 else ""
        made.append(
            result(
                student,
                *marks,
                digest="" if reason in (Reason.MISSING, Reason.UNREADABLE) else f"{place:064x}",
                note=note,
                canvas_id="4711" if student.endswith("4711") else "",
                stamps=("no cgroup: shared memory was counted by the watch",) if place % 6 == 0 else (),
            )
        )
    made.append(Result("mallory", NOTEBOOK, failure=f"no kernel after three tries: {LEAK}"))
    return tuple(made)


class Outline(HTMLParser):
    """The tags, the levels of headings and the text of a page; whatever is not closed in order is an error."""

    EMPTY = frozenset({"meta", "br"})

    def __init__(self, page):
        super().__init__()
        self.open, self.tags, self.attributes, self.headings, self.text = [], set(), set(), [], ""
        self.feed(page.decode())
        self.close()
        assert not self.open

    def handle_starttag(self, tag, attributes):
        self.tags.add(tag)
        self.attributes |= {name for name, _ in attributes}
        if re.fullmatch("h[1-6]", tag):
            self.headings.append(int(tag[1]))
        if tag not in self.EMPTY:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, text):
        self.text += text if "style" not in self.open else ""


def rows(table):
    assert table.startswith(b"\xef\xbb\xbf"), "Excel on Windows needs the mark"
    return list(csv.DictReader(io.StringIO(table.decode("utf-8-sig"), newline="")))


def test_the_same_results_give_the_same_files_in_any_order(tmp_path):
    made = made_up_class()
    first = [(path.name, path.read_bytes()) for path in write_report(tmp_path, made)]
    assert first == [(path.name, path.read_bytes()) for path in write_report(tmp_path, made[::-1])]


def test_files_of_students_who_have_left_go_away(tmp_path):
    write_report(tmp_path, (result("ada"), result("bob")))
    (tmp_path / "feedback" / "mine.txt").write_text("not of the course")
    write_report(tmp_path, (result("bob"),))
    left = {path.relative_to(tmp_path).as_posix() for path in tmp_path.rglob("*") if path.is_file()}
    tables = {"grades.csv", "exercises.csv", "canvas.csv", "class.html"}
    assert left == tables | {"feedback/bob.html", "gradescope/bob.json", "feedback/mine.txt"}


def test_students_with_names_that_look_alike_have_files_of_their_own():
    names = {file_name(student) for student in [*ODD_NAMES, "../etc/passwd", ".hidden", "ada lovelace", "ada_lovelace"]}
    assert len(names) == len(ODD_NAMES) + 4
    assert all(re.fullmatch(r"[A-Za-z0-9_-][A-Za-z0-9._-]*", name) for name in names)


@pytest.mark.parametrize("table", [grades_csv, exercises_csv, canvas_csv])
def test_a_formula_in_a_table_is_text(table):
    for name in ("=1+1", "+1", "-1", "@SUM(A1)", "\t=1+1", "\x1b[31m=1", " =1", "＝1", "\u202e=1"):
        (first, *_) = csv.reader(io.StringIO(table((result(name),)).decode("utf-8-sig").splitlines()[-1]))
        assert first[0].startswith("'"), name


def test_grades_have_a_reason_and_failed_ones_no_points():
    made = rows(grades_csv((result("ada", mark(Reason.WRONG, 1.0)), Result("bob", NOTEBOOK, failure="no kernel"))))
    assert [(row["points"], row["of"]) for row in made] == [("1", "2"), ("", "")]
    assert made[0]["reasons"] == "ex-mean: wrong" and "human" in made[1]["reasons"]
    assert "no kernel" not in str(made)


def test_stamps_are_in_the_table():
    (row,) = rows(grades_csv((result(stamps=("unsafe", "no cgroup")),)))
    assert row["stamp"] == "unsafe; no cgroup"


def test_exercises_count_checks():
    (row,) = rows(exercises_csv((result("ada", mark(Reason.WRONG, 1.0, note="a note")),)))
    assert (row["points"], row["checks passed"], row["checks"], row["note"]) == ("1", "1", "2", "a note")


def test_canvas_gets_its_numbers_or_else_logins():
    made = (result("lovelaceada_4711", canvas_id="4711"), result("bob"), result("bob", notebook="03_x.ipynb"))
    possible, bob, ada = rows(canvas_csv(made))
    assert possible["Student"].strip() == "Points Possible" and possible["02_simple_monte_carlo"] == "2"
    assert (ada["ID"], ada["SIS Login ID"], ada["02_simple_monte_carlo"], ada["03_x"]) == ("4711", "", "2", "")
    assert (bob["ID"], bob["SIS Login ID"], bob["03_x"]) == ("", "bob", "2")


def test_gradescope_gets_one_test_for_each_exercise():
    made = json.loads(gradescope_json((result("ada", mark(Reason.WRONG, 1.0)), Result("ada", "x", failure="broken"))))
    (test,) = made["tests"]
    assert (test["score"], test["max_score"]) == (1, 2) and HINT in test["output"] and made["output_format"] == "text"


@pytest.mark.parametrize(("value", "shown"), [(2.0, "2"), (1 / 3, "0.33"), (0.5, "0.5"), (0.0, "0"), (100.0, "100")])
def test_points_have_two_decimals_at_the_most(value, shown):
    assert number(value) == shown


# What may be shown to whom. Each text below would be read by a student, or acted upon, if its rule were broken.


def everything_for(*results):
    """All that a student gets to read, in whatever form."""
    student = results[0].student
    return student_page(student, results).decode() + gradescope_json(results).decode()


@pytest.mark.parametrize("reason", Reason)
def test_what_a_run_said_is_for_the_instructor_alone(reason):
    assert LEAK not in everything_for(result("ada", mark(reason, said=(f"ValueError: {LEAK}", LEAK))))


@pytest.mark.parametrize("reason", Reason)
def test_the_values_of_an_answer_are_not_shown(reason):
    """An answer may give back the inputs of a hidden check."""
    secret = Values((1,), (3.14159,))
    checks = tuple(msgspec.structs.replace(check, found=secret) for check in mark(reason).checks)
    assert "3.14" not in everything_for(result("ada", mark(reason, checks=checks)))


def test_one_name_of_an_error_gets_through_and_no_second():
    said = ("raised ValueError: KeyError TypeError", "IndexError")
    lines = feedback_on(mark(Reason.ERROR, said=said)).lines()
    assert "It was a ValueError." in lines
    assert not any(name in line for line in lines for name in ("KeyError", "TypeError", "IndexError"))


def test_an_error_of_the_students_own_has_no_name():
    lines = feedback_on(mark(Reason.ERROR, said=("SecretError: 3.14",))).lines()
    assert not any("Secret" in line or "return" in line for line in lines)


def test_errors_are_explained_as_far_as_possible():
    assert any("is a return missing?" in line for line in feedback_on(mark(Reason.ERROR)).lines())
    lines = feedback_on(mark(Reason.ERROR, said=("NameError: name 'x' is not defined",))).lines()
    assert "It was a NameError." in lines and any("cells that you added" in line for line in lines)
    assert "It was an OverflowError." in feedback_on(mark(Reason.ERROR, said=("OverflowError",))).lines()


def test_a_hint_is_for_those_who_fail_the_check():
    passed = CheckMark("the mean", False, True, HINT)
    assert HINT not in everything_for(result("ada", mark(checks=(passed,))))
    page = everything_for(result("ada", mark(Reason.WRONG, 1.0)))
    assert f"A check with other inputs: the mean of other shapes: failed. {HINT}" in page
    assert VISIBLE in everything_for(result("ada", mark(Reason.WRONG)))


def test_what_was_not_attempted_failed_no_check():
    page = everything_for(result("ada", mark(Reason.NOT_ATTEMPTED)))
    assert "Not attempted." in page and "failed" not in page and HINT not in page


def test_why_the_machinery_failed_is_for_the_instructor_alone():
    failed = result("ada", failure=LEAK)
    page = everything_for(failed)
    assert LEAK not in page and "not been graded yet" in page and "2 points" not in page
    assert LEAK.encode() in class_page((failed,))


def test_what_the_isolation_lacked_is_for_the_instructor_alone():
    made = result("ada", stamps=(LEAK,))
    assert LEAK not in everything_for(made) and "without a sandbox" in everything_for(made)
    assert LEAK.encode() in class_page((made,))


def test_of_other_students_nothing_is_on_a_students_page(tmp_path):
    write_report(tmp_path, (result("ada"), result("bob", note=LEAK), result("eve", canvas_id="4711")))
    page = (tmp_path / "feedback" / "ada.html").read_text()
    assert not any(text in page for text in ("bob", "eve", LEAK, "4711"))


def test_the_class_page_says_nothing_that_a_run_said():
    made = tuple(result(str(reason), mark(reason, said=(LEAK,))) for reason in Reason)
    assert LEAK.encode() not in class_page(made)


@pytest.mark.parametrize("reason", Reason)
def test_every_reason_has_its_sentence(reason):
    assert REASONS[reason] in html.unescape(everything_for(result("ada", mark(reason))))


def test_partial_points_are_explained():
    lines = feedback_on(mark(Reason.WRONG, 1.0)).lines()
    assert "1 of 2 checks passed; each is worth 1 point." in lines
    assert not any("each is worth" in line for line in feedback_on(mark()).lines())


# The page about the class.


def test_the_class_page_is_there_while_some_wait():
    outline = Outline(class_page((result("ada"), result("bob", failure="no kernel"))))
    assert "1 graded; on average 2 of 2 points." in outline.text and "1 for a human to look at" in outline.text
    alone = Outline(class_page((result("bob", failure="no kernel"),)))
    assert "0 graded." in alone.text and "bob" in alone.text


def test_the_class_page_counts_and_names_the_commonest_failure():
    wrong = [result(name, mark(Reason.WRONG)) for name in "abc"]
    text = Outline(class_page((*wrong, result("d"), result("e", mark(Reason.WRONG, 1.0))))).text
    assert "The sign is turned around. (3 of 4)" in text and "right 1, wrong 4" in text and "20%" in text
    assert "Expected" not in text, "the values differ from student to student"


def test_everybody_is_linked_from_the_class_page(tmp_path):
    write_report(tmp_path, made_up_class())
    linked = set(re.findall(r'href="(feedback/[^"]+)"', (tmp_path / "class.html").read_text()))
    assert linked == {f"feedback/{path.name}" for path in (tmp_path / "feedback").iterdir()}


def test_who_is_worth_a_look():
    made = (
        result("right"),
        result("wrong", mark(Reason.WRONG)),
        result("slow", mark(Reason.TIMEOUT)),
        result("noted", mark(note="a note")),
        result("found", note="2 files"),
        without_marks(Reason.UNREADABLE, "broken", note="no notebook"),
        without_marks(Reason.MISSING, "gone"),
        result("failed", failure="no kernel"),
    )
    assert worth_a_look(made) == ["broken", "failed", "found", "noted", "slow"]
    page = class_page(made).decode()
    assert "ex-mean: timeout" in page and "ex-mean: a note" in page


# Whatever students call themselves and whatever is noted, pages are pages.

ALLOWED = {
    *("html", "head", "meta", "title", "style", "body", "main", "section", "article", "header"),
    *(
        "h1",
        "h2",
        "h3",
        "p",
        "span",
        "ul",
        "li",
        "table",
        "thead",
        "tbody",
        "tr",
        "th",
        "td",
        "a",
        "bdi",
        "br",
        "svg",
        "rect",
    ),
}
anything = st.text(st.characters(exclude_categories=()), max_size=60) | st.sampled_from(
    ["<img src=x onerror=alert(1)>", "{{ 7 * 7 }}", "</style><script>", "]]>", "\x1b]0;title\x07", "&lt;", "\udce9"]
)


def assert_is_a_page(page):
    outline = Outline(page)
    assert outline.tags <= ALLOWED, "only the templates' own tags"
    assert not {name for name in outline.attributes if name.startswith("on") or name in ("style", "src")}
    assert outline.headings[0] == 1 and outline.headings.count(1) == 1
    assert all(later <= earlier + 1 for earlier, later in zip(outline.headings, outline.headings[1:]))
    assert printable(outline.text, lines=True) == outline.text
    assert b"default-src 'none'" in page and b"viewport" in page
    return outline


def test_all_pages_of_a_class_are_pages(tmp_path):
    write_report(tmp_path, made_up_class())
    pages = list(tmp_path.rglob("*.html"))
    assert len(pages) == 1 + 13
    for page in pages:
        assert_is_a_page(page.read_bytes())


@settings(derandomize=True, deadline=None, max_examples=80)
@given(anything, anything, anything, anything, st.sampled_from(Reason), st.floats(0, 2))
def test_no_text_is_markup(student, note, title, said, reason, points):
    one = result(student, mark(reason, points, note=note, title=title, said=(said,)), note=note, stamps=(note,))
    failed = result(student, notebook="03_x.ipynb", failure=said)
    outline = assert_is_a_page(student_page(student, (one, failed)))
    assert printable(title) in outline.text and printable(student) in outline.text
    outline = assert_is_a_page(class_page((one, failed)))
    assert printable(student) in outline.text
    for table in (grades_csv, exercises_csv, canvas_csv):
        (*_, row) = csv.reader(io.StringIO(table((one,)).decode("utf-8-sig"), newline=""))
        assert row[0].removeprefix("'") == printable(student).removeprefix("'")
    json.loads(gradescope_json((one, failed)))
    assert re.fullmatch(r"[A-Za-z0-9._-]*", file_name(student))


def test_a_template_in_a_name_is_text():
    assert "{{ 7 * 7 }}" in Outline(student_page("{{ 7 * 7 }}", (result("{{ 7 * 7 }}"),))).text


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("\x1b[31mred\x1b[0m", "red"),
        ("\x1b]0;title\x07rest", "rest"),
        ("\x9b2Jgone", "gone"),
        ("a\tb\nc", "a b c"),
        ("\u202egnp.exe", "gnp.exe"),
        ("Jos\udce9", "Jos\\xe9"),
        ("علی‌رضا", "علی‌رضا"),
        ("a\ud800b\x00", "ab"),
    ],
)
def test_text_is_made_printable(text, shown):
    assert printable(text) == shown


@settings(derandomize=True, deadline=None, max_examples=200)
@given(anything)
def test_printable_text_stays_as_it_is(text):
    once = printable(text)
    assert printable(once) == once and "\x1b" not in once
    once.encode()


# What an instructor is told about one mark.


def a_round(number=1, seed="s3cret"):
    visible = ExpectedCheck("the mean", True, Values((1,), (0.25,)), 1e-3, 1e-4)
    spread = Values((1,), (0.01,))
    # What is compared with is the truth, where there is one, and not what the reference gave.
    many = Values((14,), tuple(map(float, range(14))))
    hidden = ExpectedCheck("the mean of other shapes", False, many, 0.0, 0.0, Values((1,), (0.02,)), spread)
    third = ExpectedCheck("a third", False, many, 0.0, 0.0)
    key = AnswerKey(NOTEBOOK, "source", seed, (ExpectedExercise("ex-mean", "The mean", 2.0, (visible, hidden, third)),))
    return Round(number, seed, (NOTEBOOK,), Limits(), (), (key,))


def test_a_mark_is_explained_with_all_that_it_takes_to_repeat_it():
    graded = result("ada", mark(Reason.WRONG, 1.0, said=("ValueError: no",), note="a note"), stamps=("no cgroup",))
    entries = [a_round(1, "another"), Graded(1, result("bob")), a_round(2), Graded(2, graded)]
    text = explanation(entries, "ada", "ex-mean")
    assert f"ada, {NOTEBOOK}, ex-mean: 1 of 2 points, wrong" in text
    assert "round 2, seed s3cret" in text and "another" not in text and "d1" in text
    assert "visible check 'the mean': passed\n  expected [0.25] of shape (1,), within 0.0001 + 0.001" in text
    assert "hidden check 'the mean of other shapes': failed" in text and f"  {HINT}" in text
    assert "expected [0.02] of shape (1,), within 0 + four standard errors of [0.01]" in text
    assert "found    [0.5, -0.25] of shape (2,)" in text
    for part in (
        "What the run said:\nValueError: no",
        "note: a note",
        "stamp: no cgroup",
    ):
        assert part in text


def test_of_what_was_not_run_it_is_said_what_was_expected():
    entries = [a_round(), Graded(1, without_marks(Reason.MISSING))]
    text = explanation(entries, "ada", "ex-mean")
    assert "check 'the mean' expected [0.25]" in text and "there was nothing" in text
    assert "check 'a third' expected [0.0, 1.0" in text and "11.0, …] of shape (14,)" in text


def test_an_explanation_does_nothing_to_a_terminal():
    said = ("\x1b[31mred\x1b[0m\x1b]0;title\x07\r\nnext\u202e", "\x9b2J\x08")
    text = explanation([a_round(), Graded(1, result("ada", mark(Reason.ERROR, said=said)))], "ada", "ex-mean")
    assert "red \nnext\n" in text and all(c.isprintable() or c == "\n" for c in text)


@settings(derandomize=True, deadline=None, max_examples=100)
@given(anything, anything)
def test_no_text_of_a_run_gets_to_a_terminal(said, note):
    graded = result("ada", mark(Reason.ERROR, said=(said,), note=note))
    text = explanation([a_round(), Graded(1, graded)], "ada", "ex-mean")
    assert printable(text, lines=True) == text and "\x1b" not in text


@pytest.mark.parametrize(
    ("student", "exercise", "sentence"),
    [
        ("adda", "ex-mean", "no result of 'adda'; there are ada"),
        ("ada", "ex-men", "no mark of 'ada' for 'ex-men'; there are ex-mean"),
        ("bob", "ex-mean", "has no marks, since the machinery failed"),
    ],
)
def test_where_there_is_no_mark_it_is_said_which_there_are(student, exercise, sentence):
    entries = [a_round(), Graded(1, result("ada")), Graded(1, Result("bob", NOTEBOOK, failure="no kernel"))]
    with pytest.raises(ReportError, match=sentence):
        explanation(entries, student, exercise)


# Marks in gradebooks that Canvas and Moodle export.

CANVAS = (
    'Student,ID,SIS User ID,SIS Login ID,Section,Homework (90210),"Monte Carlo, simple (90211)",Current Score,Monte Carlo\n'
    ",,,,,,Manual Posting,,\n"
    "    Points Possible,,,,,10.00,2.00,(read only),5.00\n"
    '"Lovelace, Ada",4711,s001,ada@uni.edu,"Section 1, and 2",9.00,,90.00,\n'
    '"O\'Brien, Zoë",4712,s002,zoe,Section 1,EX,"1.00",80.00,1\n'
    '"Hopper, Grace",4713,s003,grace,Section 1,,1.50,,\n'
    '"Student, Test",99,,8f3e,Section 1,,,,\n'
)
MOODLE = (
    'Identifier,"Full name","Email address",Status,Grade,"Maximum Grade","Last modified (grade)","Feedback comments"\r\n'
    'Participant 123,"Rita Roe",rita@uni.edu,"Submitted for grading",,2.00,-,\r\n'
    'Participant 124,"李雷",lilei@uni.edu,"No submission","0.50",2.00,"Friday, 27 November 2026, 10:00 AM","one\r\ntwo ""quoted"""\r\n'
)
MOODLE_GRADEBOOK = (
    '\ufeff"First name"\tSurname\t"ID number"\t"Email address"\t"Assignment: Monte Carlo (Real)"\t"Course total (Real)"\n'
    "Ada\tLovelace\ts001\tada@uni.edu\t-\t3,5\n"
)


def earned(student, points, **changed):
    return result(student, mark(Reason.WRONG, points), **changed)


def test_a_column_of_a_canvas_export_is_filled_and_nothing_else_changes():
    results = (
        earned("lovelaceada_4711", 2.0, canvas_id="4711"),  # by id
        earned("zoe", 0.5),  # by login
        earned("Grace Hopper", 1.0),  # by name
        earned("mallory", 1.0),
    )
    filled = fill_in_marks(CANVAS.encode(), "Monte Carlo, simple", results)
    expected = (
        CANVAS.replace("9.00,,90.00", "9.00,2,90.00")
        .replace('EX,"1.00",80.00', 'EX,"0.5",80.00')
        .replace(",,1.50,,", ",,1,,")
    )
    assert filled.content == expected.encode()
    assert (filled.filled, filled.not_found, filled.without_mark) == (3, ("mallory",), ("Student, Test",))
    assert not filled.warnings


def test_a_grading_worksheet_of_moodle_is_filled():
    results = (earned("Rita Roe_123", 2.0), earned("lilei@uni.edu", 1.0))
    filled = fill_in_marks(MOODLE.encode(), "Grade", results)
    expected = MOODLE.replace('grading",,2.00', 'grading",2,2.00').replace('"0.50"', '"1"')
    assert filled.content == expected.encode() and filled.filled == 2 and not filled.not_found


def test_a_gradebook_of_moodle_is_filled_with_its_decimal_comma():
    filled = fill_in_marks(MOODLE_GRADEBOOK.encode(), "monte carlo", (earned("Ada Lovelace", 1.5),))
    assert filled.content == MOODLE_GRADEBOOK.replace("\t-\t", "\t1,5\t").encode()


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16-le", "utf-16-be", "cp1252"])
@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
@pytest.mark.parametrize("delimiter", [",", ";", "\t"])
def test_encoding_line_ends_and_delimiter_stay(encoding, end, delimiter):
    lines = [["Student", "ID", "Work"], ["José", "1", ""], ["Zoë", "2", "7"]]
    text = end.join(delimiter.join(line) for line in lines)
    mark_of_order = "\ufeff" if encoding.startswith("utf-16") else ""
    content = (mark_of_order + text).encode(encoding)
    filled = fill_in_marks(content, "Work", (earned("José", 2.0),))
    assert filled.content == (mark_of_order + text.replace(f"1{delimiter}", f"1{delimiter}2")).encode(encoding)


def canvas(*lines):
    return "\n".join(["Student,ID,SIS User ID,SIS Login ID,Section,Work", *lines, ""]).encode()


@pytest.mark.parametrize(
    ("lines", "student", "canvas_id", "row"),
    [
        # A number decides over a login, and a login over a name.
        (["a,1,,ada,s,", "b,2,,bob,s,"], "ada", "2", 1),
        (["ada,1,,bob,s,", "bob,2,,ada,s,"], "ada", "", 1),
        # The number of a student's folder may be that of the university, or Canvas's.
        (["a,1,77,x,s,", "b,2,78,y,s,"], "78", "", 1),
        (["a,1,77,x,s,", "b,2,78,y,s,"], "2", "", 1),
        # Names are compared without accents, case, order and spaces.
        (['"Łukasiewicz, José",1,,x,s,', "b,2,,y,s,"], "jose łukasiewicz", "", 0),
        (['"de la Cruz, Ana",1,,x,s,', "b,2,,y,s,"], "delacruzana_9", "", 0),
        # A login may be the first part of an address, but not of another address.
        (["a,1,,ada@a.edu,s,", "b,2,,y,s,"], "ada", "", 0),
        (["a,1,,ada@a.edu,s,", "b,2,,ada@b.edu,s,"], "ada@b.edu", "", 1),
        (["a,1,,ada@a.edu,s,", "b,2,,y,s,"], "ada@b.edu", "", None),
        # Whoever may be two is nobody.
        (["a,1,,ada@a.edu,s,", "b,2,,ada@b.edu,s,"], "ada", "", None),
        (['"Roe, Rita",1,,x,s,', '"Roe, Rita",2,,y,s,'], "Rita Roe", "", None),
        (["rita,1,,rita@a.edu,s,", "b,2,,rita@b.edu,s,"], "rita", "", None),
        # A namesake with another number is somebody else.
        (['"Lovelace, Ada",1,,x,s,', "b,2,,y,s,"], "lovelaceada_4711", "4711", None),
    ],
)
def test_who_is_who(lines, student, canvas_id, row):
    content = canvas(*lines)
    filled = fill_in_marks(content, "Work", (earned(student, 1.0, canvas_id=canvas_id),))
    if row is None:
        assert filled.content == content and filled.not_found == (student,)
        return
    lines[row] += "1"
    assert filled.content == canvas(*lines) and not filled.not_found


def test_two_students_never_share_a_row():
    content = canvas('"Roe, Rita",1,,rita,s,')
    filled = fill_in_marks(content, "Work", (earned("Rita Roe", 1.0), earned("Roe, Rita", 2.0)))
    assert filled.content == content and len(filled.not_found) == 2


def test_a_login_that_looks_like_a_participant_is_not_one():
    content = MOODLE.encode()
    assert fill_in_marks(content, "Grade", (earned("stud_123", 1.0),)).content == content


def test_what_an_instructor_decided_stays():
    content = canvas("a,1,,a,s,EX", "b,2,,b,s,N/A", "c,3,,c,s,", "d,4,,d,s,5")
    results = (*(earned(name, 1.0) for name in "abc"), Result("d", NOTEBOOK, failure="no kernel"))
    filled = fill_in_marks(content, "Work", results)
    assert filled.content == content.replace(b"c,3,,c,s,", b"c,3,,c,s,1")
    assert filled.left_alone == ("a: EX", "b: N/A", "d: for a human to look at")
    assert len(filled.sentences()) == 1


@pytest.mark.parametrize(
    ("column", "sentence"),
    [
        ("Homework 2", r"'Homework 2' is not in the gradebook; there are 'Homework \(90210\)', 'Monte Carlo, simple"),
        ("Current Score", "is computed, and read only"),
        ("SIS Login ID", "says who a student is"),
        ("Section", "says who a student is"),
    ],
)
def test_a_column_that_cannot_be_filled_is_a_sentence(column, sentence):
    with pytest.raises(ReportError, match=sentence):
        fill_in_marks(CANVAS.encode(), column, (result(),))


def test_an_ambiguous_column_is_a_sentence():
    content = b"Student,ID,Work (1),Work (2)\na,1,,\n"
    with pytest.raises(ReportError, match=r"Several columns are called 'Work'.*'Work \(1\)', 'Work \(2\)'"):
        fill_in_marks(content, "Work", (result("a"),))
    assert fill_in_marks(content, "Work (2)", (result("a"),)).content == b"Student,ID,Work (1),Work (2)\na,1,,2\n"


@pytest.mark.parametrize("content", [b"", b"\n\n", b"no table\nat all", b"\x00\x01", "\ufeff".encode()])
def test_what_is_no_gradebook_is_a_sentence(content):
    with pytest.raises(ReportError, match="gradebook is no table"):
        fill_in_marks(content, "Work", (result(),))


def test_a_short_row_is_a_sentence():
    with pytest.raises(ReportError, match="row of ada has 2 cells where the header has 3"):
        fill_in_marks(b"Student,ID,Work\nada,1\n", "Work", (result("ada"),))


def test_other_points_are_warned_of():
    (warning,) = fill_in_marks(CANVAS.encode(), "Homework", (result("zoe"),)).warnings
    assert "out of 10.00 points, the notebook out of 2" in warning


cells = st.text(st.sampled_from("ab,;\t|\" \n'éø0"), max_size=6)


@settings(derandomize=True, deadline=None, max_examples=200)
@given(
    st.lists(st.lists(cells, min_size=3, max_size=3), min_size=1, max_size=4),
    st.sampled_from([",", ";", "\t", "|"]),
    st.sampled_from(["\n", "\r\n"]),
    st.sampled_from([csv.QUOTE_MINIMAL, csv.QUOTE_ALL]),
)
def test_in_any_table_only_the_one_cell_changes(others, delimiter, end, quoting):
    table = [["Student", "ID", "x", "Work", "y"]]
    table += [[a, f"id{place}", b, "old", c] for place, (a, b, c) in enumerate(others)]
    buffer = io.StringIO()
    csv.writer(buffer, delimiter=delimiter, lineterminator=end, quoting=quoting).writerows(table)
    content = buffer.getvalue().encode()
    filled = fill_in_marks(content, "Work", (earned("id0", 1.25),))
    assert filled.filled == 1
    read = list(csv.reader(io.StringIO(filled.content.decode(), newline=""), delimiter=delimiter))
    table[1][3] = "1.25"
    assert read == table
    old, new = (b'"old"', b'"1.25"') if quoting == csv.QUOTE_ALL else (b"old", b"1.25")
    assert filled.content == content.replace(old, new, 1)


@settings(derandomize=True, deadline=None, max_examples=200)
@given(
    st.binary(max_size=200) | anything.map(lambda text: f"Student,Work\n{text},".encode("utf-8", "replace")), anything
)
def test_no_file_is_more_than_a_sentence(content, student):
    try:
        filled = fill_in_marks(content, "Work", (earned(student, 1.0),))
    except CourseError:
        return
    assert filled.filled or filled.content == content


def test_the_original_is_never_overwritten(tmp_path):
    export = tmp_path / "export.csv"
    export.write_bytes(CANVAS.encode())
    path, filled = fill_in_export(export, "Monte Carlo, simple", (result("zoe"),), None)
    assert path == tmp_path / "export.marks.csv" and path.read_bytes() == filled.content != export.read_bytes()
    (tmp_path / "link.csv").symlink_to(export)
    for same in (export, tmp_path / "link.csv", tmp_path / "." / "export.csv"):
        with pytest.raises(ReportError, match="would be overwritten"):
            fill_in_export(export, "Monte Carlo, simple", (result("zoe"),), same)
    assert export.read_bytes() == CANVAS.encode()
    with pytest.raises(ReportError, match="cannot be read: no such file"):
        fill_in_export(tmp_path / "none.csv", "Work", (result("zoe"),), None)


def test_a_notebook_goes_by_how_its_name_begins():
    results = (result("ada"), result("ada", notebook="03_x.ipynb"), result("ada", notebook="02_y.ipynb"))
    assert [each.notebook for each in of_notebook(results, "03")] == ["03_x.ipynb"]
    for name, problem in (("02", "Several"), ("04", "No")):
        with pytest.raises(ReportError, match=f"{problem} graded notebook.*02_simple"):
            of_notebook(results, name)


# Feedback to upload.


def page_of(student):
    return student_page(student, (result(student),))


def contents(packed):
    with zipfile.ZipFile(io.BytesIO(packed.content)) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


def moodle_takes(path):
    """The participant's number and the file's name that Moodle's importziplib.php reads from a path, or None."""
    parts = path.split("/")
    while parts:
        info = parts.pop(0).split("_", 4)
        if len(info) >= 4 and info[1].isdecimal() and info[2:4] == ["assignsubmission", "file"]:
            return int(info[1]), "/".join([*info[4:], *parts]).lstrip("/")
    return None


def canvas_takes(path):
    """The user's and the attachment's number that Canvas's infer_comment_context_from_filename reads from a path."""
    return tuple(int(part) for part in path.rpartition("/")[2].split("_") if part.isdecimal())[:2]


@pytest.mark.parametrize(
    "entries",
    [
        ["Rita Roe_123_assignsubmission_file/02.ipynb", "李雷_124_assignsubmission_file/a/02.ipynb"],
        ["Rita Roe_123_assignsubmission_file_/", "Rita Roe_123_assignsubmission_file_/02.ipynb", "李雷_124_assignsubmission_file_/"],
        ["Rita Roe_123_assignsubmission_file_02_simple.ipynb", "李雷_124_assignsubmission_file_02_simple.ipynb"],
        ["Rita Roe_123_assignsubmission_onlinetext/onlinetext.html", "Rita Roe_123_assignsubmission_file/x", "wrapped/李雷_124_assignsubmission_file/x"],
    ],
    ids=["folders", "older folders", "files alone", "online texts"],
)  # fmt: off
def test_moodle_knows_whose_each_page_is(entries):
    packed = pack_feedback(["Rita Roe_123", "李雷_124", "gone_9"], page_of, entries)
    files = contents(packed)
    assert {moodle_takes(path) for path in files} == {(123, "feedback.html"), (124, "feedback.html")}
    assert all(path.startswith(("Rita Roe_123_", "李雷_124_")) for path in files)
    assert {page_of("Rita Roe_123"), page_of("李雷_124")} == set(files.values())
    assert packed.students == 2 and packed.not_found == ("gone_9",)


def test_canvas_knows_whose_each_page_is(tmp_path):
    names = [
        "lovelaceada_4711_815_02_simple_monte_carlo.ipynb",
        "lovelaceada_4711_820_02_simple_monte_carlo-1.ipynb",
        "lovelaceada_4711_999_notes.pdf",
        "hoppergrace_LATE_12_816_02_simple_monte_carlo.ipynb",
        "roerita_13_817_work.zip",
        "anon_a1B2c_818_02_simple_monte_carlo.ipynb",
    ]
    for name in names:
        (tmp_path / name).write_bytes(b"")
    # The students' names are those by which they were graded.
    students = [place.student for place in find_places(tmp_path)]
    files = contents(pack_feedback(students, page_of, entries_of(tmp_path)))
    assert set(files) == {*names[1:2], *names[3:]}, "the last notebook of each, under the name it had"
    assert {canvas_takes(path) for path in files if "anon" not in path} == {(4711, 820), (12, 816), (13, 817)}


def test_a_page_in_canvas_is_what_its_name_says():
    students = ["a_1", "b_2", "c_3"]
    files = contents(pack_feedback(students, page_of, ["a_1_11_02.ipynb", "b_2_12_work.zip", "c_3_13_notes.html"]))
    notebook = nbformat.reads(files["a_1_11_02.ipynb"].decode(), as_version=4)
    nbformat.validate(notebook)
    (cell,) = notebook.cells
    assert cell.cell_type == "markdown" and "2 of 2 points" in cell.source and "\n\n" not in cell.source
    with zipfile.ZipFile(io.BytesIO(files["b_2_12_work.zip"])) as archive:
        assert archive.read("feedback.html") == page_of("b_2")
    assert files["c_3_13_notes.html"] == page_of("c_3")


def test_the_same_pages_give_the_same_archive():
    packed = [pack_feedback(["a_1"], page_of, ["a_1_11_02.ipynb"]).content for _ in range(2)]
    assert packed[0] == packed[1]
    with zipfile.ZipFile(io.BytesIO(packed[0])) as archive:
        assert {entry.date_time for entry in archive.infolist()} == {(1980, 1, 1, 0, 0, 0)}


@pytest.mark.parametrize("entries", [[], ["ada/02.ipynb"], ["__MACOSX/._a_1_2_x.ipynb"]])
def test_a_download_of_no_platform_is_a_sentence(entries):
    with pytest.raises(ReportError, match="no names as Canvas"):
        pack_feedback(["ada"], page_of, entries)


def test_feedback_is_packed_beside_the_download(tmp_path):
    download = tmp_path / "submissions.zip"
    with zipfile.ZipFile(download, "w") as archive:
        archive.writestr("a_1_11_02.ipynb", b"{}")
    before = download.read_bytes()
    results = (result("a_1"), result("a_1", notebook="03_x.ipynb"), result("b_2"))
    path, packed = pack_like(download, results, None)
    assert path == tmp_path / "submissions.feedback.zip" and packed.not_found == ("b_2",)
    assert b"03_x.ipynb" in contents(packed)["a_1_11_02.ipynb"]
    with pytest.raises(ReportError, match="would be overwritten"):
        pack_like(download, results, download)
    assert download.read_bytes() == before
    for broken in (tmp_path / "none.zip", tmp_path / "x.csv"):
        (tmp_path / "x.csv").write_text("no archive")
        with pytest.raises(ReportError, match="cannot be read"):
            pack_like(broken, results, None)


# The verbs.


@pytest.fixture
def grades(tmp_path):
    out = tmp_path / "grades"
    out.mkdir()
    journal = Journal(out)
    for entry in (a_round(), Graded(1, result("zoe")), Graded(1, earned("a_1", 1.0)), Graded(1, result("gone"))):
        journal.append(entry)
    journal.append(Left("gone"))
    return out


def course(*arguments):
    outcome = CliRunner().invoke(app, list(map(str, arguments)))
    if outcome.exception and not isinstance(outcome.exception, SystemExit):
        raise outcome.exception
    return outcome


def test_gradebook_writes_everything_and_ends_the_round(grades):
    outcome = course("gradebook", grades)
    assert {line.rpartition("/")[2] for line in outcome.stdout.splitlines()} >= {"class.html", "zoe.html", "a_1.json"}
    assert not list(grades.rglob("gone*"))
    assert Journal(grades).read()[-1] == FeedbackWritten(1)
    written = {path: path.read_bytes() for path in grades.rglob("*") if path.is_file()}
    course("gradebook", grades)
    assert written == {path: path.read_bytes() for path in grades.rglob("*") if path.is_file()}


def test_explain_shows_what_was_handed_in(grades, tmp_path):
    notebook = student_copy(read_notebook(NOTEBOOKS_DIR / NOTEBOOK))
    answer = next(cell for cell in notebook.cells if "ex-log-mean-exp-answer" in cell.source)
    answer.source += "\n# mine \x1b[31m"
    (tmp_path / "in" / "zoe").mkdir(parents=True)
    (tmp_path / "in" / "zoe" / NOTEBOOK).write_bytes(notebook_bytes(notebook))
    graded = result("zoe", mark(exercise="ex-log-mean-exp"), digest="another")
    Journal(grades).append(Graded(1, graded))
    shown = course("explain", grades, "zoe", "ex-log-mean-exp", "--submissions", tmp_path / "in").stdout
    assert f"zoe, {NOTEBOOK}, ex-log-mean-exp: 2 of 2 points" in shown and str(tmp_path / "in" / "zoe") in shown
    assert "not graded yet" in shown and "# the answer" in shown and "# mine" in shown and "\x1b" not in shown
    Journal(grades).append(
        Graded(1, result("zoe", mark(exercise="ex-log-mean-exp"), digest=digest_of(notebook_bytes(notebook))))
    )
    assert (
        "What was graded:"
        in course("explain", grades, "zoe", "ex-log-mean-exp", "--submissions", tmp_path / "in").stdout
    )


def test_half_a_line_of_a_killed_batch_spoils_nothing(grades):
    with open(Journal(grades).path, "ab") as file:
        file.write(b'{"entry":"res')
    course("gradebook", grades)
    assert Journal(grades).read()[-1] == FeedbackWritten(1)


def test_marks_lists_who_does_not_match(grades, tmp_path):
    export = tmp_path / "export.csv"
    export.write_text(CANVAS)
    outcome = course("marks", grades, "--notebook", "02", "--into", export, "--column", "Monte Carlo, simple")
    assert "Not in the gradebook, or more than once: a_1." in outcome.stderr
    assert "Lovelace, Ada; Hopper, Grace; Student, Test" in outcome.stderr
    assert f"1 mark is in {tmp_path / 'export.marks.csv'}" in outcome.stdout


def test_feedback_ends_the_round_too(grades, tmp_path):
    (tmp_path / "download").mkdir()
    (tmp_path / "download" / "a_1_11_02.ipynb").write_text("{}")
    outcome = course("feedback", grades, "--like", tmp_path / "download")
    assert "zoe" in outcome.stderr and (tmp_path / "download.feedback.zip").exists()
    assert Journal(grades).read()[-1] == FeedbackWritten(1)


def test_without_results_there_is_nothing_to_report(tmp_path):
    with pytest.raises(ReportError, match="grade something into this folder first"):
        read_results(tmp_path)
