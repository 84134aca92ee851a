"""What the Job controller makes of a Job."""

from __future__ import annotations

from typing import Any

from tests.real_kubernetes.conformance import Ask
from tests.real_kubernetes.scenarios.table import (
    IDENTITY,
    JOBS,
    PODS,
    conditions,
    end,
    job,
    number_of_pods,
    pods_of,
    scenario,
    status_of,
)


@scenario
def a_job_gets_its_defaults(ask: Ask) -> None:
    name = ask.name("job")
    paths = [f"spec.{key}" for key in ("parallelism", "completions", "backoffLimit")]
    created = ask("POST", JOBS, job(name), look_at=[*IDENTITY, *paths, "spec.template.spec.restartPolicy"])
    uid = created["metadata.uid"]
    ask.note("selector", created["spec.selector.matchLabels"] is not None)
    labels = created["spec.template.metadata.labels"]
    ask.note("its labels", [labels["job-name"] == name, labels["controller-uid"] == uid])
    ask("POST", JOBS, job(name))
    ask("GET", f"{JOBS}/{name}/status", look_at=["metadata.name"], pretty="True")
    ask.eventually("active", lambda: ask.quietly("GET", f"{JOBS}/{name}")["status.active"], 1)
    (made,) = pods_of(ask, name)
    owner = made["metadata"]["ownerReferences"][0]
    ask.note("owner", [owner["kind"], owner["name"], owner["uid"] == uid, owner["controller"]])
    ask.note("name", made["metadata"]["name"].startswith(f"{name}-"))
    ask.note("label", made["metadata"]["labels"]["job-name"])
    ask.quietly("DELETE", f"{JOBS}/{name}", propagationPolicy="Background")


@scenario
def an_invalid_job_is_refused(ask: Ask) -> None:
    always = job("always")
    always["spec"]["template"]["spec"]["restartPolicy"] = "Always"
    ask("POST", JOBS, always)
    unsaid = job("unsaid")
    del unsaid["spec"]["template"]["spec"]["restartPolicy"]
    ask("POST", JOBS, unsaid)
    for key, value in (
        ("parallelism", -1),
        ("completions", -1),
        ("backoffLimit", -1),
        ("activeDeadlineSeconds", -1),
        ("ttlSecondsAfterFinished", -1),
        ("completions", "two"),
    ):
        ask("POST", JOBS, job(f"wrong-{key.lower()}", **{key: value}))
    ask("POST", JOBS, job("selector", selector={"matchLabels": {"a": "b"}}))
    ask("POST", JOBS, {**job("nothing"), "spec": {}})
    ask("POST", JOBS, job("Upper_Case"))
    ask("POST", JOBS, job("x" * 64))


@scenario
def of_a_job_little_may_change(ask: Ask) -> None:
    name = ask.name("fixed")
    path = f"{JOBS}/{name}"
    ask.quietly("POST", JOBS, job(name, completions=2))
    ask.patch(path, {"spec": {"parallelism": 2}}, look_at=["spec.parallelism"])
    ask.patch(path, {"spec": {"completions": 3}})
    ask.patch(path, {"spec": {"template": {"spec": {"hostname": "other"}}}})
    ask.patch(path, {"metadata": {"labels": {"a": "b"}}}, look_at=["metadata.labels.a", "metadata.labels.job-name"])
    ask.eventually("pods", number_of_pods(ask, name), 2)
    ask.quietly("DELETE", path, propagationPolicy="Background")


@scenario
def a_job_ends_with_its_pods(ask: Ask) -> None:
    name = ask.name("succeeding")
    ask.quietly("POST", JOBS, job(name, completions=2, parallelism=2))
    ask.eventually("pods", number_of_pods(ask, name), 2)
    for one in pods_of(ask, name):
        end(ask, one, "Succeeded")
    ask.eventually("conditions", lambda: conditions(ask, name), [["Complete", "True", None]])
    ask(
        "GET",
        f"{JOBS}/{name}",
        look_at=[f"status.{key}" for key in ("succeeded", "active", "failed", "completionTime")],
    )
    ask.note("pods", [one["status"]["phase"] for one in pods_of(ask, name)])
    ask.quietly("DELETE", f"{JOBS}/{name}", propagationPolicy="Background")


@scenario
def a_job_fails_with_one_pod_and_the_others_are_deleted(ask: Ask) -> None:
    name = ask.name("failing")
    ask.quietly("POST", JOBS, job(name, completions=3, parallelism=3, backoffLimit=0))
    ask.eventually("pods", number_of_pods(ask, name), 3)
    end(ask, pods_of(ask, name)[0], "Failed")
    ask.eventually("conditions", lambda: conditions(ask, name), [["Failed", "True", "BackoffLimitExceeded"]])
    ask.eventually("left", lambda: [one["status"]["phase"] for one in pods_of(ask, name)], ["Failed"])
    ask.note("completed", ask.quietly("GET", f"{JOBS}/{name}")["status.completionTime"])
    ask.quietly("DELETE", f"{JOBS}/{name}", propagationPolicy="Background")


@scenario
def a_job_makes_another_pod_within_its_limit(ask: Ask) -> None:
    name = ask.name("retrying")
    ask.quietly("POST", JOBS, job(name, backoffLimit=1))
    ask.eventually("pods", number_of_pods(ask, name), 1)
    end(ask, pods_of(ask, name)[0], "Failed")
    phases = ["Failed", "Pending"]
    ask.eventually("phases", lambda: sorted(one["status"]["phase"] for one in pods_of(ask, name)), phases)
    ask.note("conditions", conditions(ask, name))
    ask.quietly("DELETE", f"{JOBS}/{name}", propagationPolicy="Background")


@scenario
def a_job_fails_at_its_deadline(ask: Ask) -> None:
    name = ask.name("late")
    ask.quietly("POST", JOBS, job(name, activeDeadlineSeconds=1))
    ask.eventually("conditions", lambda: conditions(ask, name), [["Failed", "True", "DeadlineExceeded"]])
    ask.eventually("pods", lambda: pods_of(ask, name), [])
    ask.quietly("DELETE", f"{JOBS}/{name}", propagationPolicy="Background")


@scenario
def a_finished_job_goes_after_its_time(ask: Ask) -> None:
    name = ask.name("brief")
    look_at = ["spec.ttlSecondsAfterFinished"]
    ask("POST", JOBS, job(name, ttlSecondsAfterFinished=0), look_at=look_at)
    ask.eventually("pods", number_of_pods(ask, name), 1)
    end(ask, pods_of(ask, name)[0], "Succeeded")
    ask.eventually("job", status_of(ask, f"{JOBS}/{name}"), 404)
    ask.eventually("pods", lambda: pods_of(ask, name), [])


@scenario
def the_pods_of_a_deleted_job_go_or_stay(ask: Ask) -> None:
    for policy, left in (("Background", 0), ("Foreground", 0), ("Orphan", 1), ("", 1)):
        name = ask.name(f"deleted-{policy.lower() or 'unsaid'}")
        ask.quietly("POST", JOBS, job(name))
        ask.eventually("pods", number_of_pods(ask, name), 1)
        parameters: dict[str, Any] = {"propagationPolicy": policy} if policy else {}
        ask.note("deleted", ask.quietly("DELETE", f"{JOBS}/{name}", **parameters).status)
        ask.eventually("job", status_of(ask, f"{JOBS}/{name}"), 404)
        ask.eventually("pods", number_of_pods(ask, name), left)
        ask.note("owners", [one["metadata"].get("ownerReferences") or None for one in pods_of(ask, name)])
        ask.quietly("DELETE", PODS, labelSelector=f"of={name}")
