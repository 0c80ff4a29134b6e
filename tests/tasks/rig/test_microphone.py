import numpy as np
import pytest

from tasks.rig.clocks import DeviceClock, Drop, Wander
from tasks.rig.microphone import GainControl, Response, Room, read_at, record, room_response

RATE = 48_000
FLAT = {"room": None, "response": None, "gain_control": None, "noise_db": None}


def clock(start_s=0.0, drift_ppm=0.0, wander=None, dropped=()):
    return DeviceClock(start_s=start_s, drift_ppm=drift_ppm, wander=wander, dropped=dropped)


def sines(time_s, frequencies_hz=(211.0, 1499.0, 5003.0)):
    return sum(np.sin(2 * np.pi * hz * time_s) for hz in frequencies_hz) * 0.2


def delay_of(recorded, expected, rate, frequency_hz):
    """Delay between two sounds of one frequency, by the phase of their products with it."""
    turn = np.exp(-2j * np.pi * frequency_hz * np.arange(len(recorded)) / rate) * np.hanning(len(recorded))
    return np.angle((expected * turn).sum() / (recorded * turn).sum()) / (2 * np.pi * frequency_hz)


def room(**changed):
    values = {
        "size_m": (6.0, 5.0, 3.0),
        "t60_s": 0.4,
        "source_m": (2.0, 2.0, 1.2),
        "microphone_m": (3.0, 2.5, 1.5),
        "max_order": 8,
    }
    return Room(**(values | changed))


@pytest.mark.parametrize("rate", [16_000, 44_100, 48_000, 96_000])
def test_samples_between_samples_are_right_to_a_ten_thousandth(rate):
    rng = np.random.default_rng(0)
    moments = np.sort(rng.uniform(0.2, 0.8, 5000))
    recorded = read_at(sines(np.arange(RATE) / RATE).astype(np.float32), RATE, moments, rate=rate)
    np.testing.assert_allclose(recorded, sines(moments), rtol=0, atol=1e-4)


def test_what_is_above_half_the_devices_rate_is_not_recorded():
    tone = np.sin(2 * np.pi * 11_000 * np.arange(RATE) / RATE).astype(np.float32)
    recorded = read_at(tone, RATE, np.arange(3200, 12_800) / 16_000, rate=16_000)
    assert np.abs(recorded).max() < 1e-3


@pytest.mark.parametrize(
    "device",
    [
        clock(0.25),
        clock(-0.3, 1200.0),
        clock(0.1, -400.0, Wander(amplitude_s=0.001, period_s=1.0)),
        clock(0.1, 30.0, None, (Drop(at_s=0.5, length_s=0.2),)),
    ],
)
def test_a_recording_holds_what_the_world_held_at_each_samples_moment(device):
    world = sines(np.arange(3 * RATE) / RATE).astype(np.float32)
    recorded = record(world, RATE, duration_s=1.5, clock=device, rate=44_100, rng=np.random.default_rng(0), **FLAT)
    moments = device.to_world(np.arange(len(recorded)) / 44_100)
    inside = moments > 0.05  # the world begins with a click
    assert len(recorded) == round(1.5 * 44_100)
    np.testing.assert_allclose(recorded[inside], sines(moments[inside]), rtol=0, atol=1e-4)


@pytest.mark.parametrize("frequency_hz", [300.0, 2000.0, 6000.0])
def test_the_clock_is_right_to_a_tenth_of_a_microsecond(frequency_hz):
    world = (0.5 * np.sin(2 * np.pi * frequency_hz * np.arange(3 * RATE) / RATE)).astype(np.float32)
    device = clock(0.5 + 1 / 3e5)
    recorded = record(world, RATE, duration_s=2.0, clock=device, rate=44_100, rng=np.random.default_rng(0), **FLAT)
    expected = np.sin(2 * np.pi * frequency_hz * device.to_world(np.arange(len(recorded)) / 44_100))
    assert abs(delay_of(recorded, expected, 44_100, frequency_hz)) < 1e-7


def test_the_direct_path_arrives_when_geometry_says():
    response = room_response(room(max_order=0), sample_rate=RATE)
    distance_m = np.linalg.norm(np.subtract((3.0, 2.5, 1.5), (2.0, 2.0, 1.2)))
    assert response.acoustic_delay_s == pytest.approx(distance_m / 343.0)
    spectrum = np.fft.rfft(response.impulse, 8192)
    hz = np.fft.rfftfreq(8192, 1 / RATE)
    band = (hz > 500) & (hz < 8000)
    arrival_s = -np.polyfit(hz[band], np.unwrap(np.angle(spectrum))[band], 1)[0] / (2 * np.pi)
    assert arrival_s == pytest.approx(response.direct_s, abs=1e-6)
    assert np.abs(spectrum[band]).mean() == pytest.approx(1.0, abs=0.02)  # a direct path of peak 1


def test_the_time_of_flight_is_taken_out_of_the_recording():
    rng = np.random.default_rng(1)
    world = rng.standard_normal(2 * RATE).astype(np.float32) * 0.1
    direct = room_response(room(max_order=0), sample_rate=RATE)
    asked = {"duration_s": 1.0, "clock": clock(0.5), "rate": RATE, "rng": rng}
    recorded = record(world, RATE, **asked, **(FLAT | {"room": direct}))
    dry = record(world, RATE, **asked, **FLAT)
    at_lag = np.fft.irfft(np.fft.rfft(recorded) * np.conj(np.fft.rfft(dry)))
    assert int(np.argmax(at_lag)) == 0
    assert at_lag[1] == pytest.approx(at_lag[-1], rel=0.05)  # and not half a sample beside


def test_a_nearer_microphone_hears_less_of_the_room():
    far, near = (room_response(room(microphone_m=(x, 2.0, 1.2)), sample_rate=RATE) for x in (5.0, 2.4))
    assert near.direct_to_reverberant_db > far.direct_to_reverberant_db + 10


@pytest.mark.parametrize(
    ("wrong", "message"),
    [({"microphone_m": (9.0, 1.0, 1.0)}, "not in a room"), ({"microphone_m": (2.0, 2.0, 1.2)}, "m apart")],
)
def test_a_place_that_cannot_be_is_refused(wrong, message):
    with pytest.raises(ValueError, match=message):
        room_response(room(**wrong), sample_rate=RATE)


@pytest.mark.parametrize("phase", ["zero", "minimum"])
def test_a_response_falls_outside_its_band(phase):
    rng = np.random.default_rng(2)
    world = rng.standard_normal(2 * RATE).astype(np.float32) * 0.1
    response = Response(low_hz=200.0, high_hz=4000.0, bumps=((1000.0, 6.0, 0.5),), phase=phase)
    asked = {"duration_s": 1.5, "clock": clock(0.2), "rate": RATE, "rng": rng}
    recorded = record(world, RATE, **asked, **(FLAT | {"response": response}))
    dry = record(world, RATE, **asked, **FLAT)
    gain = np.abs(np.fft.rfft(recorded)) / np.abs(np.fft.rfft(dry))
    hz = np.fft.rfftfreq(len(recorded), 1 / RATE)
    levels_db = [20 * np.log10(np.median(gain[np.abs(hz / middle - 1) < 0.05])) for middle in (100, 500, 1000, 8000)]
    np.testing.assert_allclose(levels_db, [-12.3, 0.0, 6.0, -24.1], atol=2.5)


def test_a_zero_phase_response_moves_nothing():
    tone = (0.5 * np.sin(2 * np.pi * 3000 * np.arange(2 * RATE) / RATE)).astype(np.float32)
    response = Response(low_hz=200.0, high_hz=4000.0, bumps=((2500.0, 6.0, 0.5),), phase="zero")
    asked = {"duration_s": 1.5, "clock": clock(0.2), "rate": RATE, "rng": np.random.default_rng(0)}
    recorded = record(tone, RATE, **asked, **(FLAT | {"response": response}))
    dry = record(tone, RATE, **asked, **FLAT)
    assert abs(delay_of(recorded, dry, RATE, 3000.0)) < 1e-7


def test_noise_has_the_level_that_was_asked_for_and_follows_its_generator():
    world = (0.3 * np.sin(2 * np.pi * 500 * np.arange(2 * RATE) / RATE)).astype(np.float32)
    asked = {"duration_s": 1.5, "clock": clock(0.2), "rate": RATE}
    noisy, same, other = (
        record(world, RATE, **asked, rng=np.random.default_rng(seed), **(FLAT | {"noise_db": -10.0}))
        for seed in (1, 1, 2)
    )
    clean = record(world, RATE, **asked, rng=np.random.default_rng(1), **FLAT)
    assert noisy.tobytes() == same.tobytes() != other.tobytes()
    assert 20 * np.log10((noisy - clean).std() / clean.std()) == pytest.approx(-10.0, abs=0.1)


def test_a_gain_control_brings_soft_and_loud_nearer():
    loudness = np.repeat([0.02, 0.5], RATE)
    world = (loudness * np.sin(2 * np.pi * 500 * np.arange(2 * RATE) / RATE)).astype(np.float32)
    control = GainControl(target_db=-20.0, max_gain_db=20.0, attack_s=0.02, release_s=0.1)
    asked = {"duration_s": 2.0, "clock": clock(), "rate": RATE, "rng": np.random.default_rng(0)}
    recorded = record(world, RATE, **asked, **(FLAT | {"gain_control": control}))
    soft, loud = recorded[RATE // 2 : RATE - 4800].std(), recorded[-RATE // 2 :].std()
    assert loud / soft < 1.2
