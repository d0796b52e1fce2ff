"""Groups whose pods share a model: what the chart makes of podsPerReplica. What the pods say to each other is in
tests/e2e/test_groups.py."""

import pytest
from conftest import (CHART, MINIMAL, Refused, pod_specs, pod_templates, render, run_helm, settings_of, values_of,
                      with_values)

GROUP = values_of("group")
LARGE, SLOW = "live-worker-large", "live-worker-slow"


@pytest.fixture(scope="module")
def objects():
    return render(GROUP)


def template_of(objects, name):
    return objects["LeaderWorkerSet", name]["spec"]["leaderWorkerTemplate"]


def test_pods_that_share_a_model_go_and_come_together(objects):
    spec = objects["LeaderWorkerSet", LARGE]["spec"]
    assert ("Deployment", LARGE) not in objects and ("Deployment", "live-worker-alone") in objects
    assert spec["replicas"] == 3 and spec["leaderWorkerTemplate"]["size"] == 2
    assert spec["leaderWorkerTemplate"]["restartPolicy"] == "RecreateGroupOnPodRestart"
    # The leader is ready once its followers are: to wait for it before they start would be for ever.
    assert spec["startupPolicy"] == "LeaderCreated"
    assert spec["rolloutStrategy"]["rollingUpdateConfiguration"] == {"maxSurge": 0, "maxUnavailable": 1}


def test_the_programs_learn_their_place_from_the_leader_worker_set(objects):
    settings = settings_of(objects, LARGE)
    assert settings["world_size"] == 2 and settings["tensor_parallel"] == 16
    assert not {"rank", "leader_address"} & set(settings)
    for pod in ("leaderTemplate", "workerTemplate"):
        (container,) = template_of(objects, LARGE)[pod]["spec"]["containers"]
        assert container["args"] == ["--config=/etc/pingti/worker/worker.yaml"]
        assert {e["name"] for e in container["env"]} == {"PINGTI_WORKER_ID"}  # LWS_* are put there
    assert not {"world_size", "group_timeout"} & set(settings_of(objects, "live-worker-alone"))


def test_pods_of_a_group_find_each_other_through_the_service_of_its_name(objects):
    assert objects["LeaderWorkerSet", LARGE]["spec"]["networkConfig"] == {"subdomainPolicy": "Shared"}
    spec = objects["Service", LARGE]["spec"]
    assert spec["clusterIP"] == "None" and spec["publishNotReadyAddresses"] is True


def test_routers_see_the_leader_alone(objects):
    wanted = objects["Service", "live-workers"]["spec"]["selector"]
    seen = {name for name, pod in pod_templates(objects) if wanted.items() <= pod["metadata"]["labels"].items()}
    assert seen == {LARGE, SLOW, "live-worker-alone"}
    ports = {name: [port["name"] for port in spec["containers"][0].get("ports", ())]
             for name, spec in pod_specs(objects) if "-worker-" in name}
    assert ports[LARGE] == ["worker", "admin"] and ports[LARGE + "-followers"] == ["admin"]


def test_the_pods_of_a_group_alone_reach_each_other_on_every_port(objects):
    policy = objects["NetworkPolicy", LARGE]["spec"]
    own = {"podSelector": policy["podSelector"]}
    assert own["podSelector"]["matchLabels"]["pingti/group"] == "large"
    assert policy["ingress"] == [{"from": [own]}]
    (peers, names) = policy["egress"]
    assert peers == {"to": [own]}
    assert {port["port"] for port in names["ports"]} == {53, 5353}
    assert ("NetworkPolicy", "live-worker-alone") not in objects
    assert ("NetworkPolicy", LARGE) not in render(with_values(GROUP, networkPolicy={"enabled": False}))


@pytest.mark.parametrize("away, pods, most", [(1, 2, 1), (2, 2, 3), (1, 4, 1), (3, 4, 9), (2, 1, 2)])
def test_a_budget_counts_copies_of_the_model(away, pods, most):
    """With `most` pods away, at most `away` groups have lost their first pod and with it all others."""
    values = with_values(GROUP, workers__0__podsPerReplica=pods, workers__0__podDisruptionBudget__maxUnavailable=away)
    budget = render(values)["PodDisruptionBudget", LARGE]["spec"]
    assert budget["maxUnavailable"] == most and budget["unhealthyPodEvictionPolicy"] == "AlwaysAllow"

    def may_evict(groups_away):
        return groups_away * pods < most

    assert may_evict(away - 1) and not may_evict(away)


def test_every_pod_has_its_part_of_the_gpus_and_shared_memory_for_them(objects):
    for pod in ("leaderTemplate", "workerTemplate"):
        spec = template_of(objects, LARGE)[pod]["spec"]
        (container,) = spec["containers"]
        assert container["resources"]["limits"] == {"nvidia.com/gpu": 8}
        assert {"name": "shm", "mountPath": "/dev/shm"} in container["volumeMounts"]
        assert {"name": "shm", "emptyDir": {"medium": "Memory", "sizeLimit": "1Gi"}} in spec["volumes"]


def test_a_group_ends_in_one_time_and_waits_for_its_slowest_download(objects):
    template = template_of(objects, SLOW)
    pods = [template[pod]["spec"] for pod in ("leaderTemplate", "workerTemplate")]
    assert {pod["terminationGracePeriodSeconds"] for pod in pods} == {40}
    assert [pod["initContainers"][0]["name"] for pod in pods] == ["download"] * 2
    # 1800 s to fetch, 600 s to load: one pod may have to wait for another's fetching.
    assert settings_of(objects, SLOW)["group_timeout"] == "2400s"
    for pod in pods:
        probe = pod["containers"][0]["startupProbe"]
        assert probe["periodSeconds"] * probe["failureThreshold"] >= 2400


def test_a_group_scales_in_copies_of_the_model(objects):
    spec = objects["ScaledObject", SLOW]["spec"]
    assert spec["scaleTargetRef"] == {"apiVersion": "leaderworkerset.x-k8s.io/v1", "kind": "LeaderWorkerSet",
                                      "name": SLOW}
    for trigger in spec["triggers"]:  # a follower has no sequences
        assert f'pod=~"{SLOW}-[0-9]+"' in trigger["metadata"]["query"]


def test_a_settings_change_replaces_leaders_and_followers(objects):
    changed = render(with_values(GROUP, workers__0__config={"max_batch_tokens": 777}))
    for pod in ("leaderTemplate", "workerTemplate"):
        assert template_of(objects, LARGE)[pod] != template_of(changed, LARGE)[pod]
        assert template_of(objects, SLOW)[pod] == template_of(changed, SLOW)[pod]


@pytest.mark.parametrize("change, complaint", [
    ({"workers__0__podsPerReplica": 3},
     r"workers\[large\]: tensorParallel is 16; expected a multiple of podsPerReplica, 3"),
    ({"workers__0__pod": {"resources": {"limits": {"nvidia.com/gpu": 16}}}},
     "limits has 16 devices of nvidia.com, but a worker uses tensorParallel of them, 8 in each of podsPerReplica"),
    ({"workers__0__name": "w" * 30, "fullnameOverride": "f" * 20}, "has 58 characters: expected at most 46"),
    ({"workers__0__pod": {"resources": {"limits": {"nvidia.com/mig-3g.40gb": 8}}}},
     r"workers\[large\].pod.resources: limits has nvidia.com/mig-3g.40gb, but tensorParallel is 16: MIG"),
])
def test_a_group_that_cannot_work_is_refused(change, complaint):
    with pytest.raises(Refused, match=complaint):
        render(with_values(GROUP, **change))


def test_mig_instances_of_one_pod_share_no_model_either():
    values = with_values(MINIMAL, workers__0__device="cuda", workers__0__tensorParallel=2,
                         workers__0__pod={"resources": {"limits": {"nvidia.com/mig-1g.10gb": 2}}})
    with pytest.raises(Refused, match="limits has nvidia.com/mig-1g.10gb, but tensorParallel is 2: MIG instances"):
        render(values)


def test_notes_show_a_leaders_logs():
    done = run_helm("install", "demo", CHART, "-n", "prod", "-f", CHART / "ci/group-values.yaml", "--dry-run=client")
    assert done.returncode == 0, done.stderr
    assert f"logs pod/{LARGE}-0 -f" in done.stdout and "logs deployment/live-worker-alone -f" in done.stdout
