from html.parser import HTMLParser

from astro_dist.report.page import Chapter, Listing, Note, Page, Picture, Table, render

VOID = {"meta", "img", "br", "link", "input", "hr"}


class Outline(HTMLParser):
    """Collects tags and text, and checks that every tag is closed."""

    def __init__(self, html):
        super().__init__()
        self.tags, self.open, self.text = [], [], ""
        self.feed(html)
        assert not self.open

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        self.text += " "
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if self.open and self.open[-1] not in {"style", "script"}:
            self.text += data


PAGE = Page(
    "a <b>bold</b> & name",
    "one sentence",
    [("Size", "1 x 2")],
    [
        Chapter("s", "Title", "lead", [
            Picture("data:image/webp;base64,AAAA", "wide caption", "what it shows", wide=True),
            Picture("data:image/webp;base64,BBBB", "half caption", "another"),
            Table(("name", "n"), [("<script>alert(1)</script>", "3")], "open table", numbers=(1,)),
            Table(("x",), [("y",)], "folded table", folded=True),
            Listing("a: 1\nb: <2>", "settings", folded=True),
            Listing("astro-dist verify", "a command"),
            Note("a remark"),
        ]),
    ],
)  # fmt: skip


def test_all_blocks_are_on_the_page_and_it_is_well_formed():
    page = Outline(render(PAGE))
    for text in (
        "wide caption",
        "open table",
        "folded table",
        "a: 1\nb: <2>",
        "astro-dist verify",
        "a remark",
    ):
        assert text in page.text
    assert [attrs["alt"] for tag, attrs in page.tags if tag == "img"] == ["what it shows", "another"]
    assert sum(tag == "details" for tag, _ in page.tags) == 2
    assert ("section", {"id": "s"}) in page.tags
    assert ("a", {"href": "#s"}) in page.tags


def test_text_is_escaped():
    html = render(PAGE)
    assert "<script" not in html
    assert "<b>" not in html
    assert "a <b>bold</b> & name" in Outline(html).text


def test_the_page_forbids_itself_the_network():
    policy = [
        attrs
        for tag, attrs in Outline(render(PAGE)).tags
        if attrs.get("http-equiv") == "Content-Security-Policy"
    ]
    assert policy[0]["content"].startswith("default-src 'none'")
