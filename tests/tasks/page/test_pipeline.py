import xml.etree.ElementTree as ET
from pathlib import Path

import pytest

from tasks.errors import DamagedData
from tasks.page.pipeline import Stage, draw_pipeline, read_stages

DVC = """\
stages:
  report:
    cmd: python -m flows.report
    deps: [data/ingested, data/evaluated]
    outs: [data/report]
  evaluate:
    matrix:
      family: ${families}
    cmd: python -m flows.evaluate ${item.family}
    deps:
      - data/ingested
      - models/${item.family}.py
      - data/trained/${item.family}
    outs:
      - data/evaluated/${item.family}
    metrics:
      - data/metrics/${item.family}.json:
          cache: false
  train:
    matrix:
      family: [wave, roll]
    cmd: python -m flows.train ${item.family}
    deps: [data/ingested/catalog.json]
    outs: ["data/trained/${item.family}"]
  ingest:
    cmd: python -m flows.ingest
    deps: [data/sample]
    outs:
      - data/ingested:
          persist: true
"""
SVG = "{http://www.w3.org/2000/svg}"


@pytest.fixture
def dvc_file(tmp_path: Path) -> Path:
    path = tmp_path / "dvc.yaml"
    path.write_text(DVC)
    return path


def test_stages_come_in_an_order_in_which_they_can_run(dvc_file):
    stages = read_stages(dvc_file, params={"families": ["wave", "roll"]})
    assert [stage.name for stage in stages] == ["ingest", "train", "evaluate", "report"]


def test_a_stage_needs_those_that_write_what_it_reads(dvc_file):
    stages = {stage.name: stage for stage in read_stages(dvc_file, params={"families": ["wave", "roll"]})}
    assert {name: set(stage.needs) for name, stage in stages.items()} == {
        "ingest": set(),
        "train": {"ingest"},  # a file inside an output
        "evaluate": {"ingest", "train"},  # the same entry of both matrices
        "report": {"ingest", "evaluate"},  # a folder around outputs
    }


def test_a_matrix_is_one_stage_that_names_what_it_runs_for(dvc_file):
    stages = {stage.name: stage for stage in read_stages(dvc_file, params={"families": ["wave", "solo"]})}
    assert stages["train"].items == ("wave", "roll")
    assert stages["evaluate"].items == ("wave", "solo")
    assert stages["ingest"].items == ()


@pytest.mark.parametrize(
    ("over", "out", "read"),
    [
        ("[a, b]", "o/${item}", "o/b"),
        ("{a: x, b: y}", "o/${key}/${item}", "o/b/y"),
        ("{a: {to: x}, b: {to: y}}", "o/${key}/${item.to}", "o/b/y"),
    ],
)
def test_foreach_over_a_list_and_a_mapping(tmp_path, over, out, read):
    path = tmp_path / "dvc.yaml"
    path.write_text(
        f"stages: {{each: {{foreach: {over}, do: {{cmd: x, outs: ['{out}']}}}}, last: {{cmd: x, deps: ['{read}']}}}}"
    )
    each, last = read_stages(path, params={})
    assert each.items == ("a", "b")
    assert last.needs == ("each",)


def test_a_template_in_one_entry_stands_for_its_own_run_only(tmp_path):
    path = tmp_path / "dvc.yaml"
    path.write_text("stages: {each: {foreach: [a, b], do: {cmd: x, outs: ['o/${item}']}}, last: {deps: [o/c]}}")
    assert read_stages(path, params={})[1].needs == ()


def test_a_stage_needs_the_one_that_writes_its_parameters(tmp_path):
    path = tmp_path / "dvc.yaml"
    path.write_text(
        "stages: {code: {outs: [code.json]}, each: {foreach: {a: x}, do: {params: [p.a, {code.json: [each.a]}]}}, "
        "last: {params: [p, {params.yaml: [q]}]}}"
    )
    assert {stage.name: stage.needs for stage in read_stages(path, params={})} == {
        "code": (),
        "each": ("code",),
        "last": (),
    }


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("stages: [", "does not describe stages"),
        ("{}", "does not describe stages"),
        ("stages: {a: {matrix: {f: '${gone}'}, cmd: x}}", "does not describe stages"),
        ("stages: {a: {deps: [x], outs: [y]}, b: {deps: [y], outs: [x]}}", "a, b wait for each other"),
    ],
)
def test_a_file_that_describes_no_pipeline_is_refused(tmp_path, text, message):
    path = tmp_path / "dvc.yaml"
    path.write_text(text)
    with pytest.raises(DamagedData, match=message):
        read_stages(path, params={})


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(DamagedData, match=r"dvc\.yaml is missing"):
        read_stages(tmp_path / "dvc.yaml", params={})


def stage(name: str, *needs: str, items: tuple[str, ...] = ()) -> Stage:
    return Stage(name=name, items=items, outs=(f"data/{name}",), needs=needs)


def drawn(*stages: Stage) -> ET.Element:
    return ET.fromstring(draw_pipeline(stages))  # noqa: S314 - our own drawing


def test_every_need_is_one_arrow():
    picture = drawn(stage("a"), stage("b", "a"), stage("c", "a", "b"), stage("d", "a"))
    heads = [path.get("class") for path in picture.iter(f"{SVG}path") if "head" in path.get("class", "")]
    assert sorted(heads) == ["head", "head", "head lane0", "head lane0"]


def test_lanes_that_run_side_by_side_differ():
    picture = drawn(stage("a"), stage("b"), stage("c", "a"), stage("d", "b"))
    heads = [path.get("class") for path in picture.iter(f"{SVG}path") if "head" in path.get("class", "")]
    assert sorted(heads) == ["head lane0", "head lane1"]


def test_stages_stand_below_each_other_in_their_order():
    picture = drawn(stage("a"), stage("b", "a"), stage("c", "b"))
    names = [text for text in picture.iter(f"{SVG}text") if text.get("class") == "stage"]
    assert [text.text for text in names] == ["a", "b", "c"]
    heights = [float(text.get("y", 0)) for text in names]
    assert heights == sorted(set(heights))


def test_a_hostile_name_stays_text():
    picture = drawn(stage("<b>&\x07", items=("<script>",)))
    assert r"<b>&\x07" in [text.text for text in picture.iter(f"{SVG}text")]
    assert {element.tag for element in picture.iter()} <= {
        f"{SVG}{tag}" for tag in ("svg", "title", "desc", "path", "rect", "text")
    }


def test_what_it_shows_is_said_in_words():
    words = drawn(stage("a"), stage("b", "a")).find(f"{SVG}desc")
    assert words is not None
    assert words.text == "a needs no other stage; b needs a"
