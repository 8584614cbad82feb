"""Rounds and rows of the benchmark: turns, failures, and what comes back from the JSON file."""

from bench.rows import Result, Take, interleave


def silent(text: str) -> None:
    """Progress is not what is tested."""


def test_candidates_take_turns() -> None:
    done: list[str] = []
    takes = [Take(name, lambda n=name: done.append(n)) for name in "AB"]  # type: ignore[misc]
    interleave(takes, 2, Result(), silent)
    assert done == ["A", "B", "A", "B"]


def test_a_slow_candidate_is_measured_in_every_second_round() -> None:
    done: list[str] = []
    interleave([Take("slow", lambda: done.append("slow"), every=2)], 5, Result(), silent)
    assert len(done) == 3


def test_a_candidate_that_fails_is_left_out_with_the_reason_and_the_others_go_on() -> None:
    done: list[str] = []

    def fail() -> None:
        raise RuntimeError("it fell over")

    result = Result()
    interleave([Take("bad", fail), Take("good", lambda: done.append("good"))], 2, result, silent)
    assert done == ["good", "good"]
    assert result.skipped == {"bad": "failed: it fell over"}


def test_a_result_comes_back_from_json() -> None:
    result = Result(conditions=["quiet"], machine="2 cores")
    result.add("case", "who", "ms", 2.0, "a note")
    result.add("case", "who", "ms", 4.0)
    again = Result.of_json(result.to_json())
    assert again == result
    assert again.rows[0].median == 3.0
