"""The features over HTTP go where they are not asked for any more."""

from __future__ import annotations

from tests.e2e.kind_cluster.platform import PLATFORM, Platform


def test_not_asked_for_it_goes_and_the_rest_stays(platform: Platform) -> None:
    before = {name: uid for name, uid in platform.pod_ids().items() if not name.startswith("fti-serve")}
    platform.kind("up", "--json")
    assert not [d for d in platform.get("deployments", PLATFORM) if d["metadata"]["name"] == "fti-serve"]
    assert before.items() <= platform.pod_ids().items()
