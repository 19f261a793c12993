"""How quick a preset was seen to be."""

from serve_app.facts import Speed
from serve_app.transcript import Transcript


def test_the_real_time_factor_is_work_over_audio_of_all_files() -> None:
    speed = Speed()
    assert (speed.files, speed.real_time_factor) == (0, None)
    speed.add(Transcript("en", 10.0, timings={"total": 2.0}))
    speed.add(Transcript("en", 30.0, timings={"total": 2.0}))
    assert (speed.files, speed.real_time_factor) == (2, 0.1)


def test_of_a_file_of_which_clips_were_heard_only_these_count() -> None:
    speed = Speed()
    speed.add(Transcript("en", 3600.0, timings={"total": 2.0}, clipped=20.0))
    assert speed.real_time_factor == 0.1


def test_files_without_a_sample_count_for_nothing() -> None:
    speed = Speed()
    speed.add(Transcript("en", 0.0, timings={"total": 0.1}))
    assert speed.real_time_factor is None
