from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tasks.clock.fit import ClockFit, Rival, Span, WindowTable


def fit_of(*spans, reference_duration_s=100.0, duration_s=60.0, **facts):
    return ClockFit(
        verdict="locked",
        reason="made up",
        method="sound",
        reference_duration_s=reference_duration_s,
        duration_s=duration_s,
        spans=spans,
        windows=WindowTable.empty(),
        **facts,
    )


def dropped(lost_s):
    """A device that starts 10 s into the reference and loses a block at 30 s of its own time."""
    return fit_of(
        Span(start_s=0.0, end_s=30.0, delay_s=10.0, drift_ppm=0.0),
        Span(start_s=30.0, end_s=60.0, delay_s=10.0 + lost_s, drift_ppm=0.0),
    )


def test_the_reference_is_the_device_plus_delay_and_drift_since_the_spans_start():
    fit = fit_of(Span(start_s=0.0, end_s=60.0, delay_s=12.5, drift_ppm=100.0))
    np.testing.assert_allclose(fit.to_reference([0.0, 10.0, 60.0]), [12.5, 22.501, 72.506], rtol=0, atol=1e-12)
    assert (fit.delay_s, fit.drift_ppm) == (12.5, 100.0)


@given(
    delay_s=st.floats(-100, 100),
    drift_ppm=st.floats(-2000, 2000),
    time_s=st.lists(st.floats(0, 60), min_size=1, max_size=8),
)
def test_there_and_back_is_the_same_moment(delay_s, drift_ppm, time_s):
    fit = fit_of(Span(start_s=0.0, end_s=60.0, delay_s=delay_s, drift_ppm=drift_ppm))
    np.testing.assert_allclose(fit.from_reference(fit.to_reference(time_s)), time_s, rtol=0, atol=1e-9)


@given(delay_s=st.floats(-50, 90), drift_ppm=st.floats(-2000, 2000), lost_s=st.floats(-2, 2))
def test_the_inverse_maps_back_what_the_fit_maps(delay_s, drift_ppm, lost_s):
    seam_delay_s = delay_s + 30 * drift_ppm * 1e-6 + lost_s
    fit = fit_of(
        Span(start_s=0.0, end_s=30.0, delay_s=delay_s, drift_ppm=drift_ppm),
        Span(start_s=30.0, end_s=60.0, delay_s=seam_delay_s, drift_ppm=drift_ppm),
    )
    inverse = fit.inverse()
    assert (inverse.duration_s, inverse.reference_duration_s) == (100.0, 60.0)
    for moment in (np.linspace(0, 27, 10), np.linspace(33, 60, 10)):
        there = fit.to_reference(moment)
        inside = (there > 0) & (there < 100)
        np.testing.assert_allclose(inverse.to_reference(there[inside]), moment[inside], rtol=0, atol=1e-9)
        np.testing.assert_allclose(inverse.from_reference(moment[inside]), there[inside], rtol=0, atol=1e-9)


def test_a_moment_of_a_dropped_block_is_the_seam():
    np.testing.assert_allclose(dropped(2.0).from_reference([39.0, 40.5, 41.9, 43.0]), [29.0, 30.0, 30.0, 31.0])


def test_a_block_that_the_reference_dropped_is_parted_in_its_middle():
    fit = dropped(-2.0)
    np.testing.assert_allclose(fit.from_reference([37.0, 38.9, 39.1, 41.0]), [27.0, 28.9, 31.1, 33.0])
    assert [span.end_s for span in fit.inverse().spans] == [39.0, 100.0]


def test_outer_spans_go_on_beyond_the_ends():
    fit = dropped(2.0)
    np.testing.assert_allclose(fit.to_reference([-5.0, 70.0]), [5.0, 82.0])
    np.testing.assert_allclose(fit.from_reference([5.0, 82.0]), [-5.0, 70.0])


def test_rivals_turn_with_the_fit():
    fit = fit_of(Span(start_s=0.0, end_s=60.0, delay_s=4.0, drift_ppm=0.0), rivals=(Rival(delay_s=6.0, score=0.5),))
    assert fit.inverse().rivals == (Rival(delay_s=-6.0, score=0.5),)


def test_a_step_is_no_drift():
    assert dropped(2.0).drift_ppm == 0.0


def test_without_a_lock_there_is_no_map():
    fit = ClockFit(
        verdict="unrelated",
        reason="other track is silent",
        method="sound",
        reference_duration_s=1.0,
        duration_s=2.0,
        windows=WindowTable.empty(),
    )
    with pytest.raises(ValueError, match="unrelated: other track is silent"):
        fit.to_reference(0.0)
    with pytest.raises(ValueError, match="unrelated"):
        _ = fit.delay_s
    assert (fit.inverse().duration_s, fit.inverse().verdict) == (1.0, "unrelated")


def test_spans_follow_one_another_without_a_gap():
    with pytest.raises(ValueError, match=r"ends at 30\.0 s and the next one begins at 31\.0 s"):
        fit_of(
            Span(start_s=0.0, end_s=30.0, delay_s=0.0, drift_ppm=0.0),
            Span(start_s=31.0, end_s=60.0, delay_s=0.0, drift_ppm=0.0),
        )


@pytest.mark.parametrize("wrong", [{"end_s": 0.0}, {"delay_s": float("nan")}, {"drift_ppm": 2e5}])
def test_a_span_that_no_clock_has_is_refused(wrong):
    with pytest.raises(ValueError, match="no clock has"):
        Span(**({"start_s": 0.0, "end_s": 1.0, "delay_s": 0.0, "drift_ppm": 0.0} | wrong))


def test_a_fit_tells_its_steps_and_the_windows_that_disagree():
    windows = WindowTable(
        time_s=np.array([2.0, 4.0, 6.0, 8.0]),
        residual_ms=np.array([5.0, np.nan, -3.0, 0.1]),
        weight=np.ones(4),
        used=np.array([False, False, False, True]),
    )
    fit = replace(dropped(-0.012), windows=windows)
    assert fit.steps == ((30.0, pytest.approx(-0.012)),)
    assert fit.with_remarks().reason == (
        "made up; the delay steps by -12.0 ms at 30.00 s; 2 windows disagree, by up to 5.0 ms, between 2.0 and 6.0 s"
    )
    assert fit.inverse().steps[0][1] == pytest.approx(0.012)


def test_a_fit_of_one_line_that_all_windows_agree_with_has_no_remarks():
    assert fit_of(Span(start_s=0.0, end_s=60.0, delay_s=1.0, drift_ppm=5.0)).with_remarks().reason == "made up"
