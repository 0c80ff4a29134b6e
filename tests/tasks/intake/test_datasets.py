"""Folders of known data sets, by structure and names alone: what each becomes. No file here holds anything."""

import pytest

from tasks.instruments.orchestra import instrument_code
from tasks.intake.arrivals import Arrival, find_arrivals
from tasks.intake.describe import parse_take_file
from tasks.intake.folder import FolderSize
from tasks.intake.layouts import ensemble_file

SIZE = FolderSize(score=10_000, media=10_000, devices=64)


def put(root, *names, text="x"):
    for name in names:
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)


def found(root, told=None):
    """Return take -> names of its files, and of a refused one its kind."""
    lines = [] if told is None else told
    rows = list(find_arrivals([root], SIZE, tell=lines.append))
    return {
        row.name if isinstance(row, Arrival) else row.take: sorted([*row.files, *row.made])
        if isinstance(row, Arrival)
        else row.kind
        for row in rows
    }


def test_bach10(tmp_path):
    name = "01-AchGottundHerr"
    words = ("violin", "clarinet", "saxphone", "bassoon")
    put(tmp_path, *(f"{name}/{name}-{word}.wav" for word in words))
    put(tmp_path, *(f"{name}/{name}{end}" for end in (".wav", ".mid", ".txt", "-GTF0s.mat", "-GTNotes.mat")))
    assert found(tmp_path / name) == found(tmp_path) == {
        name: ["mix.wav", "score.mid", *sorted(f"stem_{n}_{word}.wav" for n, word in enumerate(words, start=1))]
    }  # fmt: skip


def test_musdb18_hq(tmp_path):
    put(tmp_path, *(f"train/A & B - Song/{name}.wav" for name in ("mixture", "drums", "bass", "other", "vocals")))
    put(tmp_path, *(f"test/C - D/{name}.wav" for name in ("mixture", "drums", "bass", "other", "vocals")))
    put(tmp_path, "coded/E - F.stem.mp4", "coded/G.stem.mp4")
    files = ["mix.wav", "stem_bass.wav", "stem_drums.wav", "stem_other.wav", "stem_vocals.wav"]
    assert found(tmp_path) == {"A_B_-_Song": files, "C_-_D": files, "E_-_F": ["E - F.stem.mp4"], "G": ["G.stem.mp4"]}


def test_medleydb(tmp_path):
    name = "Artist_Title"
    put(tmp_path, f"Audio/{name}/{name}_MIX.wav")
    put(tmp_path, *(f"Audio/{name}/{name}_STEMS/{name}_STEM_0{n}.wav" for n in (1, 2, 3)))
    put(tmp_path, *(f"Audio/{name}/{name}_RAW/{name}_RAW_0{n}_01.wav" for n in (1, 2)))
    metadata = "has_bleed: 'no'\nstems:\n  S01: {instrument: acoustic guitar}\n  S02: {instrument: cello}\n"
    put(tmp_path, f"Audio/{name}/{name}_METADATA.yaml", text=metadata)
    assert found(tmp_path) == {name: ["mix.wav", "stem_1_acoustic_guitar.wav", "stem_2_cello.wav", "stem_3_other.wav"]}


def test_slakh(tmp_path):
    for track in ("train/Track00001", "validation/Track01501"):
        put(tmp_path, *(f"{track}/{name}" for name in ("mix.flac", "all_src.mid", "MIDI/S00.mid")))
        put(tmp_path, *(f"{track}/stems/S0{n}.flac" for n in (0, 1, 3)))
        stems = {"S00": "{inst_class: Bass, midi_program_name: Fretless Bass, is_drum: false}"}
        stems |= {"S01": "{inst_class: Drums, midi_program_name: Drums, is_drum: true}", "S03": "{inst_class: Piano}"}
        put(tmp_path, f"{track}/metadata.yaml", text="stems:\n" + "".join(f"  {k}: {v}\n" for k, v in stems.items()))
    files = ["mix.flac", "stem_1_fretlessbass.flac", "stem_2_drums.flac", "stem_3_piano.flac"]
    assert found(tmp_path) == {"Track00001": files, "Track01501": files}


@pytest.mark.parametrize(
    ("words", "code"),
    [
        *(("Electric Bass (finger)", "electricbass-finger"), ("Bass", "bassguitar"), ("bass drum", "bassdrum")),
        *(("double bass", "db"), ("Contrabass", "db"), ("bass clarinet", "cl"), ("bassoon", "bn"), ("cello", "vc")),
    ],
)
def test_instruments_in_words_become_the_orchestras_only_where_they_are(tmp_path, words, code):
    put(tmp_path, "Track00001/mix.flac", "Track00001/stems/S00.flac")
    put(tmp_path, "Track00001/metadata.yaml", text=f"stems: {{S00: {{midi_program_name: {words}}}}}\n")
    (take,) = find_arrivals([tmp_path], SIZE)
    (stem,) = [ensemble_file(name) for name in take.files if name.startswith("stem")]
    assert instrument_code(stem.instrument) == code


def test_metadata_that_cannot_be_read_are_that_folders_row(tmp_path):
    for track, text in (("Track00001", "stems: [*x]"), ("Track00002", "stems: {S00: {inst_class: Piano}}")):
        put(tmp_path, f"{track}/mix.flac", f"{track}/stems/S00.flac")
        put(tmp_path, f"{track}/metadata.yaml", text=text)
    assert found(tmp_path) == {"Track00001": "BAD_METADATA", "Track00002": ["mix.flac", "stem_1_piano.flac"]}


def test_music_solos_are_a_take_a_video_of_one_player(tmp_path):
    put(tmp_path, "MUSIC/solo/cello/-abcdefghi_.mp4", "MUSIC/solo/acoustic_guitar/abcdefghijk.mp4")
    assert found(tmp_path) == {
        "cello_-abcdefghi_": ["solo_cello_-abcdefghi_.mp4", "take.yaml"],
        "acoustic_guitar_abcdefghijk": ["solo_acoustic_guitar_abcdefghijk.mp4", "take.yaml"],
    }
    (guitar,) = [row for row in find_arrivals([tmp_path], SIZE) if "guitar" in row.name]
    (player,) = parse_take_file(guitar.made["take.yaml"], name="take.yaml").players
    assert (player.instrument, player.stem, player.camera) == ("acoustic guitar", *[next(iter(guitar.files))[:-4]] * 2)


def test_maestro(tmp_path):
    name = "MIDI-Unprocessed_SMF_02_R1_2004_01-05_ORIG_MID--AUDIO_02_R1_2004_05_Track05_wav"
    put(tmp_path, f"2004/{name}.midi", f"2004/{name}.wav", "maestro-v3.0.0.csv", "maestro-v3.0.0.json")
    told = []
    assert found(tmp_path, told) == {name: [f"{name}.midi", "mic_main.wav", "take.yaml"]}
    assert [line.partition(": ")[2] for line in told] == [
        "maestro-v3.0.0.csv, maestro-v3.0.0.json left out: no recording"
    ]
    (take,) = find_arrivals([tmp_path / "2004"], SIZE)
    described = parse_take_file(take.made["take.yaml"], name="take.yaml")
    assert (described.instrument.name, described.notes) == ("piano", "recorded")


def test_urmp_is_read_as_it_stands(tmp_path):
    names = ["AuMix_01_J_vn_vc.wav", "AuSep_1_vn_01_J.wav", "AuSep_2_vc_01_J.wav", "Vid_01_J_vn_vc.mp4", "Sco_01_J.mid"]
    put(tmp_path, *(f"01_J_vn_vc/{name}" for name in (*names, "Notes_1_vn_01_J.txt", "Sco_01_J.pdf")))
    assert found(tmp_path) == {"01_J_vn_vc": sorted([*names, "Notes_1_vn_01_J.txt"])}


@pytest.mark.parametrize("suffix", [".wav", ".flac", ".mp3", ".WAV", ".mp4"])
@pytest.mark.parametrize("midi", [".mid", ".midi", ".MID", ".kar"])
def test_a_recording_beside_a_midi_file_of_its_name_is_one_take(tmp_path, suffix, midi):
    put(tmp_path, f"in/One{suffix}", f"in/One{midi}", f"in/Two{suffix}", f"in/Two{midi}", "in/Three.mid")
    device = "cam_main" if suffix == ".mp4" else "mic_main"
    one, two = (sorted([f"{device}{suffix}", f"{name}{midi}"]) for name in ("One", "Two"))
    assert found(tmp_path / "in") == found(tmp_path) == {"One": one, "Two": two, "Three": ["Three.mid"]}


def test_names_that_nearly_match_are_takes_of_their_own(tmp_path):
    put(tmp_path, "One.wav", "One_b.mid")
    assert found(tmp_path) == {"One": ["mic_main.wav"], "One_b": ["One_b.mid"]}


def test_stems_in_an_unknown_layout_are_told_the_names_that_would_work(tmp_path):
    put(tmp_path, "in/song/flute track.wav", "in/song/oboe track.wav")
    (row,) = find_arrivals([tmp_path / "in"], SIZE)
    assert row.kind == "NOT_A_TAKE"
    assert "stem_1_CODE.wav, stem_2_CODE.wav" in row.reason
    assert "mix.wav" in row.reason


@pytest.mark.parametrize(
    "names",
    [("violin.wav", "cello.wav", "piano.wav"), ("01_Drums.flac", "02 Bass.flac", "Vox.flac"), ("mix.mp3", "oboe.mp3")],
)
def test_a_folder_whose_recordings_are_called_after_instruments_is_one_of_stems(tmp_path, names):
    put(tmp_path, *(f"song/{name}" for name in names))
    (row,) = find_arrivals([tmp_path / "song"], SIZE)
    assert row.kind == "NOT_A_TAKE"
    assert "stem_1_CODE.wav" in row.reason


def test_recordings_that_are_not_all_called_after_instruments_are_takes_of_their_own(tmp_path):
    put(tmp_path, "cello.wav", "monday.wav")
    assert found(tmp_path) == {"cello": ["mic_main.wav"], "monday": ["mic_main.wav"]}


def test_documents_beside_takes_are_one_line_and_a_document_alone_is_refused(tmp_path):
    put(tmp_path, "in/a.mid", "in/a.wav", "in/README.md", "in/LICENSE", "in/setup.JPG", "in/list.csv")
    told = []
    assert found(tmp_path / "in", told) == {"a": ["a.mid", "mic_main.wav"]}
    assert told == [f"{tmp_path}/in: LICENSE, README.md, list.csv and 1 more left out: no recording"]
    put(tmp_path, "other/LICENSE")
    assert found(tmp_path / "other" / "LICENSE") == {"LICENSE": "NOT_A_TAKE"}


def test_what_has_a_devices_name_beside_its_recording_and_is_none_is_left_out(tmp_path):
    """An editor's file may come first by its name: it does not take the device's place."""
    put(tmp_path, *(f"in/take/{name}" for name in ("cam_a.AAE", "cam_a.json", "CAM_A.MP4", "mic_b.bak", "mic_b.wav")))
    told = []
    assert found(tmp_path / "in", told) == {"take": ["CAM_A.MP4", "mic_b.wav"]}
    assert told == [f"{tmp_path}/in/take: cam_a.AAE, cam_a.json, mic_b.bak left out: of cameras and systems"]
    put(tmp_path, "alone/take/cam_a.json")
    (row,) = find_arrivals([tmp_path / "alone"], SIZE)
    assert sorted(row.files) == ["cam_a.json"]  # which is then refused by its bytes


def test_what_cameras_and_systems_leave_is_one_line_a_folder(tmp_path):
    odd = ("Thumbs.db", "desktop.ini", "GX010001.THM", "GX010001.LRV", "cam_a.SRT", "C0001M01.XML", "__MACOSX/x")
    put(tmp_path, *(f"in/take/{name}" for name in ("cam_a.mp4", "mic_b.wav", *odd)))
    told = []
    assert found(tmp_path / "in", told) == {"take": ["cam_a.mp4", "mic_b.wav"]}
    assert told == [
        f"{tmp_path}/in/take: C0001M01.XML, GX010001.LRV, GX010001.THM and 4 more left out: of cameras and systems"
    ]


def test_capitals_make_no_difference(tmp_path):
    put(tmp_path, "in/take/CAM_TOP.MP4", "in/take/Mic_Room.WAV", "in/take/TAKE.YAML", "in/take/X.MID")
    assert found(tmp_path) == {"take": ["CAM_TOP.MP4", "Mic_Room.WAV", "X.MID", "take.yaml"]}
