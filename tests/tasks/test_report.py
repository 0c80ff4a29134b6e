import json
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from fractions import Fraction
from itertools import count
from pathlib import Path
from typing import Any
from urllib.parse import unquote
from urllib.request import ProxyHandler, build_opener

import numpy as np
import pytest
from websockets.sync.client import connect

import tasks.report
from tasks.errors import DamagedData
from tasks.instruments.keyboard import key_states
from tasks.instruments.notes import Notes, sorted_notes
from tasks.media.encode import encode_film
from tasks.metrics.table import metric
from tasks.registry import KINDS, kind_module, kind_module_name
from tasks.report import ReportParams, write_report
from tasks.store.audio import read_audio, write_flac
from tasks.store.tables import read_table, write_table

PARAMS = ReportParams(
    frame_rate=Fraction(25), max_frequency_hz=8000.0, max_takes=5, zoom_s=0.05, n_resamples=200, seed=1
)
EVIL = "<img src=x onerror=alert(1)>\x1b[31m\n\u202e.mid"
TRUE_RATE, MADE_RATE = 16000, 4000
FIGURES = ("nats_per_sample", "mr_stft", "log_spectral_distance_db", "onset_f1", "onset_lag_ms")
ROLES = {"mean": "reference", "silence": "idle", "upper_bound": "bound", "roll": "model"}
SYSTEMS = {  # family: system: a figure, and whether it predicts notes
    "baselines": {"mean": (5.2, False), "silence": (6.0, False), "upper_bound": (0.1, True)},
    "roll": {"roll": (4.1, True)},
}
DVC = """\
stages:
  ingest:
    cmd: python -m flows.ingest
    deps: [data/sample]
    outs: [{data/ingested: {persist: true}}]
  train:
    matrix: {family: "${families}"}
    cmd: python -m flows.train ${item.family}
    deps: [data/ingested]
    outs: ["data/trained/${item.family}"]
  report:
    cmd: python -m flows.report
    deps: [data/ingested, data/trained]
    outs: [data/report]
"""


def play(notes: Notes, *, duration_s: float, sample_rate: int) -> np.ndarray:
    """Plucked sines: a sound with onsets, pitches and silence in it."""
    audio = np.zeros(round(duration_s * sample_rate))
    for onset_s, offset_s, pitch in zip(notes.onset_s, notes.offset_s, notes.pitch, strict=True):
        start, end = round(onset_s * sample_rate), min(len(audio), round((offset_s + 0.2) * sample_rate))
        time_s = np.arange(end - start) / sample_rate
        hz = 440 * 2 ** ((float(pitch) - 69) / 12)
        for harmonic in (h for h in (1, 2, 3, 4) if h * hz < sample_rate / 2):
            audio[start:end] += 0.12 / harmonic * np.exp(-4 * time_s) * np.sin(2 * np.pi * harmonic * hz * time_s)
    return np.clip(audio, -1, 1).astype(np.float32)


def music(seed: int, *, duration_s: float) -> Notes:
    rng = np.random.default_rng(seed)
    onset_s = np.arange(0.1, duration_s - 0.6, 0.25)
    pitch = rng.choice([48, 52, 55, 60, 62, 64, 67, 72, 76, 79], len(onset_s))
    return sorted_notes(onset_s, onset_s + 0.24, pitch, rng.integers(30, 110, len(onset_s)))


def write_take(data: Path, take: str, *, part: str, seed: int, duration_s: float) -> dict[str, Any]:
    notes = music(seed, duration_s=duration_s)
    for stage in ("ingested", "rendered"):
        (data / stage / take).mkdir(parents=True)
    write_table(data / "rendered" / take / "notes.parquet", notes.columns())
    time_s, velocity = key_states(notes, restrike_gap_s=0.05)
    pedal = np.zeros(len(time_s), np.uint8)
    write_table(data / "rendered" / take / "states.parquet", {"time_s": time_s, "velocity": velocity, "pedal": pedal})
    audio = play(notes, duration_s=duration_s, sample_rate=TRUE_RATE)
    write_flac(data / "rendered" / take / "audio.flac", audio, TRUE_RATE)
    facts = {"duration_s": duration_s, "lit": "velocity", "peak": float(np.abs(audio).max())}
    (data / "rendered" / take / "render.json").write_text(json.dumps(facts))
    for family, systems in SYSTEMS.items():
        for system, (_, predicts_notes) in systems.items():
            if part == "test":
                write_performance(
                    data / "synthesized" / family / system / take, system, notes, duration_s, predicts_notes
                )
    return {
        "take": take,
        "kind": "score",
        "piece": take,
        "part": part,
        "composer": "J. S. Bach",
        "title": f"Piece <{take}> & others",
        "duration_s": duration_s,
        "n_notes": len(notes),
        "digest": "0" * 64,
        "media": [],
    }


def write_performance(folder: Path, system: str, notes: Notes, duration_s: float, predicts_notes: bool) -> None:
    folder.mkdir(parents=True)
    kept = notes.take(np.arange(len(notes)) % 7 != 3)
    audio = play(kept, duration_s=duration_s, sample_rate=MADE_RATE) * (system != "silence")
    write_flac(folder / "audio.flac", audio, MADE_RATE)
    first = folder.parent.parent.parent / "baselines" / "mean" / folder.name / "video.mp4"
    if system == "mean":
        pictures = iter(np.full((round(25 * duration_s), 57, 780), 90, np.uint8))
        encode_film(first, pictures, frame_rate=Fraction(25), audio=audio, sample_rate=MADE_RATE)
    elif system != "silence":  # that one is sound alone
        shutil.copy(first, folder / "video.mp4")
    if predicts_notes:
        write_table(folder / "notes.parquet", kept.columns())


def write_evaluation(data: Path, family: str, takes: list[str]) -> None:
    systems = SYSTEMS[family]
    rows = [(system, take) for system in systems for take in takes]
    rng = np.random.default_rng(len(family))
    columns: dict[str, Any] = {
        "system": [system for system, _ in rows],
        "role": [ROLES[system] for system, _ in rows],
        "take": [take for _, take in rows],
        "piece": [take for _, take in rows],
    }
    for figure in FIGURES:
        columns[figure] = np.array([systems[system][0] for system, _ in rows]) + 0.1 * rng.random(len(rows))
    columns["onset_lag_ms"][[system == "silence" for system, _ in rows]] = np.nan
    columns["segment_ids"] = [["a", "b"] for _ in rows]
    (data / "evaluated" / family).mkdir(parents=True)
    write_table(data / "evaluated" / family / "takes.parquet", columns)
    pitches: dict[str, Any] = {"system": columns["system"], "take": columns["take"]}
    for name, value in (("pitch", 60), ("tp", 3), ("fp", 1), ("fn", 2)):
        pitches[name] = np.full(len(rows), value, np.int64)
    write_table(data / "evaluated" / family / "pitches.parquet", pitches)
    means = {
        system: {
            figure: float(np.mean(columns[figure][[name == system for name, _ in rows]]))
            for figure in FIGURES
            if np.isfinite(columns[figure][[name == system for name, _ in rows]]).all()
        }
        for system in systems
    }
    (data / "metrics" / f"{family}.json").write_text(json.dumps(means))


def write_data(root: Path, *, duration_s: float = 2.0) -> Path:
    """Write small files of every stage, as the stages do."""
    data = root / "data"
    parts = {"etude": "train", "fugue": "validation", "menuet": "test", "walzer": "test"}
    catalog = [
        write_take(data, take, part=part, seed=seed, duration_s=duration_s)
        for seed, (take, part) in enumerate(parts.items())
    ]
    (data / "ingested" / "catalog.json").write_text(json.dumps(catalog))
    refused = [{"take": EVIL, "kind": "TRUNCATED", "reason": f"{EVIL}: 3 bytes, <b>expected</b> more"}]
    (data / "ingested" / "quarantine.json").write_text(json.dumps(refused))
    described = {row["take"]: {"piece": row["piece"], "part": row["part"]} for row in catalog}
    (data / "chunked" / "scores").mkdir(parents=True)
    (data / "chunked" / "scores" / "takes.json").write_text(json.dumps(described))
    (data / "metrics").mkdir()
    (data / "metrics" / "data.json").write_text(json.dumps({"data_version": "ab" * 8}))
    for family in SYSTEMS:
        write_evaluation(data, family, ["menuet", "walzer"])
    (data / "trained" / "roll" / "curves").mkdir(parents=True)
    curve = "step,train_loss,validation_loss\n0,3.5,3.6\n50,2.0,\n100,1.0,1.25\n"
    (data / "trained" / "roll" / "curves" / "roll.csv").write_text(curve)
    (root / "dvc.yaml").write_text(DVC)
    return data


def report(root: Path, name: str = "report", params: ReportParams = PARAMS) -> Path:
    out = root / name
    out.mkdir()
    all_params = {"families": dict.fromkeys(SYSTEMS, "scores")}
    write_report(out, data=root / "data", dvc_file=root / "dvc.yaml", all_params=all_params, params=params)
    return out


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("project")
    write_data(root)
    return root


@pytest.fixture(scope="module")
def page(root: Path) -> Path:
    return report(root)


class Browser:
    """A page in headless Chromium, spoken to over its DevTools socket."""

    def __init__(self, socket: Any) -> None:
        self.socket = socket
        self.ids = count(1)
        self.complaints: list[str] = []
        self.requests: list[str] = []
        for domain in ("Page", "Runtime", "Log", "Network"):
            self.call(f"{domain}.enable")

    def call(self, method: str, **params: Any) -> dict[str, Any]:
        number = next(self.ids)
        self.socket.send(json.dumps({"id": number, "method": method, "params": params}))
        while True:
            message = json.loads(self.socket.recv(timeout=30))
            self.note(message)
            if message.get("id") == number:
                if "error" in message:
                    raise AssertionError(f"{method}: {message['error']}")
                return message["result"]

    def note(self, message: dict[str, Any]) -> None:
        what = message.get("method")
        if what == "Network.requestWillBeSent":
            self.requests.append(message["params"]["request"]["url"])
        elif what == "Runtime.exceptionThrown" or (
            what == "Runtime.consoleAPICalled" and message["params"]["type"] in ("error", "warning", "assert")
        ):
            self.complaints.append(json.dumps(message["params"])[:500])
        elif what == "Log.entryAdded" and message["params"]["entry"]["level"] in ("error", "warning"):
            self.complaints.append(message["params"]["entry"]["text"])

    def evaluate(self, expression: str) -> Any:
        result = self.call("Runtime.evaluate", expression=expression, returnByValue=True, awaitPromise=True)
        assert "exceptionDetails" not in result, result
        return result["result"].get("value")

    def until(self, expression: str) -> None:
        deadline = time.monotonic() + 30
        while not self.evaluate(expression):
            assert time.monotonic() < deadline, f"never true: {expression}"
            time.sleep(0.05)

    def open(self, page: Path, name: str = "index.html", *, width: int, dark: bool = False) -> None:
        self.complaints.clear()
        self.requests.clear()
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        self.call("Emulation.setEmulatedMedia", features=[scheme])
        self.call(
            "Emulation.setDeviceMetricsOverride",
            width=width,
            height=800,
            deviceScaleFactor=1,
            mobile=width < 500,
        )
        self.call("Page.navigate", url=(page / name).as_uri())
        self.until(f"location.href === '{(page / name).as_uri()}' && document.readyState === 'complete'")


@contextmanager
def chromium(program: str, profile: Path) -> Iterator[str]:
    """Run Chromium and lend the address of its page's DevTools socket."""
    flags = (
        "--headless --no-sandbox --disable-gpu --disable-quic --no-first-run --disable-background-networking "
        "--disable-component-update --disable-sync --disable-dev-shm-usage --mute-audio "
        "--autoplay-policy=no-user-gesture-required --remote-debugging-port=0"
    )
    with (profile / "log").open("wb") as log:
        process = subprocess.Popen(
            [program, *flags.split(), f"--user-data-dir={profile}", "about:blank"], stdout=log, stderr=log
        )
    try:
        port = profile / "DevToolsActivePort"
        deadline = time.monotonic() + 60
        while not (port.exists() and port.read_text().count("\n")):
            if process.poll() is not None or time.monotonic() > deadline:
                raise TimeoutError((profile / "log").read_text()[-2000:] or "no DevTools socket within 60 s")
            time.sleep(0.05)
        direct = build_opener(ProxyHandler({}))
        with direct.open(f"http://127.0.0.1:{port.read_text().split()[0]}/json/list", timeout=30) as answer:
            targets = json.load(answer)
        yield next(target["webSocketDebuggerUrl"] for target in targets if target["type"] == "page")
    finally:
        process.terminate()
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait(10)


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    program = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if program is None:
        pytest.fail("Chromium is not installed, and the page is tested in it: sudo apt-get install chromium")
    with ExitStack() as stack:
        try:
            address = stack.enter_context(chromium(program, tmp_path_factory.mktemp("chromium")))
        except OSError:  # a first start on a busy machine may not answer in time: once more
            address = stack.enter_context(chromium(program, tmp_path_factory.mktemp("chromium")))
        yield Browser(stack.enter_context(connect(address, max_size=None, proxy=None)))


def test_the_page_opens_without_a_complaint_or_the_network(browser, page):
    browser.open(page, width=1280)
    browser.evaluate("document.querySelectorAll('img').forEach(image => image.loading = 'eager')")
    browser.until("[...document.images].every(image => image.complete && image.naturalWidth > 0)")
    assert browser.complaints == []
    assert browser.requests
    assert all(url.startswith(("file:", "data:")) for url in browser.requests)


def test_every_film_and_sound_loads_when_it_is_wanted_and_has_the_length_of_its_take(browser, page):
    browser.open(page, "scores.html", width=1280)
    assert browser.evaluate("[...document.querySelectorAll('video, audio')].every(one => one.readyState === 0)")
    browser.evaluate("document.querySelectorAll('video, audio').forEach(one => one.preload = 'metadata')")
    browser.until("[...document.querySelectorAll('video, audio')].every(player => player.readyState >= 1)")
    found = browser.evaluate("[...document.querySelectorAll('video, audio')].map(p => [p.localName, p.duration])")
    # Two takes: a film each, and the sounds of the reference and four systems.
    assert sorted(kind for kind, _ in found) == ["audio"] * 10 + ["video"] * 2
    assert [duration for _, duration in found] == pytest.approx([2.0] * 12, abs=0.05)


DECK = "document.querySelector('.deck')"


def press(browser: Browser, key: str) -> None:
    """Press a key where the focus is."""
    for kind in ("keyDown", "keyUp"):
        browser.call("Input.dispatchKeyEvent", type=kind, key=key, text=key if len(key) == 1 else "")


def test_sounds_and_film_of_a_take_stay_within_50_ms_and_move_the_line(browser, page):
    browser.open(page, width=1280)
    browser.evaluate(f"{DECK}.querySelector('.play').click()")
    running = f"[...{DECK}.querySelectorAll('video, audio')].filter(one => !one.paused)"
    browser.evaluate(f"{DECK}.querySelectorAll('.track')[1].click()")
    browser.until(f"{running}.length === 3 && {running}.every(one => one.currentTime > 0.2)")
    spreads = []
    for _ in range(8):
        times_s = browser.evaluate(f"{running}.map(one => one.currentTime)")
        spreads.append(max(times_s) - min(times_s))
        time.sleep(0.05)
    assert sorted(spreads)[len(spreads) // 2] < 0.05, spreads
    assert browser.evaluate(f"{running}.filter(one => one.localName === 'audio' && !one.muted).length") == 1
    line = f"parseFloat({DECK}.querySelector('.now').style.left)"
    assert 10 < browser.evaluate(line) < 99
    assert browser.evaluate(f"!{DECK}.querySelector('video').hidden")


def test_one_take_plays_at_a_time(browser, page):
    browser.open(page, "scores.html", width=1280)
    browser.evaluate(f"{DECK}.querySelector('.play').click()")
    browser.until(f"{DECK}.querySelector('audio').currentTime > 0.1")
    browser.evaluate("document.querySelectorAll('.deck')[1].querySelector('.play').click()")
    browser.until(f"[...{DECK}.querySelectorAll('video, audio')].every(one => one.paused)")


def test_keys_do_what_the_page_says(browser, page):
    browser.open(page, width=1280)
    browser.evaluate(f"{DECK}.focus()")
    pressed = f"[...{DECK}.querySelectorAll('.track')].findIndex(one => one.ariaPressed === 'true')"
    seen = f"Number({DECK}.querySelector('.seek').value)"
    press(browser, "2")
    assert browser.evaluate(pressed) == 1
    press(browser, "x")
    assert browser.evaluate(pressed) == 0
    press(browser, "ArrowRight")
    assert browser.evaluate(seen) == pytest.approx(2.0)
    press(browser, "ArrowLeft")
    assert browser.evaluate(seen) == 0
    press(browser, "l")
    assert browser.evaluate(f"{DECK}.querySelector('.loop').ariaPressed") == "true"
    press(browser, " ")
    browser.until(f"{DECK}.querySelector('audio').currentTime > 1.5")  # the sound has 2 s
    browser.until(f"{DECK}.querySelector('audio').currentTime < 1")
    press(browser, " ")
    assert browser.evaluate(f"{DECK}.querySelector('audio').paused")


def test_a_loop_has_a_beginning_and_an_end(browser, page):
    browser.open(page, width=1280)
    browser.evaluate(f"{DECK}.focus()")
    begin = (
        f"{DECK}.querySelector('.seek').value = 0.4; {DECK}.querySelector('.seek').dispatchEvent(new Event('input'))"
    )
    browser.evaluate(begin)
    press(browser, "[")
    browser.evaluate(begin.replace("0.4", "0.8"))
    press(browser, "]")
    assert browser.evaluate(f"{DECK}.querySelector('.loop').textContent") == "Loop 0:00–0:00"
    browser.evaluate(begin.replace("0.4", "0.5"))
    press(browser, " ")
    browser.until(f"{DECK}.querySelector('audio').currentTime >= 0.4")
    times_s = []
    for _ in range(24):
        times_s.append(browser.evaluate(f"{DECK}.querySelector('audio').currentTime"))
        time.sleep(0.05)
    assert min(times_s) > 0.35
    assert max(times_s) < 1.0  # after 1.2 s it would be at its end


@pytest.mark.parametrize("name", ["index.html", "scores.html", "catalog.html"])
@pytest.mark.parametrize("width", [390, 1440])
def test_no_table_is_wider_than_its_box(browser, page, name, width):
    browser.open(page, name, width=width)
    browser.evaluate("document.querySelectorAll('details').forEach(one => one.open = true)")
    browser.evaluate("document.querySelectorAll('.fold').forEach(one => one.click())")
    boxes = browser.evaluate("[...document.querySelectorAll('.scroll')].map(box => [box.scrollWidth, box.clientWidth])")
    assert boxes or name == "scores.html"
    assert [box for box in boxes if box[0] > box[1]] == []


def test_a_picture_of_a_result_is_on_the_first_screen(browser, page):
    for width, height in ((1440, 900), (390, 844)):
        browser.open(page, width=width)
        assert browser.evaluate("document.querySelector('.screen img').getBoundingClientRect().bottom") < height


def test_baselines_are_folded_and_a_heading_sorts(browser, page):
    browser.open(page, width=1280)
    systems = "[...document.querySelector('.ranking').querySelectorAll('.system')].filter(one => one.checkVisibility())"
    assert browser.evaluate(f"{systems}.map(one => one.textContent)") == ["roll", "upper_bound"]
    browser.evaluate("document.querySelector('.fold').click()")
    assert browser.evaluate(f"{systems}.map(one => one.textContent)")[2:] == ["silence", "mean"]
    browser.evaluate("document.querySelectorAll('.ranking .sort')[1].click()")  # lower is better
    assert browser.evaluate(f"{systems}.map(one => one.textContent)")[:2] == ["upper_bound", "roll"]


def test_on_a_phone_a_list_sorts(browser, page):
    browser.open(page, width=390)
    systems = "[...document.querySelector('.ranking').querySelectorAll('.system')].filter(one => one.checkVisibility())"
    ranking = "document.querySelector('.ranking').closest('.scroll').querySelector('.sort-by')"
    assert browser.evaluate(f"{ranking}.checkVisibility()")
    assert browser.evaluate(f"{systems}.map(one => one.textContent)") == ["roll", "upper_bound"]
    choose = f"(() => {{ const list = {ranking}; list.selectedIndex = 2; list.dispatchEvent(new Event('change')); }})()"
    browser.evaluate(choose)  # the second heading: lower is better
    assert browser.evaluate(f"{systems}.map(one => one.textContent)") == ["upper_bound", "roll"]
    browser.open(page, width=1280)
    assert not browser.evaluate(f"{ranking}.checkVisibility()")


@pytest.mark.parametrize(("width", "dark"), [(320, False), (375, True), (768, False), (1280, True)])
def test_nothing_overflows(browser, page, width, dark):
    browser.open(page, width=width, dark=dark)
    assert browser.evaluate("document.documentElement.scrollWidth <= innerWidth")
    assert browser.evaluate("innerWidth") == width


def test_every_link_of_the_contents_leads_somewhere(browser, page):
    browser.open(page, width=1280)
    targets = browser.evaluate("[...document.querySelectorAll('nav a')].map(a => a.href)")
    names = {target.partition("#")[2] for target in targets}
    assert {"results", "scores", "training", "pipeline", "catalog", "quarantine"} <= names
    for target in targets:
        file, _, name = target.rpartition("/")[2].partition("#")
        assert f'id="{name}"' in (page / file).read_text(), target


def test_what_scrolls_and_plays_can_be_reached_by_keyboard(browser, page):
    browser.open(page, width=375)
    assert browser.evaluate("[...document.querySelectorAll('.scroll')].every(region => region.tabIndex === 0)")
    assert browser.evaluate("[...document.images].every(image => image.alt.length > 10)")
    assert browser.evaluate("[...document.querySelectorAll('video, audio')].every(one => one.ariaLabel)")
    assert browser.evaluate("[...document.querySelectorAll('.deck')].every(deck => deck.tabIndex === 0)")


CONTRASTS = """(() => {
  const canvas = document.createElement("canvas").getContext("2d", { willReadFrequently: true });
  const parts = (colour) => {
    canvas.clearRect(0, 0, 1, 1); canvas.fillStyle = colour; canvas.fillRect(0, 0, 1, 1);
    return [...canvas.getImageData(0, 0, 1, 1).data];
  };
  const luminance = (rgb) => rgb.slice(0, 3).map((v) => v / 255)
    .map((v) => (v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4))
    .reduce((sum, v, i) => sum + v * [0.2126, 0.7152, 0.0722][i], 0);
  const found = [];
  const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  while (walker.nextNode()) {
    const element = walker.currentNode.parentElement;
    if (!walker.currentNode.data.trim() || element.closest("script, style, .hidden, svg")) continue;
    if (!element.checkVisibility()) continue;
    let behind = null;
    for (let one = element; one && !behind; one = one.parentElement) {
      const style = getComputedStyle(one);
      const [r, g, b, alpha] = parts(style.backgroundColor);
      if (style.opacity !== "1" || style.backgroundImage !== "none" || (alpha > 0 && alpha < 255))
        found.push([element.className, "undecided"]);
      if (alpha === 255) behind = [r, g, b];
    }
    const [ink, paper] = [luminance(parts(getComputedStyle(element).color)), luminance(behind ?? [0, 0, 0])];
    const ratio = (Math.max(ink, paper) + 0.05) / (Math.min(ink, paper) + 0.05);
    if (ratio < 4.5) found.push([element.outerHTML.slice(0, 80), ratio]);
  }
  return found;
})()"""


@pytest.mark.parametrize("dark", [False, True])
@pytest.mark.parametrize("name", ["index.html", "scores.html", "catalog.html"])
def test_every_word_has_contrast_and_none_is_undecided(browser, page, name, dark):
    browser.open(page, name, width=1280, dark=dark)
    browser.evaluate("document.querySelectorAll('details').forEach(one => one.open = true)")
    browser.evaluate("document.querySelectorAll('.fold').forEach(one => one.click())")
    assert browser.evaluate(CONTRASTS) == []


def test_the_first_load_stays_small_however_many_takes_there_are(browser, root, tmp_path):
    shutil.copytree(root / "data", tmp_path / "data")
    shutil.copy(root / "dvc.yaml", tmp_path)
    path = tmp_path / "data" / "ingested" / "catalog.json"
    rows = json.loads(path.read_text())
    rows += [{**rows[0], "take": f"etude_{number}", "piece": f"etude_{number}"} for number in range(1000)]
    path.write_text(json.dumps(rows))
    many = report(tmp_path, params=PARAMS.model_copy(update={"max_takes": 1}))
    for name in ("index.html", "catalog.html"):
        browser.open(many, name, width=1440)
        time.sleep(0.5)
        loaded = {unquote(url.removeprefix("file://")) for url in browser.requests if url.startswith("file:")}
        assert sum(Path(file).stat().st_size for file in loaded) < 1_000_000
    assert browser.evaluate("document.querySelector('table').tBodies[0].rows.length") == 1004
    browser.evaluate("document.querySelector('.filter').value = 'etude_77 '")
    browser.evaluate("document.querySelector('.filter').dispatchEvent(new Event('input'))")
    shown = "[...document.querySelector('table').tBodies[0].rows].filter(row => !row.hidden).length"
    assert browser.evaluate(shown) == 11


def test_a_hostile_name_is_shown_and_does_nothing(browser, page):
    browser.open(page, "catalog.html", width=1280)
    shown = browser.evaluate("document.querySelector('.quarantined code').textContent")
    assert shown == r"<img src=x onerror=alert(1)>\x1b[31m\x0a\u202e.mid"
    assert browser.evaluate("document.querySelectorAll('.quarantined img, .quarantined b').length") == 0


def test_same_data_gives_the_same_bytes(root, page):
    again = report(root, "again")
    files = sorted(path.relative_to(page) for path in page.rglob("*") if path.is_file())
    assert files == sorted(path.relative_to(again) for path in again.rglob("*") if path.is_file())
    assert [name for name in files if (page / name).read_bytes() != (again / name).read_bytes()] == []


def test_systems_and_takes_are_all_there(page):
    html = (page / "index.html").read_text()
    assert all(f'<span class="system">{system}</span>' in html for row in SYSTEMS.values() for system in row)
    assert (page / "scores.html").read_text().count("Piece &lt;menuet&gt; &amp; others") >= 2
    assert {path.name for path in (page / "media").iterdir()} == {"menuet", "notes.scores.png", "training", "walzer"}
    assert "abababababababab" in html


def test_no_more_takes_are_shown_than_params_allow_and_the_page_says_so(root):
    out = report(root, "short", PARAMS.model_copy(update={"max_takes": 1}))
    shown = {path.name for path in (out / "media").iterdir()} - {"notes.scores.png", "training"}
    takes = read_table(root / "data/evaluated/roll/takes.parquet")
    onset_f1 = dict(zip(takes["take"], takes["onset_f1"], strict=True))
    assert shown == {max(onset_f1, key=onset_f1.__getitem__)}
    assert "These are 1 of 2 test takes, from the best to the worst" in (out / "scores.html").read_text()
    assert "best of 2 by Onset F1 of roll" in (out / "index.html").read_text()


def test_a_family_that_was_not_evaluated_yet_is_no_fault(tmp_path, root):
    shutil.copytree(root / "data", tmp_path / "data")
    shutil.copy(root / "dvc.yaml", tmp_path)
    for stage in ("evaluated", "synthesized", "trained"):
        shutil.rmtree(tmp_path / "data" / stage)
    html = (report(tmp_path) / "index.html").read_text()
    assert "No system has been evaluated yet." in html
    assert (tmp_path / "report" / "media" / "menuet" / "film.mp4").is_file()


def spoil_name(data: Path) -> None:
    path = data / "ingested" / "catalog.json"
    path.write_text(path.read_text().replace('"take": "menuet"', '"take": "../menuet"'))


def drop_roles(data: Path) -> None:
    path = data / "evaluated" / "roll" / "takes.parquet"
    columns = read_table(path)
    write_table(path, {name: values for name, values in columns.items() if name != "role"})


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda data: (data / "ingested" / "catalog.json").unlink(), "catalog.json is missing"),
        (lambda data: (data / "metrics" / "roll.json").write_text("{"), "roll.json is not JSON"),
        (
            lambda data: (data / "trained/roll/curves/roll.csv").write_text("step,train\n0,x\n"),
            "is not a curve",
        ),
        (spoil_name, "names take '../menuet'"),
        (drop_roles, "has no column role: an older version wrote it, run audiate evaluate again"),
    ],
)
def test_damaged_input_is_named(tmp_path: Path, root: Path, spoil: Callable[[Path], Any], message: str):
    shutil.copytree(root / "data", tmp_path / "data")
    shutil.copy(root / "dvc.yaml", tmp_path)
    spoil(tmp_path / "data")
    with pytest.raises(DamagedData, match=message):
        report(tmp_path)


def test_a_performance_of_an_excerpt_is_shown_beside_the_same_excerpt(tmp_path, root, page):
    shutil.copytree(root / "data", tmp_path / "data")
    shutil.copy(root / "dvc.yaml", tmp_path / "dvc.yaml")
    path = tmp_path / "data/synthesized/roll/roll/menuet/audio.flac"
    audio, sample_rate = read_audio(path)
    path.unlink()
    write_flac(path, audio[: round(0.8 * sample_rate)], sample_rate)
    excerpt = report(tmp_path)
    assert "first 0.8 s" not in (page / "scores.html").read_text()
    assert (excerpt / "scores.html").read_text().count("first 0.8 s") == 1
    drawn = {path.relative_to(page): path.read_bytes() for path in page.rglob("*.png")}
    changed = {str(path) for path, data in drawn.items() if (excerpt / path).read_bytes() != data}
    assert {Path(name).name for name in changed} == {
        f"roll.roll.{what}.png" for what in ("notes", "spectrogram", "waveform")
    }


def test_a_family_that_params_no_longer_name_is_not_on_the_page(root):
    out = root / "fewer"
    out.mkdir()
    families = {"baselines": "scores"}
    write_report(out, data=root / "data", dvc_file=root / "dvc.yaml", all_params={"families": families}, params=PARAMS)
    html = (out / "index.html").read_text()
    assert '<span class="system">mean</span>' in html
    assert '<span class="system">roll</span>' not in html
    assert not list(out.rglob("roll.*"))


def test_a_figure_that_a_kind_declares_is_a_column_of_its_table(page):
    html = (page / "index.html").read_text()
    for key in FIGURES:
        assert f'title="{metric(key).meaning}"' in html
    assert "SI-SDR" not in html


def test_every_kind_has_a_room_for_its_part_of_the_page():
    for kind in KINDS:
        assert callable(kind_module(kind, "report").report)


def test_no_kind_is_named_by_the_verb_or_the_frame():
    verb = Path(tasks.report.__file__)
    files = [verb, *(verb.parent / "page").rglob("*.py"), *(verb.parent / "page" / "templates").iterdir()]
    words = "|".join(f"{kind}|{kind.removesuffix('s')}" for kind in KINDS)
    named = {str(path): re.findall(rf"""["'/](?:{words})["'/]""", path.read_text("utf-8")) for path in files}
    assert {path: found for path, found in named.items() if found} == {}


@pytest.mark.parametrize(
    ("modules", "heavy"),
    [
        (("flows.report",), ("torch", "lightning", "matplotlib")),
        (tuple(kind_module_name(kind, "report") for kind in KINDS), ("torch", "lightning")),
    ],
    ids=["stage", "kinds"],
)
def test_the_page_imports_no_more_than_it_needs(modules, heavy):
    program = f"import sys, {', '.join(modules)}; print([name for name in {heavy} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=300)
    assert done.stdout.strip() == "[]"
