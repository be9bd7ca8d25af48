"""sign_in.mjs for clients in Python: what every client does once a person has signed in to it."""

import asyncio
import json
import os
import pathlib

WAIT = 7  # longer than an access token lives in these proofs


async def day(call):
    is_error, people = await call("find_people", {"search": "Adele"})
    assert not is_error and "Adele Vance" in json.dumps(people, ensure_ascii=False), people
    is_error, plans = await call("list_plans", {})
    assert not is_error and plans["plans"], plans
    return len(plans["plans"])


async def twice(name, call, tokens):
    """Calls before and after the token ends. `tokens` are those the client has kept, the oldest first."""
    plans = await day(call)
    assert str(plans) == os.environ["PLANS"], f"{plans} plans, which is not what {os.environ['PERSON']} sees"
    await asyncio.sleep(WAIT)
    assert await day(call) == plans, "as many plans as before"
    assert len(tokens) > 1 and tokens[-1] != tokens[0], f"the token was refreshed: {len(tokens)} kept"
    opened = pathlib.Path(os.environ["BROWSER_LOG"]).read_text(encoding="utf-8").splitlines().count("opened")
    assert opened == 1, f"the person signed in once, not {opened} times"
    print(f"{name}: signed in, {plans} plans, refreshed, called again")
