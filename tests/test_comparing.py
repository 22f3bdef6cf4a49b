"""Novelty in a run: whatever was asked ahead and in whatever windows, the verdict is that of one comparison in order."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from synthgen.comparing import Comparing
from synthgen.dedup import Near, NoveltyByScript, Seen, nearer

TEXT = st.one_of(
    st.lists(st.sampled_from("red green blue old new".split()), max_size=6).map(" ".join),
    st.lists(st.sampled_from("红绿蓝旧"), max_size=6).map("".join),
)
TASKS = st.lists(st.lists(TEXT, min_size=1, max_size=3), max_size=12)


@settings(max_examples=150, deadline=None, derandomize=True)
@given(TASKS, st.integers(0, 5), st.integers(0, 4), st.booleans())
def test_the_verdict_does_not_hang_on_what_was_asked_ahead(
    tasks: list[list[str]], lag: int, window: int, asked: bool
) -> None:
    straight, seen = Seen(NoveltyByScript()), Seen(NoveltyByScript())
    comparing = Comparing(seen, 0)
    after = [0]
    for index, texts in enumerate(tasks):
        if asked:  # as a growing recipe does, of the state some tasks before
            before = after[max(0, index - lag)]
            found = comparing.asker(index, before)(texts)
            assert found == [straight.nearest(text, before=before) for text in texts]
        if window and index % window == 0:
            ahead = range(index, min(index + window, len(tasks)))
            comparing.foresee([(i, text) for i in ahead for text in tasks[i]])
        for n, text in enumerate(texts):
            near = comparing.nearest(index, text)
            assert near == straight.nearest(text)
            if near is None:
                for one in (straight, seen):
                    one.add_instruction(f"{index}.{n}", text)
        comparing.done(index)
        after.append(len(seen.novelty))


def test_the_better_of_two_parts() -> None:
    first, second = Near("a", 0.9, "rouge-l", "x"), Near("b", 0.9, "rouge-l", "y")
    assert nearer(first, second) is first
    assert nearer(second, None) is nearer(None, second) is second
    assert nearer(first, Near("c", 0.95, "rouge-l")) == Near("c", 0.95, "rouge-l")
    copy = Near("d", 1.0, "exact")
    assert nearer(Near("e", 1.0, "rouge-l"), copy) is nearer(copy, Near("e", 1.0, "rouge-l")) is copy
    assert nearer(None, None) is None


def test_the_nearest_earlier_instructions_are_told_once_a_task() -> None:
    seen = Seen(NoveltyByScript())
    for n, text in enumerate(["name three rivers in france", "bake a loaf of rye bread", "name three lakes in france"]):
        seen.add_instruction(str(n), text)
    comparing = Comparing(seen, 2)
    told = {"name three rivers in france": 0.8, "name three lakes in france": 0.8}
    assert comparing.most_similar("name three hills in france") == told
    seen.add_instruction("3", "name three hills in france")
    assert comparing.most_similar("name three hills in france") == told  # an instance of the same task
    comparing.done(0)
    assert comparing.most_similar("name three hills in france") != told
