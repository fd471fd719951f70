"""Polls of many viewers at once get the same answer, each by its own right, and one that is new is never missed."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import httpx

from studio.folders import events

from .conftest import Server, Space, make_run, tell


def test_many_viewers_at_once_miss_nothing(server: Server) -> None:
    run = make_run(server.home)
    lock = run.lock
    assert lock.acquire()  # as its supervisor would
    tell(run, 3)
    writer = events.EventWriter(run.events_file)
    try:
        def follow(until: int) -> list[int]:
            steps, since, tag = [], 0, ""
            with httpx.Client(base_url=server.url, timeout=60) as client:
                while not steps or steps[-1] < until:
                    answer = client.get(f"/api/runs/{run.id}/events?since={since}",
                                        headers={"if-none-match": tag} if tag else {})
                    if answer.status_code == 304:
                        continue
                    news = answer.json()["events"]
                    steps += [event["step"] for event in news if event["kind"] == "step"]
                    since, tag = answer.json()["next"], "" if news else answer.headers["etag"]
            return steps

        with ThreadPoolExecutor(12) as crowd:
            waiting = [crowd.submit(follow, 60) for _ in range(12)]
            for step in range(4, 61):
                writer.step(step, 0.1, 1e-5, 0.5, 8, 0.25)
            assert [one.result(60) for one in waiting] == [list(range(1, 61))] * 12
    finally:
        writer.close()
        lock.release()


def test_a_shared_answer_is_no_way_around_access(space: Space) -> None:
    ada, bob = space.sign_in("ada"), space.sign_in("bob")
    run = make_run(space.server.home, owner="hf-id-of-ada", steps=3)
    where = f"/api/runs/{run.id}/events?since=0"
    known = ada.get(where)
    assert known.status_code == 200
    assert bob.get(where).status_code == 404
    assert bob.get(where, headers={"if-none-match": known.headers["etag"]}).status_code == 404
