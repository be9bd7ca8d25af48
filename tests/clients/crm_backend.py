"""A CRM's backend (crm.py) with all its users at work, on a server that is killed in between: every call is answered.

Usage: crm_backend.py PROGRAM FOLDER [--users N] [--lifetimes N] [--seconds S] [--request-log FILE] [--fault NAME]

`graphgate sim --tls` is the tenant, `graphgate serve` the server, `graphgate clients` the operator; FOLDER gets the store and
the logs. For N lifetimes of an access token, each of S seconds, all users work at once. In the middle the server dies by
SIGKILL and starts again on its store. An operator rotates the CRM's secret, and pauses the CRM for one more user; Microsoft
asks for a fresh token of everybody. Fails unless every call was answered in the end, none with 401, each with the values of
its own user. A fault makes that untrue, so that the proof has to fail: `late` (a token is refreshed when it is refused),
`swapped` (two users have each other's tokens), `impatient` (nothing is sent again), `emptied` (the store is another one).
"""

import argparse
import asyncio
import collections
import pathlib
import random
import secrets
import sys
import time
import traceback

import httpx2

import crm
from crm_deployment import BACK, Deployment, sign_in

SCOPE = "directory.read planner.read planner.write"
LEARNED = 35  # seconds within which a server learns what an operator did, and a little more
BROKEN = ("ConnectError", "ReadError", "RemoteProtocolError", "WriteError")


class Wire(httpx2.AsyncHTTPTransport):
    """The backend's network, watched: what each of its users was answered."""

    def __init__(self):
        super().__init__(limits=httpx2.Limits(max_connections=None, max_keepalive_connections=None))
        self.answered = collections.Counter()

    async def handle_async_request(self, request):
        user = request.headers.get("x-user-id", "")
        if request.url.path == "/oauth/token":
            user = "refresh" if b"grant_type=refresh_token" in request.content else "code"
        try:
            answer = await super().handle_async_request(request)
        except httpx2.TransportError as error:
            self.answered[user, type(error).__name__] += 1
            raise
        self.answered[user, answer.status_code] += 1
        return answer

    def count(self, *kinds, but=None):
        return sum(count for (user, kind), count in self.answered.items() if kind in kinds and user != but)


class Run:
    """Users at work, and what came of it."""

    def __init__(self, deployment, gate, seconds):
        self.deployment, self.gate, self.seconds = deployment, gate, seconds
        self.mark, self.writing = f"crm-{secrets.token_hex(4)}", False
        self.calls, self.failed, self.foreign, self.signed_out, self.longest = collections.Counter(), [], [], [], 0
        self.back = asyncio.Event()  # the server is, after its restart
        self.titles, self.tasks, self.plans = collections.defaultdict(list), {}, {}

    async def connected(self, upn):
        """Signs a person in; the user of the CRM is called as the person is."""
        session = {"user": upn}
        acts_as = await self.gate.callback(session, await sign_in(self.deployment, self.gate, session, upn))
        assert acts_as == upn, f"{upn} is connected as {acts_as}"
        _, listed = await self.gate.call(upn, "list_plans", {})
        self.plans[upn] = sorted(plan["id"] for plan in listed["plans"])
        assert self.plans[upn], f"{upn} has a plan"

    async def work(self, user, until):
        rounds = 0
        while time.monotonic() < until:
            kinds = [self.status, self.own_tasks, self.one_task, self.own_plans, self.own_name]
            if rounds % 8 == 0 or self.writing:
                kinds.insert(0, self.new_task)
            for kind in kinds:
                begun = time.monotonic()
                try:
                    told = await kind(user)
                    if told:
                        self.foreign.append(f"{user} {kind.__name__}: {told}")
                    self.calls[kind.__name__] += 1
                except crm.Reconnect as error:
                    self.signed_out.append(f"{user} {kind.__name__}: {error}")
                    return
                except Exception as error:  # whatever it was, the user was not answered
                    self.failed.append(f"{user} {kind.__name__}: {error!r} {traceback.format_exc(limit=-2)}")
                self.longest = max(self.longest, time.monotonic() - begun)
            rounds += 1
            await asyncio.sleep(random.uniform(0.05, 0.15) * self.seconds)

    async def ok(self, send, user, tool, arguments):
        refused, said = await send(user, tool, arguments)
        if refused:
            raise AssertionError(f"{tool} is refused: {said}")
        return said

    # Each answers what is not this user's own.

    async def status(self, user):
        answer = await self.gate.get(user, "/mcp/status")
        ms365 = answer.raise_for_status().json()["ms365"]
        return None if (ms365["as"], ms365["connected"]) == (user, True) else ms365

    async def own_tasks(self, user):
        """In a plan that others share: what they made has another name in it, and is assigned to them (`me`)."""
        arguments = {"plan_id": self.plans[user][0], "assignee": user, "text": self.mark, "fields": ["title"], "limit": 200}
        before = list(self.titles[user])
        said = await self.ok(self.gate.call, user, "query_tasks", arguments)
        found = [row[said["columns"].index("title")] for row in said["rows"]]
        return None if sorted(found) == sorted(before) else f"{found} and not {before}"

    async def one_task(self, user):
        title, task = self.titles[user][-1], self.tasks[user]
        said = await self.ok(self.gate.post, user, "get_task", {"task_id": task})
        return None if said["title"] == title else said["title"]

    async def own_plans(self, user):
        said = await self.ok(random.choice([self.gate.call, self.gate.post]), user, "list_plans", {})
        found = sorted(plan["id"] for plan in said["plans"])
        return None if found == self.plans[user] else f"{found} and not {self.plans[user]}"

    async def own_name(self, user):
        """Asks Microsoft, with the person's own token of it, which GraphGate refreshes too."""
        said = await self.ok(self.gate.call, user, "find_people", {"search": user})
        found = [person["upn"] for person in said["people"]]
        return None if found == [user] else found

    async def new_task(self, user):
        """A write with a key, which is sent twice: there is one task."""
        title = f"{self.mark} {user} {len(self.titles[user]) + 1}"
        task = {"plan_id": self.plans[user][0], "title": title, "assignee_ids": ["me"], "idempotency_key": title}
        made = await self.ok(self.gate.call, user, "create_task", task)
        again = await self.ok(self.gate.post, user, "create_task", task)
        self.titles[user].append(title)
        self.tasks[user] = made["id"]
        return None if (made["title"], again["id"]) == (title, made["id"]) else again


async def stepped_up(run, upn):
    """The user lets the CRM read at first, and write when it has to. Answers the id of the task that it made."""
    gate, deployment, session = run.gate, run.deployment, {"user": upn}
    query = await sign_in(deployment, gate, session, upn, take_away=["planner.write"])
    for wrong in (query | {"state": "another"}, query | {"iss": "https://example.com"}, {"state": query["state"]}):
        await refuses(crm.Reconnect, gate.callback(dict(session), wrong))
    await gate.callback(session, query)
    await refuses(crm.Reconnect, gate.callback(session, query))

    tool, plan = "create_task", (await run.ok(gate.call, upn, "list_plans", {}))["plans"][0]["id"]
    assert tool not in await gate.tools(upn), "what the person took away is not listed"
    task = {"plan_id": plan, "title": f"{run.mark} {upn}", "idempotency_key": run.mark}
    for send in (gate.call, gate.post):
        missing = await refuses(crm.Missing, send(upn, tool, task))
    assert set(missing.args[0].split()) == set(SCOPE.split()), missing
    before = gate.tokens.get(upn)
    await gate.callback(session, await sign_in(deployment, gate, session, upn, missing.args[0]))
    made = await run.ok(gate.call, upn, tool, task)
    assert (await raw(gate, before)).status_code == 401, "what was given before has ended"
    return made["id"]


async def paused(run, upn, task):
    """An operator pauses the CRM for this user and resumes it; answers a call that works then."""
    gate, deployment, read = run.gate, run.deployment, ("get_task", {"task_id": task})
    await deployment.operator("pause", "crm", "--people", upn)
    answer = await eventually(gate, upn, 503)
    body, told = answer.json(), answer.headers["retry-after"]
    assert (body["retryable"], body["changed"], told) == (True, "nothing", "60"), (body, told)
    for send in (gate.call, gate.post):
        later = await refuses(crm.Later, send(upn, *read))
        assert later.args[0] >= 30, later
    await deployment.operator("resume", "crm", "--people", upn)
    await eventually(gate, upn, 200)
    found = await run.ok(gate.call, upn, *read)
    assert found["title"].endswith(upn), found
    return read


async def ended(run, upn, read):
    """Microsoft ends the user's session, so that the button is needed; at last the user disconnects."""
    gate, session = run.gate, {"user": upn}
    await run.deployment.event(upn, "revoked")
    await refuses(crm.Reconnect, gate.call(upn, "find_people", {"search": upn}))
    await refuses(crm.Reconnect, gate.call(upn, *read))
    await gate.callback(session, await sign_in(run.deployment, gate, session, upn))
    await run.ok(gate.call, upn, *read)

    kept = gate.tokens.get(upn)
    answer = await raw(gate, kept, {"x-user-id": next(iter(run.plans))})
    assert answer.json()["ms365"]["as"] == upn, "the CRM's own header decides nothing"
    await gate.disconnect(upn)
    await refuses(crm.Reconnect, gate.call(upn, *read))
    assert (await raw(gate, kept)).status_code == 401, "a token that was revoked opens nothing"
    refresh = lambda: gate._token("refresh_token", {"refresh_token": kept["refresh_token"]})
    answer = await crm.patiently(refresh, LEARNED, httpx2.TransportError)
    assert (answer.status_code, answer.json()["error"]) == (400, "invalid_grant"), answer.text


async def one_more(run, upn, task):
    """What happens to one more user, after the restart."""
    await run.back.wait()
    await ended(run, upn, await paused(run, upn, task))


async def raw(gate, kept, headers=None):
    """A call with a token as it is: nothing is refreshed, nothing sent again, nothing counted."""
    headers = {"authorization": f"Bearer {kept['access_token']}", **(headers or {})}
    async with httpx2.AsyncClient(timeout=30) as http:
        while True:
            try:
                return await http.get(f"{gate.address}/mcp/status", headers=headers)
            except httpx2.TransportError:
                await asyncio.sleep(0.2)  # the restart


async def eventually(gate, user, status):
    """What a user is answered once the server has learned what the operator did."""
    until, answer = time.monotonic() + LEARNED, None
    while time.monotonic() < until:
        try:
            await gate.access_token(user)
            answer = await raw(gate, gate.tokens.get(user))
            if answer.status_code == status:
                return answer
        except crm.Later:
            answer = None
        await asyncio.sleep(0.5)
    raise AssertionError(f"no {status} within {LEARNED} s, but {answer and answer.text}")


async def refuses(kind, attempt):
    try:
        answer = await attempt
    except kind as error:
        return error
    raise AssertionError(f"{kind.__name__} expected, and not {answer}")


async def rotated(run, seconds):
    """The operator adds a secret; the one before stays good, and the backend takes the new one once every server knows it."""
    secret = (await run.deployment.operator("rotate", "crm"))["secret"]
    await asyncio.sleep(seconds)
    run.gate.secret = secret


async def restarted(run, seconds, fault):
    await asyncio.sleep(seconds)
    run.writing = True  # so that writes are under way when it dies
    await asyncio.sleep(1)
    run.deployment.kill()
    if fault == "emptied":
        run.deployment.data = run.deployment.folder / "empty"
    begun = time.monotonic()
    await asyncio.sleep(0.5)  # so that it is missed
    await run.deployment.serve()
    run.writing = False
    run.back.set()
    return time.monotonic() - begun


async def challenged(run):
    """After the restart Microsoft asks for a fresh token of everybody: GraphGate fetches it, and nobody notices."""
    await run.back.wait()
    for user in run.plans:
        await run.deployment.event(user, "challenge")


async def swapped(run, seconds):
    await asyncio.sleep(seconds)
    one, other = list(run.plans)[:2]
    tokens = run.gate.tokens
    of_one, of_other = tokens.get(one), tokens.get(other)
    tokens.put(one, of_other)
    tokens.put(other, of_one)


async def told(deployment, options):
    """The whole story; answers its line, and what was wrong."""
    if options.fault == "late":
        crm.EARLY = 2
    client = await deployment.operator("create", "crm", "--redirect-uri", BACK)
    await deployment.serve()
    tokens = crm.Tokens(deployment.folder / "crm.db", crm.AESGCM.generate_key(256))
    wire = Wire()
    gate = crm.GraphGate(deployment.address, client["id"], client["secret"], BACK, SCOPE, tokens, wire)
    await gate.start()
    run = Run(deployment, gate, options.seconds)
    *users, extra = deployment.people()[: options.users + 1]
    few = asyncio.Semaphore(8)

    async def connected(user):
        async with few:
            await run.connected(user)

    await asyncio.gather(*map(connected, users))
    sealed = b"".join(row for row, in tokens.rows.execute("SELECT sealed FROM tokens"))
    assert sealed and b"ggrt_" not in sealed and b"ggat_" not in sealed, "tokens are sealed at rest"

    lasts = options.seconds * options.lifetimes
    beside = [rotated(run, min(LEARNED, lasts * 0.8)), restarted(run, lasts / 2, options.fault), challenged(run)]
    if options.fault == "impatient":
        crm.PATIENCE = 0
    elif options.fault == "swapped":
        beside.append(swapped(run, lasts / 3))
    elif not options.fault:
        beside.append(one_more(run, extra, await stepped_up(run, extra)))
    until = time.monotonic() + lasts
    _, away, *_ = await asyncio.gather(*beside, *(run.work(user, until) for user in users))
    return summary(run, options, extra, away)


def summary(run, options, extra, away):
    wire, calls = run.gate.wire, sum(run.calls.values())
    visible, again = wire.count(401, but=extra), wire.count(*BROKEN, 503, but=extra)
    refreshes, microsoft = wire.answered["refresh", 200], run.deployment.refreshes()
    line = (
        f"{options.users} users, {options.lifetimes} lifetimes of {options.seconds} s, one restart ({away:.1f} s away): "
        f"{calls} calls, {len(run.failed)} failed, {visible} visible refreshes, {len(run.foreign)} foreign values, "
        f"{len(run.signed_out)} signed out; {refreshes} refreshes here and {microsoft} at Microsoft, "
        f"{again} requests sent again, the longest call {run.longest:.1f} s"
    )
    least = options.users * options.lifetimes
    wrong = [line for found in (run.failed, run.foreign, run.signed_out) for line in one_of_each(found)]
    for holds, what in (
        (visible == 0, f"answered 401: {[one for one in wire.answered if one[1] == 401]}"),
        (refreshes >= least, f"at least {least} refreshes expected"),
        (microsoft >= options.users, f"at least {options.users} refreshes at Microsoft expected"),
        (calls >= 2 * least, f"at least {2 * least} calls expected"),
        (again > 0, "no request has met the restart"),
    ):
        if not holds:
            wrong.append(what)
    return line, wrong


def one_of_each(found):
    """The first of each kind of call: a run that fails says the same hundreds of times."""
    return {line.split()[1]: line for line in reversed(found)}.values()


async def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("program", type=pathlib.Path)
    parser.add_argument("folder", type=pathlib.Path)
    parser.add_argument("--users", type=int, default=20)
    parser.add_argument("--lifetimes", type=int, default=6)
    parser.add_argument("--seconds", type=int, default=5)
    parser.add_argument("--request-log", type=pathlib.Path)
    parser.add_argument("--fault", choices=["late", "swapped", "impatient", "emptied"])
    options = parser.parse_args()
    options.folder.mkdir(parents=True)
    deployment = Deployment(options.program.resolve(), options.folder.resolve(), options.users + 1, options.seconds)
    try:
        await deployment.start(options.request_log)
        line, wrong = await told(deployment, options)
    except BaseException:
        print(deployment.log("server"), file=sys.stderr)
        raise
    finally:
        deployment.stop()
    print(line)
    if wrong:
        sys.exit("\n".join(["wrong:", *wrong]))


asyncio.run(main())
