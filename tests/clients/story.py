"""The story of story.mjs for clients in Python: one working day of an agent, and what every client must see.

A client is an object with `name`, `protocol`, `not_found` and the methods of `Teller`'s comments; `Failed` carries the
code and data of a failure of the protocol.
"""

import json
import sys
import traceback
import urllib.parse
import urllib.request

SEEDED = "Website relaunch"
BULK = 200


class Failed(Exception):
    """A failure of the protocol."""

    def __init__(self, code, data):
        super().__init__(f"{code}: {data}")
        self.code, self.data = code, data


def readiness():
    """What the server wrote when it was ready."""
    with open(sys.argv[1], encoding="utf-8") as file:
        return json.load(file)


def post(url, body, token=None):
    headers = {"content-type": "application/json"}
    if token:
        headers["authorization"] = f"Bearer {token}"
    request = urllib.request.Request(url, json.dumps(body).encode(), headers, method="POST")
    with urllib.request.urlopen(request) as answer:
        return json.load(answer)


def token_of(ready, client_id=None, secret=None):
    """A token for Graph, as an application."""
    form = {
        "grant_type": "client_credentials",
        "client_id": client_id or ready["client_id"],
        "client_secret": secret or ready["client_secret"],
        "scope": "https://graph.microsoft.com/.default",
    }
    url = f"{ready['authority_url']}{ready['tenant_id']}/oauth2/v2.0/token"
    with urllib.request.urlopen(url, urllib.parse.urlencode(form).encode()) as answer:
        return json.load(answer)["access_token"]


class Teller:
    """Tells the story and counts what held."""

    def __init__(self, client):
        self.client = client
        self.checks = 0

    def check(self, holds, what, received):
        """Fails with everything that was received."""
        self.checks += 1
        if not holds:
            raise AssertionError(f"{what}\nreceived: {json.dumps(received, indent=1, default=str, ensure_ascii=False)}")

    async def ok(self, tool, arguments, told=None):
        """A call that succeeds. `client.call` returns (is_error, structured, text)."""
        is_error, structured, text = await self.client.call(tool, arguments, told)
        self.check(not is_error and structured and text, f"{tool} answers", [is_error, structured, text])
        return structured

    async def refused(self, tool, arguments, *words):
        """A call that the server refuses, in words that help."""
        is_error, structured, text = await self.client.call(tool, arguments, None)
        self.check(is_error, f"{tool} {arguments} is refused", [is_error, structured, text])
        for word in words:
            self.check(word in text, f'the refusal says "{word}"', text)

    async def fails(self, attempt, code, what):
        """A request that fails as the protocol says."""
        try:
            received = await attempt
        except Failed as failed:
            self.check(failed.code == code, f"{what} fails with {code}", [failed.code, failed.data])
            return failed
        self.check(False, f"{what} fails with {code}", received)

    async def look_around(self):
        tools = await self.client.tools()
        self.check(15 <= len(tools) <= 40, "fifteen to forty tools", tools)
        plans = (await self.ok("list_plans", {}))["plans"]
        self.check(len(plans) >= 8 and any(plan["title"] == SEEDED for plan in plans), "the seeded plans", plans)
        seeded = next(plan for plan in plans if plan["title"] == SEEDED)
        cursor, seen, pages = None, set(), 0
        while pages == 0 or cursor:
            arguments = {"plan_id": SEEDED, "limit": 70, "cursor": cursor}
            page = await self.ok("query_tasks", arguments)
            place = page["columns"].index("id")
            seen |= {row[place] for row in page["rows"]}
            cursor, pages = page.get("cursor"), pages + 1
            self.check(page["complete"] == (cursor is None), "complete, or a cursor", page)
        self.check(len(seen) == page["total"] and pages > 2, "pages add up to the total", [len(seen), page["total"], pages])
        return seeded

    async def work(self, title):
        wish = {
            "plan_id": title,
            "title": "Ship it ✓",
            "bucket_id": "to do",
            "due_date": "2026-12-01",
            "description": "Übermorgen 日本語",
            "checklist": ["first", {"title": "second", "checked": True}],
        }
        made = await self.ok("create_task", wish)
        self.check(made["sync"] == "synced" and made["bucket"] == "To do", "a task is created", made)
        task = made["id"]
        renamed = await self.ok("update_task", {"task_id": task, "title": "Ship it today"})
        await self.refused("update_task", {"task_id": task, "description": None}, "null", "clear")
        self.check(renamed["title"] == "Ship it today", "a task is updated", renamed)
        completed = await self.ok("update_task", {"task_id": task, "status": "completed"})
        self.check(completed["status"] == "completed", "a task is completed", completed)
        moved = await self.ok("move_task", {"task_id": task, "bucket_id": "Done"})
        self.check(moved["bucket"] == "Done", "a task is moved", moved)
        full = await self.ok("get_task", {"task_id": task, "fresh": True})
        unchanged = full["description"] == wish["description"] and len(full["checklist"]) == 2
        self.check(unchanged and full["title"] == "Ship it today", "Planner has it all", full)
        return made

    async def bulk(self, title):
        told = []
        tasks = [{"title": f"Part {place + 1}", "bucket_id": "To do"} for place in range(BULK)]
        receipt = await self.ok("bulk_create_tasks", {"plan_id": title, "tasks": tasks}, lambda *step: told.append(step))
        self.check(receipt["synced"] == BULK and len(receipt["ids"]) == BULK, "two hundred tasks", receipt)
        self.check(told and all(total == BULK for _, total in told), "progress is told", told)
        self.check(sorted(told) == told, "and grows", told)
        counted = await self.ok("query_tasks", {"plan_id": title, "limit": 1, "fresh": True})
        self.check(counted["total"] == BULK + 1, "Planner has two hundred more", counted)

    async def share(self, ready, plan, made):
        edit = f"{ready['control_url']}/colleague/edit"
        post(edit, {"task_id": made["planner_id"], "set": {"title": "Ship it tomorrow"}})
        post(edit, {"create": {"planId": plan["id"], "title": "A colleague was here"}})
        seen = await self.ok("query_tasks", {"plan_id": plan["title"], "text": "colleague", "fresh": True})
        self.check(seen["total"] == 1, "a colleague's task is seen", seen)
        edited = await self.ok("get_task", {"task_id": made["id"], "fresh": True})
        both = edited["title"] == "Ship it tomorrow" and edited["status"] == "completed"
        self.check(both, "a colleague's edit is seen", edited)
        gone = await self.ok("delete_task", {"task_id": made["id"]})
        self.check(gone["sync"] == "synced", "a task is deleted", gone)

    async def mistakes(self, ready, plan, made, seeded):
        title = plan["title"]
        await self.refused("get_task", {"task_id": made["id"]}, made["id"], "query_tasks")
        await self.refused("query_tasks", {"plan_id": "Nobody knows this"}, SEEDED, seeded["id"])
        bucket = {"name": "To do", "planId": plan["id"], "orderHint": " !"}
        post(f"{ready['graph_url']}/planner/buckets", bucket, token_of(ready))
        await self.ok("list_buckets", {"plan_id": title, "fresh": True})
        await self.refused("create_task", {"plan_id": title, "title": "x", "bucket_id": "To do"}, "several")
        await self.refused("query_tasks", {"plan_id": SEEDED, "limit": "five"}, "limit")
        await self.refused("create_task", {"plan_id": title, "title": "x", "colour": "red"}, "colour", "title")
        await self.fails(self.client.call("no_such_tool", {}, None), -32602, "an unknown tool")

    async def attachments(self, seeded):
        resources = await self.client.resources()
        self.check(f"planner://plans/{seeded['id']}" in resources, "plans are resources", resources)
        templates = await self.client.templates()
        self.check("planner://plans/{plan_id}/tasks/{task_id}" in templates, "tasks have a template", templates)
        text = await self.client.read(f"planner://plans/{seeded['id']}")
        self.check(json.loads(text)["title"] == SEEDED, "a plan is read", text)
        nowhere = "planner://plans/none/tasks"
        missing = await self.fails(self.client.read(nowhere), self.client.not_found, "a resource that is none")
        self.check((missing.data or {}).get("uri") == nowhere, "and says which", missing.data)
        values = await self.client.complete("weekly_status", "plan_id", "websi")
        self.check(values == [seeded["id"]], "a plan is completed by its title", values)
        prompts = await self.client.prompts()
        self.check({"weekly_status", "triage_backlog", "plan_sprint"} <= set(prompts), "prompts", prompts)
        text = await self.client.prompt("weekly_status", {"plan_id": SEEDED})
        self.check(SEEDED in text, "a prompt is filled in", text)

    async def tell(self):
        ready = readiness()
        title = f"Story of {self.client.name} {self.client.protocol}"
        seeded = await self.look_around()
        plan = {"title": title, "group_id": seeded["group"], "buckets": ["To do", "Doing", "Done"]}
        plan = await self.ok("create_plan", plan)
        made = await self.work(title)
        await self.bulk(title)
        await self.share(ready, plan, made)
        await self.mistakes(ready, plan, made, seeded)
        await self.attachments(seeded)


async def run(client):
    """Tells the story; ends the process with 1 when something did not hold."""
    teller = Teller(client)
    try:
        await teller.tell()
    except Exception:  # whatever it was, the reader wants all of it
        traceback.print_exc()
        print(f"{client.name} {client.protocol} failed after {teller.checks} checks", file=sys.stderr)
        sys.exit(1)
    print(f"{client.name} {client.protocol}: {teller.checks} checks passed")
