"""The agent of a node: repeated starts of Ray, and a node without leftovers afterwards."""

import json
import os

import pytest

from astro_dist.workers import ray_agent as agent


@pytest.mark.parametrize("answers", [[True], [False, False, True]])
def test_a_node_that_does_not_start_is_tried_again_and_leaves_nothing(monkeypatch, answers):
    folders, left = [], list(answers)

    def live(order, environment, folder):
        assert all(not os.path.exists(before) for before in folders)
        folders.append(folder)
        assert os.path.isdir(folder)
        return left.pop(0)

    monkeypatch.setattr(agent, "_read_line", lambda: json.dumps({"token": "t" * 8}))
    monkeypatch.setattr(agent, "_live", live)
    monkeypatch.setattr(agent.signal, "signal", lambda number, handler: handler)
    agent.main()
    assert len(set(folders)) == len(answers)
    assert not any(map(os.path.exists, folders))
