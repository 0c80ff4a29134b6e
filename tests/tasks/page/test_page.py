from html.parser import HTMLParser

import pytest
from markupsafe import Markup

from tasks.page.page import CatalogRow, Heard, Page, Performed, Picture, Refused, render_page
from tasks.page.scores import DETAILS, METRICS, Cell, Metric, Row, Table

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


def heard(system: str, *, words: str = "What it shows") -> Heard:
    return Heard(
        system=system,
        family="net",
        label="",
        src="media/a b/50%.mp4",
        is_video=True,
        poster="media/a b/poster.png",
        pictures=(Picture(src="media/a b/1.png", words=words, kind="spectrogram", width=880, height=290),),
        figures=(("NLL", "1.0 nats"),),
    )


def page(**changes: object) -> Page:
    empty: dict[str, object] = {
        "data_version": "",
        "catalog": [],
        "refused": [],
        "pipeline": Markup("<svg></svg>"),
        "scores": [],
        "note_scores": {},
        "learned": [],
        "performed": [],
        "n_test_takes": 1,
        "captured": [],
    }
    return Page(**{**empty, **changes})  # type: ignore[arg-type]


def test_an_empty_project_has_a_page_that_says_so():
    text = Tags(render_page(page())).text
    for words in ("No take was accepted", "Nothing was put aside", "No system has been evaluated yet"):
        assert words in text


def test_each_data_set_has_a_table_with_its_own_columns_and_picture():
    def table(name: str, system: str, metric: Metric) -> Table:
        cell = Cell(metric=metric, value=0.5, is_best=False, lead=None)
        row = Row(family="net", system=system, is_upper_bound=False, is_reference=False, cells=(cell,))
        return Table(name=name, reference="", metrics=(metric,), rows=(row,))  # type: ignore[arg-type]

    pictures = [
        Picture(src=f"media/{kind}.captures.png", words="Onset F1 of each note", kind=kind, width=9, height=9)
        for kind in ("notes", "cameras")
    ]
    tables = [table("scores", "net_a", METRICS[0]), table("captures", "net_b", METRICS[1])]
    found = Tags(render_page(page(scores=tables, note_scores={"captures": pictures})))
    assert [
        words for words in ("Drawn keyboards", "Filmed captures", "net_a", "net_b") if words not in found.text
    ] == []
    assert found.text.count(METRICS[0].meaning) == found.text.count(METRICS[1].meaning) == 1
    assert [tag["src"] for name, tag in found.tags if name == "img"] == [picture.src for picture in pictures]
    assert found.text.count("Onset F1 of each note, camera by camera") == 1


def test_details_stand_under_their_table_and_are_explained_too():
    def table(title: str, metric: Metric, *details: Table) -> Table:
        cell = Cell(metric=metric, value=-43.2, is_best=False, lead=None)
        row = Row(family="net", system="net_a", is_upper_bound=False, is_reference=False, cells=(cell,))
        return Table(name="captures", reference="", metrics=(metric,), rows=(row,), title=title, details=details)

    comb = next(metric for metric in DETAILS["Sound"] if metric.key == "comb_db")
    found = Tags(render_page(page(scores=[table("", METRICS[0], table("Sound", comb))])))
    for words in ("More figures of these captures", "Sound", "Comb", "-43.2".replace("-", "−"), comb.meaning):
        assert words in found.text
    assert "not ranked" not in found.text.partition("Comb")[2].partition("net_a")[0]


def test_hostile_words_stay_words_wherever_they_stand():
    performed = Performed(
        take="t",
        camera=EVIL,
        title=EVIL,
        composer=EVIL,
        duration_s=1.0,
        truth=heard(EVIL),
        systems=(heard(EVIL, words=EVIL),),
    )
    html = render_page(
        page(
            data_version=EVIL,
            catalog=[row("t", "test", title=EVIL, piece=EVIL)],
            refused=[Refused(name=EVIL, kind=EVIL, reason=EVIL)],
            performed=[performed],
        )
    )
    found = Tags(html)
    assert [tag for tag, _ in found.tags if tag == "script"] == ["script"]
    assert found.text.count(SHOWN) >= 9
    assert [attributes["alt"] for tag, attributes in found.tags if tag == "img" and attributes["alt"] == SHOWN]
    assert not {"\x00", "\x1b"} & set(html)


def test_a_name_that_is_no_text_can_still_be_written():
    name = b"\xff\xfe.mid".decode("utf-8", "surrogateescape")
    html = render_page(page(refused=[Refused(name=name, kind="BAD_NAME", reason=name)]))
    assert r"\xff\xfe.mid" in html
    html.encode("utf-8")


def test_names_of_files_become_addresses():
    performed = Performed(take="t", camera="", title="T", composer="", duration_s=1.0, truth=heard(""), systems=())
    found = Tags(render_page(page(performed=[performed])))
    assert [attributes["src"] for tag, attributes in found.tags if tag == "video"] == ["media/a%20b/50%25.mp4"]


def test_minutes_are_summed_by_part_and_pieces_counted_once():
    rows = [row("a", "train", piece="p"), row("b", "train", piece="p"), row("c", "test"), row("d", "")]
    html = render_page(page(catalog=rows))
    tiles = {"takes": "4", "pieces": "3", "min to train on": "2.0", "min to validate": "0.0", "min to test on": "1.0"}
    for name, value in tiles.items():
        assert f"<dt>{name}</dt><dd>{value}</dd>" in html


def test_nothing_is_loaded_from_elsewhere():
    performed = Performed(
        take="t", camera="", title="T", composer="", duration_s=1.0, truth=heard(""), systems=(heard("s"),)
    )
    found = Tags(render_page(page(performed=[performed])))
    addresses = [attributes.get(name) for _, attributes in found.tags for name in ("src", "href", "poster")]
    assert not [address for address in addresses if address and ":" in address and not address.startswith("data:")]
    assert not [address for address in addresses if address and address.startswith("//")]


@pytest.mark.parametrize("tag", ["h1", "main", "title", "nav"])
def test_a_page_has_one(tag):
    assert [name for name, _ in Tags(render_page(page())).tags].count(tag) == 1
