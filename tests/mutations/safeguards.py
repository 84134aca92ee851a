"""
The safeguards, each with the change that removes it and the tests that must then fail.

A list only, so that it can be read as one; ``mutate.py`` applies it to copies of the package. Whoever moves a
safeguard moves its entry: each old text must occur exactly once in its module.
"""

from __future__ import annotations

from dataclasses import dataclass

KNOWN = "tests/histories/test_known_histories.py"
CREATE = "tests/lifecycle/test_create.py"
ADOPTION = "tests/lifecycle/test_adoption.py"
DELETE = "tests/lifecycle/test_delete.py"
WAITS = "tests/waiting/test_waits.py"
LOOK = "tests/waiting/test_look.py"
ORPHANS = "tests/lifecycle/test_orphans.py"
NAME = "tests/lifecycle/test_name.py"
RETRY = "tests/api/test_retry.py"
TCLOUD = "tests/api/dialects/test_tcloud.py"
ROUNDS = "tests/waiting/test_rounds.py"
ANSWER = "tests/api/test_answer.py"
DIALECT_TESTS = "tests/api/dialects/test_dialects.py"
SHARED_POLL = "tests/waiting/test_shared_poll.py"
LOOKING = "tests/lifecycle/test_looking.py"
WIRING = "tests/provider/test_task_group_wiring.py"
SURROUNDINGS = "tests/provider/test_surroundings.py"
JOB_FLOWS = "tests/jobs/test_job_flows.py"
POD_FLOWS = "tests/jobs/test_pod_flows.py"
PODS_LEFT = "tests/provider/kubernetes/test_pods_left.py"
KUBERNETES_HOOK = "tests/provider/kubernetes/test_hook.py"
KUBERNETES_API = "tests/jobs/test_kubernetes_api.py"
JOB_STATE = "tests/jobs/test_job_state.py"
NODES = "tests/jobs/test_nodes.py"
MANIFESTS = "tests/jobs/test_manifests.py"
SLURM = "tests/jobs/test_slurm.py"
SLURM_FLOWS = "tests/jobs/test_slurm_flows.py"
ADDRESS = "tests/api/test_address.py"
CONNECTION = "tests/provider/test_connection.py"
PROXY = "tests/api/test_proxy.py"
SETTINGS = "tests/api/test_settings.py"
SOCKETS = "tests/api/test_client_sockets.py"
TLS = "tests/api/test_tls.py"
RESERVATION = "tests/lifecycle/test_reservation.py"
DELETION = "tests/provider/test_deletion.py"
RETURN_VALUE = "tests/provider/test_return_value.py"
OWNED = "tests/provider/test_owned_resource.py"
RESERVATIONS = "tests/provider/test_reservations.py"
TASK_LOG = "tests/provider/test_task_log.py"
DIAGNOSIS = "tests/jobs/test_diagnosis.py"


@dataclass(frozen=True)
class Safeguard:
    """
    What protects a user's money or somebody's cluster.

    :param name: what it does, in words.
    :param module: the file in the package.
    :param old: the text that makes it so.
    :param new: the text that makes it not so.
    :param tests: files of tests, or single tests of a slow file, each of which must notice.
    """

    name: str
    module: str
    old: str
    new: str
    tests: tuple[str, ...]


SAFEGUARDS = [
    # --- one ---
    Safeguard(
        "a create looks before it asks",
        "lifecycle/create.py",
        "found = yield from adoption.find(heal=heal)",
        "found = None",
        (CREATE, KNOWN),
    ),
    Safeguard(
        "the intent is recorded before the POST",
        "lifecycle/create.py",
        "    yield from Save(intent, ",
        "    yield Note(",
        (CREATE, KNOWN),
    ),
    Safeguard(
        "a POST whose outcome is unknown is not repeated",
        "api/answer.py",
        "    if call.is_repeatable:\n        return error\n",
        "    if call:\n        return error\n",
        (RETRY, KNOWN),
    ),
    Safeguard(
        "only what may happen twice is repeated",
        "api/retry.py",
        "(call.is_repeatable and isinstance(error, _SAFE_IF_REPEATABLE))",
        "isinstance(error, _SAFE_IF_REPEATABLE)",
        (RETRY,),
    ),
    Safeguard(
        "after an unknown outcome its effect is looked for",
        "lifecycle/create.py",
        "        made = yield from adoption.look_for_effect(error)\n",
        "        raise\n",
        (CREATE, KNOWN),
    ),
    Safeguard(
        "after an unknown outcome it is looked for as long as a list may lag",
        "lifecycle/looking.py",
        "while (left := seconds - sum(pauses)) > 0:\n",
        "while (left := seconds - sum(pauses)) > 0 and not pauses:\n",
        (CREATE, KNOWN),
    ),
    Safeguard(
        "a try that follows a killed one looks longer before it asks",
        "lifecycle/create.py",
        "if found is None and record.has_open_request:",
        "if False:",
        (CREATE, KNOWN),
    ),
    Safeguard(
        "a list that misses the recorded cluster is not believed",
        "lifecycle/create.py",
        "        found = yield from adoption.recorded(record)\n",
        "        found = None\n",
        (ADOPTION, KNOWN),
    ),
    Safeguard(
        "an intent leaves the recorded cluster on record",
        "lifecycle/owner.py",
        "return replace(self, cluster_name=cluster_name, has_open_request=True)",
        "return Record(cluster_name, has_open_request=True)",
        (KNOWN,),
    ),
    Safeguard(
        "a cluster that another try has recorded goes before one's own",
        "lifecycle/adoption.py",
        "    if record.cluster_id in {made.cluster_id, past_id}:\n",
        "    if record:\n",
        (ADOPTION,),
    ),
    Safeguard(
        "after its POST a try looks for a second cluster",
        "lifecycle/adoption.py",
        "        if any(c.cluster_id != made.cluster_id for c in alive):\n",
        "        if not alive and not made:\n",
        (ADOPTION, KNOWN),
    ),
    Safeguard(
        "of several the one on record is kept",
        "lifecycle/adoption.py",
        "return (cluster.cluster_id != record.cluster_id, _created(cluster),",
        "return (False, _created(cluster),",
        (CREATE, KNOWN),
    ),
    Safeguard(
        "a cluster that is given way to is seen alive first",
        "lifecycle/adoption.py",
        "        if not (yield from is_alive(self.dialect, rival)):\n            return None\n",
        "",
        (ADOPTION,),
    ),
    Safeguard(
        "nothing is given back for a cluster that is not seen alive",
        "lifecycle/adoption.py",
        "            if not (yield from is_alive(self.dialect, kept)):\n                continue\n",
        "",
        (ADOPTION,),
    ),
    Safeguard(
        "an adopted cluster that was given back meanwhile is not returned",
        "lifecycle/create.py",
        "return creation if (yield from is_alive(dialect, found)) else None",
        "return creation",
        (ADOPTION,),
    ),
    Safeguard(
        "of two tries for a user's own name one gives way",
        "lifecycle/adoption.py",
        "return made if rival is None else (yield from self._give_way(made, rival))\n",
        "return made\n",
        (ADOPTION,),
    ),
    Safeguard(
        "the deletion of a cluster that lives on is requested again",
        "waiting/gone.py",
        "        return replace(look, is_unheard=True)\n",
        "        return look\n",
        (DELETE, WAITS, KNOWN, ROUNDS),
    ),
    Safeguard(
        "of several the oldest is kept",
        "lifecycle/adoption.py",
        "record.cluster_id, _created(cluster), cluster.cluster_name,",
        "record.cluster_id, -_created(cluster), cluster.cluster_name,",
        (CREATE,),
    ),
    Safeguard(
        "of several all but one are deleted",
        "lifecycle/adoption.py",
        "        for cluster in surplus:\n",
        "        for cluster in surplus[:0]:\n",
        (ADOPTION, KNOWN),
    ),
    Safeguard(
        "one that has failed is not adopted",
        "api/phase.py",
        "_ALIVE = frozenset({Phase.PENDING,",
        "_ALIVE = frozenset({Phase.FAILED, Phase.PENDING,",
        (ADOPTION, KNOWN),
    ),
    Safeguard(
        "one that is being deleted is not adopted",
        "api/phase.py",
        "_ALIVE = frozenset({Phase.PENDING,",
        "_ALIVE = frozenset({Phase.DELETING, Phase.PENDING,",
        (KNOWN,),
    ),
    Safeguard(
        "one that differs from the spec is refused",
        "lifecycle/create.py",
        "if has and wants and has != wants]",
        "if has and wants and has != has]",
        (CREATE,),
    ),
    # --- not ours, not touched ---
    Safeguard(
        "another Airflow's cluster of the same task is not ours",
        "lifecycle/name.py",
        "return self.deployment == owner.deployment and self.owner_digest == owner.digest",
        "return self.owner_digest == owner.digest",
        (CREATE, NAME, KNOWN),
    ),
    Safeguard(
        "another owner's cluster is not ours",
        "lifecycle/name.py",
        "return self.deployment == owner.deployment and self.owner_digest == owner.digest",
        "return self.deployment == owner.deployment",
        (NAME, KNOWN),
    ),
    Safeguard(
        "a name that is nearly ours is not ours",
        "lifecycle/name.py",
        "return parsed if str(parsed) == text and len(text) <= LONGEST_NAME else None",
        "return parsed",
        (NAME,),
    ),
    Safeguard(
        "a user's own name is taken exactly",
        "lifecycle/owner.py",
        "return name == cluster_name\n",
        "return name.strip().lower() == cluster_name\n",
        (KNOWN,),
    ),
    Safeguard(
        "a live cluster of a user's own name is a stranger's unless it is on record",
        "lifecycle/owner.py",
        "return self.owner is not None or record.proves(cluster)",
        "return True",
        (CREATE, KNOWN),
    ),
    Safeguard(
        "a name that was on record once is no proof",
        "lifecycle/owner.py",
        "is_asked_for = self.has_open_request and ",
        "is_asked_for = ",
        (KNOWN,),
    ),
    Safeguard(
        "a stranger's cluster that was adopted stays a stranger's",
        "lifecycle/create.py",
        "    return Creation(cluster, is_ours=is_ours)",
        "    return Creation(cluster, is_ours=True)",
        (CREATE,),
    ),
    Safeguard(
        "a create gives back the expired of its own Airflow only",
        "lifecycle/adoption.py",
        "is_healed = parsed is not None and parsed.deployment == heal",
        "is_healed = parsed is not None",
        (ADOPTION,),
    ),
    Safeguard(
        "the sweep spares what is no name of an Airflow's",
        "lifecycle/orphans.py",
        "    if name.deployment != deployment and standing is None:\n",
        "    if False:\n",
        (ORPHANS, KNOWN),
    ),
    Safeguard(
        "the sweep spares what nobody knows anything about",
        "lifecycle/orphans.py",
        '    if standing is None:\n        return ""\n',
        '    if standing is None:\n        return "nobody knows it"\n',
        (ORPHANS,),
    ),
    Safeguard(
        "the sweep asks once more before it deletes",
        "lifecycle/orphans.py",
        "    finding = yield from judgement\n",
        "",
        (ORPHANS,),
    ),
    Safeguard(
        "the sweep takes a second cluster only if the recorded one lives",
        "lifecycle/orphans.py",
        "others = {other.cluster_id for other in present if other.phase.is_alive and other is not cluster}",
        "others = {standing.recorded_id} - {cluster.cluster_id}",
        (ORPHANS,),
    ),
    # --- none left ---
    Safeguard(
        "a create gives back what is past its end of life",
        "lifecycle/adoption.py",
        'yield from self._give_back(cluster, why="its end of life has passed")',
        "continue",
        (ADOPTION, KNOWN),
    ),
    Safeguard(
        "one of ours that has failed is given back",
        "lifecycle/adoption.py",
        "        elif is_ours and not cluster.phase.is_alive:\n",
        "        elif False:\n",
        (ADOPTION,),
    ),
    Safeguard(
        "the end of life is judged",
        "lifecycle/name.py",
        "return self.end_of_life is not None and self.end_of_life.timestamp() <= now",
        "return False",
        (ADOPTION, ORPHANS, KNOWN),
    ),
    Safeguard(
        "the sweep deletes what its owner needs no more",
        "lifecycle/orphans.py",
        "    if standing.is_over:\n",
        "    if False:\n",
        (ORPHANS, KNOWN),
    ),
    Safeguard(
        "a delete is asked for until it is accepted",
        "lifecycle/delete.py",
        "        look = wait.on_error(error, now=(yield from Pause(0)))\n"
        "        if look.news:\n            yield Note(look.news)\n        return look\n    wait.accept()",
        "        return Look(Verdict.REFUSED, word=str(error))\n    wait.accept()",
        (DELETE,),
    ),
    Safeguard(
        "404 to the deletion of one of ours is a success",
        "lifecycle/delete.py",
        '    except NotFoundError:\n        yield Note(f"Together knows no',
        '    except KeyError:\n        yield Note(f"Together knows no',
        (DELETE,),
    ),
    Safeguard(
        "the end is proved by the list, too",
        "lifecycle/delete.py",
        "if not is_hidden and all(cluster.cluster_id != wait.cluster_id for cluster in clusters):",
        "if True:",
        (DELETE,),
    ),
    Safeguard(
        "no list proves nothing",
        "lifecycle/delete.py",
        "            except NotFoundError:  # no list at all, which proves nothing\n",
        "            except NotFoundError:\n                return look\n",
        (DELETE,),
    ),
    Safeguard(
        "an entry that cannot be read is told by its name",
        "api/dialects/wire.py",
        "                unreadable.append(_name_of(entry, name))\n",
        "                pass\n",
        (DIALECT_TESTS,),
    ),
    # --- patience ---
    Safeguard(
        "one 404 is no end of a wait",
        "waiting/patience.py",
        "if now - self._absent_since >= self._absence_seconds:",
        "if True:",
        (WAITS, LOOK),
    ),
    Safeguard(
        "only a refusal that lasts ends a wait",
        "waiting/patience.py",
        "if now - self._refused_since >= min(REFUSAL_SECONDS, 20 * self.poll_interval):",
        "if True:",
        (WAITS,),
    ),
    Safeguard(
        "a passing fault never ends a wait",
        "waiting/patience.py",
        "        else:\n            self._refused_since = None\n        delay =",
        "        else:\n            return Look(Verdict.FAILED, word=self.last_word)\n        delay =",
        (WAITS, DELETE),
    ),
    Safeguard(
        "an unknown status word is waited through",
        "api/phase.py",
        "        return Phase.PENDING\n    return phase\n",
        "        return Phase.FAILED\n    return phase\n",
        ("tests/api/test_phase.py", CREATE),
    ),
    # --- all who wait, by one poller ---
    Safeguard(
        "a cluster that a list does not show is asked for by itself",
        "waiting/rounds.py",
        "                self._unlisted.set(cluster_id, now)\n            for",
        "                pass\n            for",
        (ROUNDS,),
    ),
    Safeguard(
        "whoever waits for the end of a cluster hears of it when no list shows it either",
        "waiting/rounds.py",
        "isinstance(waiter.wait, GoneWait) and waiter.is_listed is not False:",
        "waiter is None:",
        (ROUNDS,),
    ),
    Safeguard(
        "a server that asks for patience gets it from all",
        "waiting/rounds.py",
        "        earliest = self._silent_until\n",
        "        earliest = -math.inf\n",
        (ROUNDS,),
    ),
    Safeguard(
        "a list without a path says nothing of any cluster",
        "waiting/rounds.py",
        "        if isinstance(error, NotFoundError):  # says nothing of any cluster\n",
        "        if error is None:\n",
        (ROUNDS,),
    ),
    Safeguard(
        "a list that everybody else knows is read for those who are new",
        "waiting/rounds.py",
        "        self.fingerprint = None  # which he does not know\n",
        "",
        (ROUNDS,),
    ),
    Safeguard(
        "whoever was told of a failure hears when it is over",
        "waiting/rounds.py",
        "            waiter.sight = None  # so that his wait is told also when he sees the same again\n",
        "",
        (ROUNDS,),
    ),
    Safeguard(
        "each wait keeps its own deadline",
        "waiting/rounds.py",
        "            self._alarms.set(waiter, waiter.wait.alarm)\n",
        "            pass\n",
        (ROUNDS,),
    ),
    Safeguard(
        "one cluster that cannot be asked for does not blind the others",
        "waiting/rounds.py",
        "asked if self._failures == 1 else self._everybody()",
        "self._everybody()",
        (ROUNDS,),
    ),
    Safeguard(
        "nobody is told of another one's cluster, nor in his log",
        "waiting/shared_poll.py",
        ", context=contextvars.Context())",
        ")",
        (SHARED_POLL,),
    ),
    Safeguard(
        "the client outlives the poller",
        "waiting/shared_poll.py",
        "            await asyncio.wait({task})  # the client may be closed after this\n",
        "",
        (SHARED_POLL,),
    ),
    # --- the block ---
    Safeguard(
        "delete finds nobody else's clusters",
        "lifecycle/looking.py",
        "    return name is not None and name.is_of(owner)\n",
        "    return name is not None\n",
        (LOOKING,),
    ),
    Safeguard(
        "delete looks for what a create has asked for without an answer",
        "lifecycle/looking.py",
        "if made is None and record.has_open_request:",
        "if False:",
        (LOOKING,),
    ),
    Safeguard(
        "delete goes by what was recorded where the list lags",
        "lifecycle/looking.py",
        "    if record.cluster_id and all(",
        "    if False and all(",
        (LOOKING,),
    ),
    Safeguard(
        "delete runs though create has failed",
        "task_groups/gpu_cluster.py",
        "self._delete(create.task_id).as_teardown(setups=[begin, create],",
        "self._delete(create.task_id).as_teardown(setups=[create],",
        (WIRING,),
    ),
    Safeguard(
        "delete is cleared together with create",
        "task_groups/gpu_cluster.py",
        "self._delete(create.task_id).as_teardown(setups=[begin, create],",
        "self._delete(create.task_id).as_teardown(setups=[begin],",
        (WIRING,),
    ),
    Safeguard(
        "delete waits for all inside",
        "task_groups/gpu_cluster.py",
        "        last >> self._delete(",
        "        last[:0] >> self._delete(",
        (WIRING,),
    ),
    Safeguard(
        "what has failed inside fails the run, whatever comes after it",
        "task_groups/gpu_cluster.py",
        "        inside >> outcome\n",
        "",
        (WIRING,),
    ),
    Safeguard(
        "the run's truth is cleared together with what is inside",
        "task_groups/gpu_cluster.py",
        "outcome.as_teardown(setups=[begin, create],",
        "outcome.as_teardown(setups=[],",
        (WIRING,),
    ),
    Safeguard(
        "no cluster is made for what waits for its past",
        "task_groups/gpu_cluster.py",
        "            begin.depends_on_past = begin.wait_for_downstream = True\n",
        "            pass\n",
        (WIRING,),
    ),
    Safeguard(
        "a connection in default_args is that of the block's cluster",
        "task_groups/gpu_cluster.py",
        "        together_conn_id: str = _NOT_GIVEN,\n",
        '        together_conn_id: str = "together_default",\n',
        (WIRING,),
    ),
    Safeguard(
        "a create whose delete has ended makes no cluster",
        "operators/surroundings.py",
        "    if _are_over(deletes, states, ti.map_index):",
        "    if False:",
        (SURROUNDINGS,),
    ),
    # --- training ---
    Safeguard(
        "a job of somebody else is never adopted",
        "jobs/kubernetes/flows.py",
        'if (metadata.get("labels") or {}).get(OWNER_LABEL) != spec.owner:',
        "if not metadata:",
        (JOB_FLOWS,),
    ),
    Safeguard(
        "an outcome that a task has had is not taken again",
        "jobs/kubernetes/flows.py",
        "    if TAKEN_ANNOTATION in marks:\n",
        "    if not metadata:\n",
        (JOB_FLOWS,),
    ),
    Safeguard(
        "a removal spares a later job of that name",
        "jobs/kubernetes/flows.py",
        "yield from kubernetes_api.delete_job(namespace, name, uid=uid)",
        "yield from kubernetes_api.delete_job(namespace, name)",
        (JOB_FLOWS,),
    ),
    Safeguard(
        "a conflict over what is there passes",
        "jobs/kubernetes/api.py",
        ' or (status == _CONFLICT and call.method != "POST")',
        "",
        (KUBERNETES_API,),
    ),
    Safeguard(
        "a conflict does not end a removal whose job is still there",
        "jobs/kubernetes/flows.py",
        "        return False\n    return True\n",
        "        return True\n    return True\n",
        (JOB_FLOWS,),
    ),
    Safeguard(
        "no fault of Kubernetes ends the wait for a job",
        "jobs/kubernetes/flows.py",
        "except (TransientError, PermanentError) as error:",
        "except PermanentError as error:",
        (JOB_FLOWS,),
    ),
    Safeguard(
        "a job whose nodes are too small is not made",
        "jobs/kubernetes/flows.py",
        '            yield from _check_nodes(spec, manifest["spec"]["template"]["spec"])\n',
        "",
        (JOB_FLOWS,),
    ),
    Safeguard(
        "a job for which enough nodes fit is made, whatever others have",
        "jobs/kubernetes/nodes.py",
        "if small and at_most < spec.num_nodes:",
        "if small:",
        (NODES,),
    ),
    Safeguard(
        "who may not list nodes trains all the same",
        "jobs/kubernetes/flows.py",
        "    except TogetherError as error:  # a kubeconfig may have few rights\n",
        "    except NotFoundError as error:\n",
        (JOB_FLOWS,),
    ),
    Safeguard(
        "a try that does not reattach removes the pod that an earlier one has left",
        "operators/kubernetes_pod.py",
        "            self._remove_earlier_pods(pod_request_obj.metadata, context)\n",
        "            pass\n",
        (PODS_LEFT,),
    ),
    Safeguard(
        "a pod of a later try is left alone",
        "jobs/kubernetes/pod_flows.py",
        "return not has_ended and of_try <= try_number",
        "return not has_ended",
        (POD_FLOWS,),
    ),
    Safeguard(
        "a claim asks for the class that its volume has",
        "jobs/kubernetes/flows.py",
        'storage_class = offer.get("storageClassName") or ""',
        'storage_class = "shared-wekafs"',
        (JOB_FLOWS,),
    ),
    Safeguard(
        "a certificate that the kubeconfig does not know lets it be fetched once more",
        "hooks/kubernetes.py",
        "return any(isinstance(cause, ssl.SSLCertVerificationError) for cause in _causes(error))",
        "return False",
        (KUBERNETES_HOOK,),
    ),
    Safeguard(
        "a job starts as a whole or not at all",
        "jobs/kubernetes/state.py",
        "if not started and (hopeless or now >= terms.start_by):",
        "if not job:",
        (JOB_STATE, JOB_FLOWS),
    ),
    Safeguard(
        "pods of an earlier job of that name are not read",
        "jobs/kubernetes/state.py",
        'if any(owner.get("uid") == uid for owner',
        "if any(owner for owner",
        (JOB_STATE,),
    ),
    Safeguard(
        "the service of a job goes with it",
        "jobs/kubernetes/manifests.py",
        '            "ownerReferences": [owner],\n',
        "",
        (MANIFESTS,),
    ),
    Safeguard(
        "a retry of a batch job goes on with the one that is there",
        "jobs/slurm/remote.sh",
        '    [ -z "$job" ] || { tell_value job "$job"; return; }\n    for command',
        "    for command",
        (SLURM,),
    ),
    Safeguard(
        "a batch job whose id was lost is found by its name",
        "jobs/slurm/remote.sh",
        '    [ -z "$job" ] || { keep_text "$folder/job_id" "$job"; tell_value job "$job"; return; }\n',
        "",
        (SLURM,),
    ),
    Safeguard(
        "nothing is submitted while the queue cannot be read",
        "jobs/slurm/remote.sh",
        ' || { tell_complaint $? squeue "$jobs"; return; }\n    [ -z',
        "\n    [ -z",
        (SLURM,),
    ),
    Safeguard(
        "a batch job that is cancelled while it is submitted ends",
        "jobs/slurm/remote.sh",
        '[ ! -e "$cancelled" ] || { ask_slurm scancel "$job" >/dev/null 2>&1; tell_value cancelled yes; }\n',
        "",
        (SLURM,),
    ),
    Safeguard(
        "a batch job of somebody else is not taken for ours",
        "jobs/slurm/job.py",
        '    if not found["JobName"].endswith(f".{job.digest}.{job.attempt}"):\n        return Standing("")\n',
        "",
        (SLURM,),
    ),
    Safeguard(
        "a batch job that Slurm still runs is not declared ended",
        "jobs/slurm/job.py",
        " or (standing is not None and standing.state not in _RUNS)",
        "",
        (SLURM,),
    ),
    # --- lists that say nothing ---
    Safeguard(
        "an object without the list is no empty list",
        "api/dialects/wire.py",
        "if entries is None and all(name == key or _is_about_pages(name) for name in fields):",
        "if entries is None:",
        (DIALECT_TESTS,),
    ),
    Safeguard(
        "one page of several is no whole list",
        "api/dialects/wire.py",
        "        if token := _next_page(fields):",
        "        if token := '':",
        (DIALECT_TESTS,),
    ),
    Safeguard(
        "the fast reader of lists is as careful",
        "api/dialects/wire.py",
        '    __pydantic_config__ = ConfigDict(extra="forbid")',
        '    __pydantic_config__ = ConfigDict(extra="ignore")',
        (DIALECT_TESTS,),
    ),
    Safeguard(
        "a part of an answer is no answer",
        "api/answer.py",
        "    if why := _incomplete(call, response):",
        "    if why := '':",
        (ANSWER,),
    ),
    Safeguard(
        "nothing is asked for while an entry of its name has no id",
        "lifecycle/adoption.py",
        "        if not (usable or lost):\n            require_readable(",
        "        if False:\n            require_readable(",
        (CREATE,),
    ),
    Safeguard(
        "an entry without an id leaves open what an owner has made",
        "lifecycle/looking.py",
        "        if not found:\n            require_readable(",
        "        if False:\n            require_readable(",
        (LOOKING,),
    ),
    # Batch scripts and the programs on the login host.
    Safeguard(
        "a line for Slurm behind the first command is refused",
        "jobs/slurm/options.py",
        """        elif text.startswith("#SBATCH") and command:
            fault =""",
        """        elif text.startswith("#SBATCH") and command:
            continue
            fault =""",
        (SLURM,),
    ),
    Safeguard(
        "an indented line for Slurm counts",
        "jobs/slurm/options.py",
        "        text = line.strip()\n        if not text.startswith",
        "        text = line.rstrip()\n        if not text.startswith",
        (SLURM,),
    ),
    Safeguard(
        "a byte order mark does not hide the lines for Slurm",
        "jobs/slurm/options.py",
        r"\A\ufeff?",
        r"\A",
        (SLURM,),
    ),
    Safeguard(
        "an abbreviated option that makes many jobs is refused",
        "jobs/slurm/options.py",
        " or (match[1] and len(full) > 1 and full.startswith(name))",
        "",
        (SLURM,),
    ),
    Safeguard(
        "nothing is submitted that cannot be cancelled",
        "jobs/slurm/remote.sh",
        "for command in sbatch squeue scontrol scancel; do",
        "for command in sbatch squeue; do",
        (SLURM,),
    ),
    Safeguard(
        "a kill while the job is looked for cancels the latest one",
        "jobs/slurm/remote.sh",
        '        attempt=$(latest_in "$key")\n',
        "",
        (SLURM,),
    ),
    Safeguard(
        "a job whose end was told is not cancelled as the latest one",
        "jobs/slurm/remote.sh",
        '[ "${attempt:-0}" -gt "$5" ]',
        "true",
        (SLURM,),
    ),
    Safeguard(
        "the user's environment does not change what the program that submits reads",
        "jobs/slurm/remote.sh",
        '    exec "$@"\n',
        '    shift 3\n    exec "$timeout" "$slurm_seconds" "$sbatch" "$@"\n',
        (SLURM,),
    ),
    Safeguard(
        "no value breaks out of the program that it is an argument of",
        "jobs/slurm/programs.py",
        "shlex.join([self.command, *self.arguments])",
        "' '.join([self.command, *self.arguments])",
        (SLURM,),
    ),
    Safeguard(
        "a program that was cut off on the way does not run",
        "jobs/slurm/programs.py",
        'f"{_REMOTE}\\n{{\\nmain {shlex.join([self.command, *self.arguments])}\\n}} </dev/null\\nexit 0\\n"',
        'f"{_REMOTE}\\nmain {shlex.join([self.command, *self.arguments])} </dev/null\\nexit 0\\n"',
        (SLURM,),
    ),
    Safeguard(
        "a try that was cancelled while it submitted does not go on with its job",
        "jobs/slurm/flows.py",
        "    if submitted.is_cancelled:\n",
        "    if False:\n",
        (SLURM_FLOWS,),
    ),
    Safeguard(
        "a login host that refuses for a while what it has let in before ends no wait for a batch job",
        "jobs/slurm/flows.py",
        "may_pass = isinstance(error, LoginRefusedError) and watch.has_answered",
        "may_pass = False",
        (SLURM_FLOWS,),
    ),
    Safeguard(
        "the wait for a batch job whose login host is silent ends with its cluster",
        "jobs/slurm/flows.py",
        "        if (yield from ClusterQuestion()):\n",
        "        if not (yield from ClusterQuestion()) and False:\n",
        (SLURM_FLOWS,),
    ),
    Safeguard(
        "a refusal is not waited out as if Slurm were busy",
        "jobs/slurm/job.py",
        " and not any(words in text for words in _FORBIDDEN)",
        "",
        (SLURM,),
    ),
    Safeguard(
        "a result that Airflow cannot keep is kept as text",
        "jobs/result.py",
        "        json.dumps(value, ensure_ascii=False, allow_nan=False).encode()\n",
        "",
        ("tests/jobs/test_result.py",),
    ),
    # What every class is given: its parameters, by kind.
    Safeguard(
        "what a template rendered to nothing is no id and no name",
        "runtime/parameters.py",
        "    if is_missing(value):\n        return [_wrong(name, value, MISSING)]\n",
        "",
        ("tests/provider/test_parameters.py",),
    ),
    Safeguard(
        "no cluster is rented under the word None",
        "api/missing.py",
        '{"", "none"}',
        '{""}',
        ("tests/api/test_specs.py", "tests/provider/test_parameters.py"),
    ),
    Safeguard(
        "a deletion is of one cluster, whose id or name was meant",
        "operators/deletion.py",
        "return [] if len(targets) == 1 else",
        "return [] if targets else",
        ("tests/provider/test_parameters.py",),
    ),
    Safeguard(
        "a cluster does not end while it is waited for",
        "operators/gpu_cluster.py",
        "    return problems + _lifetime_conflicts(given)",
        "    return problems",
        ("tests/provider/test_parameters.py",),
    ),
    # --- connections as people write them ---
    Safeguard(
        "a path that every request would repeat is left out of the host",
        "api/address.py",
        'return found["prefix"].rstrip("/"), dialect.name',
        "return path, dialect.name",
        (ADDRESS, CONNECTION),
    ),
    Safeguard(
        "a host that means another API than the extra is refused",
        "api/address.py",
        "if known_path not in {None, dialect}:",
        "if False:",
        (ADDRESS, CONNECTION),
    ),
    Safeguard(
        "a certificate is left unchecked on this machine only",
        "api/tls.py",
        "if settings.verify == UNVERIFIED and not settings.is_loopback:",
        "if False:",
        (TLS, CONNECTION),
    ),
    Safeguard(
        "a host that NO_PROXY excepts is not asked through the proxy",
        "api/proxy.py",
        'if kind is None or is_excepted(url, proxies.get("no", "")):',
        "if kind is None:",
        (PROXY, SOCKETS),
    ),
    Safeguard(
        "what goes to this machine, maybe in plain http, is shown to no proxy",
        "api/client.py",
        "if transport or settings.is_loopback else",
        "if transport else",
        (SOCKETS,),
    ),
    Safeguard(
        "what cannot be an API key is refused before it is sent",
        "api/settings.py",
        "if problem := _problem_of_key(key):",
        'if problem := "":',
        (SETTINGS, CONNECTION),
    ),
    # --- money already paid ---
    Safeguard(
        "a failed wait leaves a reservation alive",
        "operators/gpu_cluster_task.py",
        "        if left_alive := self._left_alive():\n            return left_alive\n",
        "",
        (RESERVATIONS,),
    ),
    Safeguard(
        "a kill leaves a reservation alive",
        "operators/gpu_cluster_task.py",
        "if left_alive := self._left_alive():\n                self._log.warning(",
        "if (left_alive := self._left_alive()) and not self.what:\n                self._log.warning(",
        (RESERVATIONS,),
    ),
    Safeguard(
        "a teardown leaves a reservation alive",
        "operators/deletion_task.py",
        "        clusters = self._without_reservations(clusters, owners)\n",
        "",
        (RESERVATIONS,),
    ),
    Safeguard(
        "a sweep leaves a reservation alive",
        "lifecycle/orphans.py",
        "    if reason and paid is not None and paid.is_paid(now) and not may_go:\n",
        "    if not reason and paid is not None and paid.is_paid(now) and not may_go:\n",
        (RESERVATION, RESERVATIONS),
    ),
    Safeguard(
        "a create deletes no reservation that was extended beyond its name",
        "lifecycle/adoption.py",
        "and parsed.is_over(now) and not is_paid:",
        "and parsed.is_over(now):",
        (RESERVATION,),
    ),
    Safeguard(
        "a second reservation of one owner is left alive",
        "lifecycle/adoption.py",
        "        if paid is None:\n            yield from self._give_back(",
        "        if paid or not paid:\n            yield from self._give_back(",
        (RESERVATION,),
    ),
    Safeguard(
        "no other reservation is bought for one that has failed",
        "lifecycle/create.py",
        "    if found is not None and not found.phase.is_alive:\n        raise",
        "    if found is None and visibility < 0:\n        raise",
        (RESERVATION,),
    ),
    Safeguard(
        "what is paid for is recorded before it is asked for",
        "lifecycle/owner.py",
        "has_open_request=True).paid_by(reservation)",
        "has_open_request=True)",
        (RESERVATION,),
    ),
    Safeguard(
        "the time of a wait counts from the start of the capacity",
        "operators/waiting.py",
        "    return now if paid is None else paid.wait_begins(now)",
        "    return now",
        (RESERVATIONS,),
    ),
    Safeguard(
        "an end of life within the paid time is refused",
        "operators/gpu_cluster.py",
        "    if lifetime >= paid_for:\n        return []\n",
        "    if lifetime >= 0 * paid_for:\n        return []\n",
        (RESERVATIONS,),
    ),
    # What Kubernetes tells of a training's end.
    Safeguard(
        "an init container that fails is named",
        "jobs/kubernetes/diagnosis.py",
        'container="" if self.name == main else self.name',
        'container=""',
        (DIAGNOSIS, JOB_STATE),
    ),
    Safeguard(
        "the end of a sidecar is nobody's failure",
        "jobs/kubernetes/diagnosis.py",
        " and not one.is_sidecar]",
        "]",
        (DIAGNOSIS,),
    ),
    Safeguard(
        "the last words of a container that failed are read from its own log",
        "jobs/kubernetes/flows.py",
        "container = CONTAINER if diagnosis is None else diagnosis.container or CONTAINER",
        "container = CONTAINER",
        (JOB_FLOWS,),
    ),
    # Refused, busy, gone; and what an unreadable list may hide.
    Safeguard(
        "a cluster that is busy is asked again, not given up",
        "exceptions.py",
        "        return isinstance(error, (AuthenticationError, PermissionDeniedError))\n",
        "        return True\n",
        (WAITS, f"{DELETION}::test_one_that_is_busy_is_asked_again_until_it_goes"),
    ),
    Safeguard(
        "the words of a refused deletion end the wait",
        "waiting/gone.py",
        "        wait.refuse(error)\n",
        "",
        (DELETE,),
    ),
    Safeguard(
        "a refused deletion does not delay the request for the next one",
        "lifecycle/orphans.py",
        "    yield from request_deletion_once(dialect, wait)\n    return finding\n",
        "    yield from request_deletion(dialect, wait)\n    return finding\n",
        (ORPHANS,),
    ),
    Safeguard(
        "an id that nobody knows is no success",
        "operators/deletion_task.py",
        "                self._require_that_it_existed(cluster_id)\n",
        "                pass\n",
        (f"{DELETION}::test_an_id_that_nobody_knows_is_no_success",),
    ),
    Safeguard(
        "a live cluster's name is no id",
        "operators/deletion_task.py",
        "        if named:\n",
        "        if not named and named:\n",
        (f"{DELETION}::test_the_name_of_a_live_cluster_is_no_id",),
    ),
    Safeguard(
        "a spoilt setting keeps no cluster alive",
        "operators/deletion_task.py",
        "            problems = error.problems\n",
        "            raise\n",
        (f"{DELETION}::test_a_setting_that_is_spoilt_keeps_no_cluster_alive_and_is_told",),
    ),
    Safeguard(
        "a deletion is no success while another cluster of the task may be hidden",
        "operators/deletion_task.py",
        "if hidden := self._operator.running.forget_owner(cluster_name):",
        "if (hidden := self._operator.running.forget_owner(cluster_name)) and not hidden:",
        (f"{DELETION}::test_it_is_no_success_while_the_same_task_may_have_another_cluster_that_has_no_id",),
    ),
    Safeguard(
        "a sweep remembers whose a cluster without an id may be",
        "runtime/sweeping.py",
        "    left += unreadable\n",
        "",
        ("tests/provider/test_registry.py::test_a_sweep_remembers_whose_a_cluster_may_be_that_has_no_id",),
    ),
    Safeguard(
        "a result that Airflow would refuse is refused before its job counts as collected",
        "runtime/return_value.py",
        "    refusal = _refusal(operator, ti, value)\n",
        '    refusal = ""\n',
        (RETURN_VALUE,),
    ),
    # What people read.
    Safeguard(
        "a failure's sentence stands under no second traceback",
        "runtime/failures.py",
        "raise AirflowFailException(str(error)) from None",
        "raise AirflowFailException(str(error)) from error",
        (TASK_LOG,),
    ),
    Safeguard(
        "a missing connection is one exception to a task that calls the hook itself",
        "runtime/together_connection.py",
        "            ) from None\n        mask_secret(",
        "            ) from found\n        mask_secret(",
        (TASK_LOG,),
    ),
    Safeguard(
        "what Together wrote forges no line",
        "api/answer.py",
        "    return printable(text)",
        "    return text",
        (ANSWER,),
    ),
    Safeguard(
        "a status word forges no line",
        "api/models.py",
        "return printable(_as_text(value))",
        "return _as_text(value)",
        ("tests/api/test_models.py",),
    ),
    Safeguard(
        "a status word of the list forges no line",
        "api/dialects/wire.py",
        'printable(entry.get("status") or "")',
        'entry.get("status") or ""',
        ("tests/api/dialects/test_sights.py",),
    ),
    Safeguard(
        "what Kubernetes answered forges no line",
        "jobs/kubernetes/api.py",
        'printable(" ".join(str(said or "").split()))',
        '" ".join(str(said or "").split())',
        ("tests/jobs/test_kubernetes_api.py",),
    ),
    Safeguard(
        "what Kubernetes tells of a pod or a job forges no line",
        "jobs/kubernetes/diagnosis.py",
        'return printable(": ".join(part for part in (reason, said) if part))',
        'return ": ".join(part for part in (reason, said) if part)',
        (DIAGNOSIS, JOB_STATE),
    ),
    Safeguard(
        "what a rank printed forges no line of an error",
        "jobs/kubernetes/diagnosis.py",
        'printable(_COLOURS.sub("", line).expandtabs())',
        '_COLOURS.sub("", line).expandtabs()',
        (DIAGNOSIS,),
    ),
    Safeguard(
        "what Slurm wrote forges no line",
        "jobs/slurm/programs.py",
        "printable(value.strip())",
        "value.strip()",
        (SLURM,),
    ),
    Safeguard(
        "a pipe that closes stops no deletion",
        "cli_clusters.py",
        "        say=lambda sentence: _tell(sentence, sys.stderr),",
        "        say=lambda sentence: print(sentence, file=sys.stderr),",
        ("tests/provider/test_cli.py",),
    ),
    Safeguard(
        "ranks do not quietly make do with the smallest node",
        "jobs/cluster.py",
        "    if not small:\n        return\n",
        "    if small or not small:\n        return\n",
        ("tests/jobs/test_cluster.py",),
    ),
    Safeguard(
        "a create that does not exist is not one without clusters",
        "operators/deletion_task.py",
        "        if task_id not in known:\n",
        "        if task_id in known and not known:\n",
        (f"{DELETION}::test_a_task_that_makes_no_clusters_is_named_and_the_run_fails",),
    ),
    Safeguard(
        "a delete finds the clusters of all that its create is mapped over",
        "operators/deletion_task.py",
        "            indexes = range(count)\n",
        "            indexes = range(count - 1)\n",
        (f"{DELETION}::test_all_clusters_of_a_mapped_create_are_deleted",),
    ),
    Safeguard(
        "what stands around a pod's spec is not quietly left out",
        "jobs/kubernetes/pod_template.py",
        "        if name in _AROUND:\n",
        "        if name in _AROUND and name in _FIELDS:\n",
        ("tests/jobs/test_pod_template.py",),
    ),
    Safeguard(
        "no environment sends all ranks to one place",
        "jobs/kubernetes/spec.py",
        "    taken = sorted(RANK_VARIABLES & set(env_vars)) if isinstance(env_vars, Mapping) else []\n",
        "    taken: list[str] = []\n",
        ("tests/jobs/test_job_spec.py",),
    ),
    Safeguard(
        "a signal that struck while Airflow was asked is caught up on",
        "operators/owned_resource.py",
        "            if task.owns:\n",
        "            if task.owns and not self._was_killed:\n",
        (OWNED,),
    ),
    Safeguard(
        "a timeout of the task gives back what it owns",
        "operators/owned_resource.py",
        "        except AirflowTaskTimeout:\n            task.release_killed(is_urgent=False)",
        "        except AirflowTaskTimeout:\n            bool(task)",
        (OWNED,),
    ),
    Safeguard(
        "a kill after success leaves alive what others use by then",
        "operators/owned_resource.py",
        "        self._owner = None\n",
        "",
        (OWNED,),
    ),
    Safeguard(
        "a wait that Airflow ends without an event gives back what was owned",
        "operators/owned_resource.py",
        "fate = task.release_known()",
        'fate = ""',
        (OWNED,),
    ),
]
