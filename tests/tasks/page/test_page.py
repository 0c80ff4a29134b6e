from html.parser import HTMLParser

import pytest
from markupsafe import Markup

from tasks.metrics.metric import Metric
from tasks.metrics.table import metric
from tasks.page.page import (
    Card,
    CatalogRow,
    Chapter,
    Entry,
    Film,
    Listing,
    Page,
    Picture,
    Quarantined,
    Result,
    ShownTake,
    Sound,
    render_pages,
)
from tasks.page.scores import Cell, Row, Table

EVIL = "\"'><script>alert(1)</script>\x00\x1b{{ 7*7 }}"
SHOWN = "\"'><script>alert(1)</script>\\x00\\x1b{{ 7*7 }}"


class Tags(HTMLParser):
    """What a browser would make elements, and the text between them."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self.feed(html)

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data):
        self.text += data


def row(take: str, part: str, *, piece: str | None = None, duration_s: float = 60.0, title: str = "Air") -> CatalogRow:
    return CatalogRow(
        take=take,
        kind="score",
        piece=piece or take,
        part=part,
        composer="",
        title=title,
        duration_s=duration_s,
        n_notes=9,
    )


def picture(kind: str, *, words: str = "What it shows", caption: str = "") -> Picture:
    return Picture(src=f"media/a b/{kind}.png", words=words, kind=kind, caption=caption, width=880, height=290)


def card(title: str, *, words: str = "What it shows", n_sounds: int = 1) -> Card:
    sound = Sound(src="media/a b/50%.flac", words=words, name=words, figures=(("SI-SDR", words),))
    return Card(
        title=title,
        remark=words,
        stills=(picture("view", words=words),),
        family="net",
        duration_s=1.0,
        sounds=(sound,) * n_sounds,
        figures=(("NLL", "1.0 nats"),),
        pictures=(picture("spectrogram", words=words, caption=words),),
    )


def shown_take(*systems: Card, words: str = "T") -> ShownTake:
    reference = card("Reference", words=words)
    film = Film(src="media/a b/50%.mp4", still=picture("film", words=words))
    return ShownTake(
        take="t", title=words, about=(words,), duration_s=1.0, film=film, reference=reference, systems=systems
    )


def chapter(*takes: ShownTake, n_takes: int = 1) -> Chapter:
    return Chapter(name="kind", title="Kind", intro="What it is.", takes=takes, n_takes=n_takes, has_page=True)


def table(system: str, metric: Metric, *, title: str = "T", remark: str = "", value: float = 0.5) -> Table:
    cell = Cell(metric=metric, value=value, is_best=False, lead=None)
    row = Row(family="net", system=system, role="model", remark=remark, cells=(cell,))
    return Table(title=title, reference="", metrics=(metric,), rows=(row,))


def page(**changes: object) -> Page:
    empty: dict[str, object] = {
        "data_version": "",
        "headlines": [],
        "examples": [],
        "catalog": [],
        "quarantined": [],
        "pipeline": Markup("<svg></svg>"),
        "results": [],
        "chapters": [],
    }
    return Page(**{**empty, **changes})  # type: ignore[arg-type]


def html_of(shown: Page) -> str:
    """All pages, one after the other."""
    return "".join(render_pages(shown).values())


def test_an_empty_project_has_a_page_that_says_so():
    empty = Chapter(name="training", title="Training", empty="No system was trained.")
    text = Tags(html_of(page(chapters=[empty]))).text
    for words in (
        "No take was accepted",
        "Nothing is in quarantine",
        "No system has been evaluated yet",
        "No system was trained.",
    ):
        assert words in text


def test_each_data_set_has_a_table_with_its_own_columns_and_pictures():
    first, second = metric("nats_per_sample"), metric("onset_f1")
    pictures = tuple(picture("note-scores", words=f"F1 {at}", caption=f"Onset F1, {at}") for at in ("all", "camera"))
    results = [
        Result(name="a", table=table("net_a", first, title="Drawn keyboards")),
        Result(name="b", table=table("net_b", second, title="Filmed captures", remark="another"), pictures=pictures),
    ]
    found = Tags(html_of(page(results=results)))
    shown = ("Drawn keyboards", "Filmed captures", "net_a", "net_b", "another", "Onset F1, all", "Onset F1, camera")
    assert [words for words in shown if words not in found.text] == []
    assert found.text.count(first.meaning) == found.text.count(second.meaning) == 1
    assert [tag["alt"] for name, tag in found.tags if name == "img"][:2] == ["F1 all", "F1 camera"]


def test_details_stand_under_their_table_and_are_explained_too():
    comb = metric("comb_db")
    details = (table("net_a", comb, title="Sound", value=-43.2),)
    found = Tags(html_of(page(results=[Result(name="a", table=table("net_a", metric("mr_stft")), details=details)])))
    for words in ("More figures of these systems", "Sound", "Comb", "-43.2".replace("-", "−"), comb.meaning):
        assert words in found.text
    assert "is better" not in found.text.partition("Comb")[2].partition("net_a")[0]


def test_a_chapter_is_in_the_contents_with_its_takes():
    takes = chapter(shown_take(card("net_a")), n_takes=3)
    found = Tags(html_of(page(chapters=[takes])))
    links = [attributes["href"] for tag, attributes in found.tags if tag == "a"]
    assert links.index("#kind") + 1 == links.index("#take-t")
    assert "kind.html#kind" in links
    ids = {attributes["id"] for _, attributes in found.tags if "id" in attributes}
    assert {"kind", "take-t"} <= ids
    assert "What it is." in found.text
    assert "These are 1 of 3 test takes" in found.text


def test_a_card_with_several_sounds_has_a_player_with_a_name_for_each():
    found = Tags(html_of(page(chapters=[chapter(shown_take(card("net_a", words="1 violin", n_sounds=3)))])))
    assert [tag for tag, _ in found.tags if tag in ("audio", "video")] == ["video", *["audio"] * 4]
    labels = [attributes["aria-label"] for tag, attributes in found.tags if tag == "audio"]
    assert labels == ["T", *["1 violin"] * 3]
    assert found.text.count("SI-SDR 1 violin") == 3


def test_a_listing_has_its_columns_rows_and_notes():
    rows = ((Entry(text="cam_a", style="code"), Entry(text="locked", style="good", note="it is the clock")),)
    listing = Listing(title="Kalimba", columns=(("Device", False), ("Verdict", True)), rows=rows)
    found = Tags(html_of(page(chapters=[Chapter(name="clocks", title="Clocks", listings=(listing,))])))
    for words in ("Clocks", "Kalimba", "Device", "Verdict", "cam_a", "locked"):
        assert words in found.text
    assert [attributes["title"] for _, attributes in found.tags if "title" in attributes] == ["it is the clock"]


def test_hostile_words_stay_words_wherever_they_stand():
    entry = Entry(text=EVIL, style="code", note=EVIL)
    listing = Listing(title=EVIL, columns=((EVIL, False),), rows=((entry,),))
    chapters = [
        Chapter(
            name="kind",
            title=EVIL,
            intro=EVIL,
            takes=(shown_take(card(EVIL, words=EVIL), card(EVIL, words=EVIL, n_sounds=2), words=EVIL),),
            n_takes=1,
        ),
        Chapter(
            name="clocks", title=EVIL, intro=EVIL, listings=(listing,), cards=(card(EVIL, words=EVIL, n_sounds=0),)
        ),
        Chapter(name="nothing", title=EVIL, empty=EVIL),
    ]
    html = html_of(
        page(
            data_version=EVIL,
            catalog=[row("t", "test", title=EVIL, piece=EVIL)],
            quarantined=[Quarantined(name=EVIL, kind=EVIL, reason=EVIL)],
            results=[Result(name="a", table=table(EVIL, metric("mr_stft"), title=EVIL, remark=EVIL))],
            chapters=chapters,
        )
    )
    found = Tags(html)
    assert [tag for tag, _ in found.tags if tag == "script"] == ["script"] * 2  # one a page
    assert found.text.count(SHOWN) >= 39
    assert [attributes["alt"] for tag, attributes in found.tags if tag == "img" and attributes["alt"] == SHOWN]
    assert not {"\x00", "\x1b"} & set(html)


def test_a_name_that_is_no_text_can_still_be_written():
    name = b"\xff\xfe.mid".decode("utf-8", "surrogateescape")
    html = html_of(page(quarantined=[Quarantined(name=name, kind="BAD_NAME", reason=name)]))
    assert r"\xff\xfe.mid" in html
    html.encode("utf-8")


def test_names_of_files_become_addresses():
    found = Tags(html_of(page(chapters=[chapter(shown_take())])))
    assert [attributes["src"] for tag, attributes in found.tags if tag == "video"] == ["media/a%20b/50%25.mp4"]


def test_minutes_are_summed_by_part_and_pieces_counted_once():
    rows = [row("a", "train", piece="p"), row("b", "train", piece="p"), row("c", "test"), row("d", "")]
    words = "4 takes of 3 pieces: 2.0 min for training, 0.0 min for validation, 1.0 min for test."
    assert words in Tags(html_of(page(catalog=rows))).text


def test_nothing_is_loaded_from_elsewhere():
    found = Tags(html_of(page(chapters=[chapter(shown_take(card("s"), card("s", n_sounds=2)))])))
    addresses = [attributes.get(name) for _, attributes in found.tags for name in ("src", "href", "poster")]
    assert not [address for address in addresses if address and ":" in address and not address.startswith("data:")]
    assert not [address for address in addresses if address and address.startswith("//")]


@pytest.mark.parametrize("tag", ["h1", "main", "title", "nav"])
def test_a_page_has_one(tag):
    for html in render_pages(page()).values():
        assert [name for name, _ in Tags(html).tags].count(tag) == 1
