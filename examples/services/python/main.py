"""A team's list of tasks, as ../README.md describes it."""

import asyncio
import json
import logging
import signal
import sys

import nats

GUESTS = "guest"

# In memory: each start begins with these.
tasks = {
    1: {"id": 1, "text": "Read about RES", "done": True, "by": None},
    2: {"id": 2, "text": "Write a service", "done": False, "by": None},
}
last_id = 2


class ResError(Exception):
    """An error that the client gets."""

    def __init__(self, code, message, data=None):
        super().__init__(message)
        self.error = {"code": code, "message": message}
        if data is not None:
            self.error["data"] = data


class Team:
    """Answers requests: a method for each subject, which gets the parts of it that vary."""

    def __init__(self, client):
        self.client = client

    async def access(self, request):
        # The token is the one that Relogin has given the connection. No client can set it.
        token = request.get("token")
        if token is None:
            raise ResError("system.accessDenied", "Access denied")
        return {"result": {"get": True, "call": "" if token["role"] == GUESTS else "*"}}

    async def get_tasks(self, request):
        return {"result": {"collection": [{"rid": rid(task)} for task in tasks.values()]}}

    async def get_task(self, request, task_id):
        return {"result": {"model": find(task_id)}}

    async def call_tasks(self, request, method):
        params = params_of(request)
        if method == "add":
            return await self.add(params, request["token"])
        if method == "remove":
            return await self.remove(params)
        raise ResError("system.methodNotFound", "Method not found")

    async def call_task(self, request, task_id, method):
        if method != "set":
            raise ResError("system.methodNotFound", "Method not found")
        return await self.set(find(task_id), params_of(request))

    async def add(self, params, token):
        global last_id
        text = check_text(params.get("text"))
        last_id += 1
        task = {"id": last_id, "text": text, "done": False, "by": token["userId"]}
        tasks[task["id"]] = task
        await self.event("team.tasks", "add", {"value": {"rid": rid(task)}, "idx": len(tasks) - 1})
        return {"resource": {"rid": rid(task)}}

    async def remove(self, params):
        task = find(params.get("id"))
        if not task["done"]:
            message = "A task that is not done cannot be removed"
            raise ResError("team.notDone", message, {"id": task["id"]})
        idx = list(tasks).index(task["id"])
        del tasks[task["id"]]
        await self.event("team.tasks", "remove", {"idx": idx})
        await self.event(rid(task), "delete")
        return {"result": None}

    async def set(self, task, params):
        values = {}
        if "text" in params:
            values["text"] = check_text(params["text"])
        if "done" in params:
            values["done"] = check_done(params["done"])
        if task != task | values:
            task.update(values)
            await self.event(rid(task), "change", {"values": values})
        return {"result": None}

    async def event(self, resource, name, data=None):
        """Tells all gateways of a change, and they the clients that have the resource."""
        payload = b"" if data is None else json.dumps(data).encode()
        await self.client.publish(f"event.{resource}.{name}", payload)


def rid(task):
    return f"team.task.{task['id']}"


def find(task_id):
    for task in tasks.values():
        if str(task["id"]) == str(task_id):
            return task
    raise ResError("system.notFound", "Not found")


def params_of(request):
    params = request.get("params") or {}
    if not isinstance(params, dict):
        raise ResError("system.invalidParams", "Invalid parameters")
    return params


def check_text(text):
    if not isinstance(text, str) or not text.strip():
        raise ResError("system.invalidParams", "A task needs a text")
    return text.strip()


def check_done(done):
    if not isinstance(done, bool):
        raise ResError("system.invalidParams", "A task is done or not")
    return done


async def main(url):
    async def reset():
        """Gateways ask again for all that they have of this service: they may have missed some."""
        patterns = {"resources": ["team.>"], "access": ["team.>"]}
        await client.publish("system.reset", json.dumps(patterns).encode())

    # Reconnects as often as it takes.
    client = await nats.connect(url, name="team", max_reconnect_attempts=-1, reconnected_cb=reset)
    team = Team(client)
    # One request at a time, so that events go out in the order of the changes.
    lock = asyncio.Lock()

    async def serve(subject, answer):
        varying = [at for at, part in enumerate(subject.split(".")) if part == "*"]

        async def respond(message):
            parts = message.subject.split(".")
            try:
                request = json.loads(message.data or b"{}")
                async with lock:
                    response = await answer(request, *(parts[at] for at in varying))
            except ResError as error:
                response = {"error": error.error}
            except Exception:
                # The client learns no more than that it is our fault.
                logging.exception("%s", message.subject)
                response = {"error": {"code": "system.internalError", "message": "Internal error"}}
            await message.respond(json.dumps(response).encode())

        await client.subscribe(subject, cb=respond)

    await serve("access.team.>", team.access)
    await serve("get.team.tasks", team.get_tasks)
    await serve("get.team.task.*", team.get_task)
    await serve("call.team.tasks.*", team.call_tasks)
    await serve("call.team.task.*.*", team.call_task)
    await reset()
    await client.flush()  # the server knows of all subscriptions
    print("ready", flush=True)

    stopped = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, stopped.set)
    await stopped.wait()
    await client.drain()  # answers what it was asked, then ends


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1] if len(sys.argv) > 1 else "nats://localhost:4222"))
