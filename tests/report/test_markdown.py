"""What is text stays text, by the readers that people have: CommonMark's, GitHub's tables, and TensorBoard's own."""

import html
import re

import pytest
from markdown_it import MarkdownIt
from tensorboard.plugin_util import markdown_to_safe_html

import fitgate
from fitgate._markdown import markdown
from fitgate.gate import decision_as_dict
from fitgate.store._schema import SCHEMA
from fitgate.tensorboard._decision import decision_events

TEXTS = [
    "val_loss",
    "_val_loss_",
    "__init__",
    "a_ _b",
    "loss_*_x*",
    "**bold**",
    "`code` and ``",
    "a|b",
    "[x](y) ![z](w)",
    "<script>alert(1)</script>",
    "a < b <= c > d >= e",
    "x<y",
    "&lt; &amp; &#65; a & b",
    "<http://example.com>",
    "\\*already\\_escaped",
    "# no heading",
    "- no list",
    "3. no list",
    "> no quote",
    "cost $5 and $6",
    "ends in \\",
    "gemütlich_ß",
]


def _plain(page: str) -> str:
    return " ".join(html.unescape(re.sub(r"<[^>]*>", "", page)).split())


def _common(source: str) -> str:
    return str(MarkdownIt("commonmark").enable("table").render(source))


@pytest.mark.parametrize("render", [_common, markdown_to_safe_html], ids=["CommonMark", "TensorBoard"])
@pytest.mark.parametrize("text", TEXTS)
def test_a_text_is_shown_as_it_is(text: str, render: object) -> None:
    """As a paragraph and in a cell of a table, with no element of its own."""
    assert callable(render)
    paragraph = render(markdown(text))
    assert _plain(paragraph) == text
    assert set(re.findall(r"<(\w+)", paragraph)) <= {"p"}
    table = render(f"| head | other |\n|---|---|\n| {markdown(text)} | x |")
    assert _plain(table) == f"head other {text} x"
    assert len(re.findall(r"<td", table)) == 2


@pytest.mark.parametrize("text", ["val_loss <= 0.1", "train/acc@5 >= 0.9 (95 % confidence)", "a & b", "lr-SGD"])
def test_what_is_no_markup_is_left_alone(text: str) -> None:
    """A pipe or a file shows it as people wrote it."""
    assert markdown(text) == text


def test_names_are_text_in_tensorboards_verdict() -> None:
    """In the table of checks and among the reasons, as TensorBoard itself renders them."""
    name = "_val_<b>loss</b>_ a|b"
    threshold = fitgate.Threshold(name, "<=", 0.1)
    gate = decision_as_dict(fitgate.evaluate([threshold], {name: 0.5}), "r")
    summaries = [summary for _, summary in decision_events(gate, SCHEMA.empty_table())]
    (text,) = (v.tensor.string_val[0].decode() for summary in summaries for v in summary.value if v.tag == "gate/verdict")
    page = markdown_to_safe_html(text)
    assert _plain(page).count(str(threshold)) == 2
    assert "<b>" not in page
    assert "<em>" not in page
