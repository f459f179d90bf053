// A team's list of tasks, as ../README.md describes it.

import { connect } from "@nats-io/transport-node";

const GUESTS = "guest";

/** In memory: each start begins with these. */
const tasks = [
  { id: 1, text: "Read about RES", done: true, by: null },
  { id: 2, text: "Write a service", done: false, by: null },
];
let lastId = 2;

/** An error that the client gets. */
class ResError extends Error {
  constructor(code, message, data) {
    super(message);
    Object.assign(this, { code, data });
  }

  toJSON() {
    return { code: this.code, message: this.message, data: this.data };
  }
}

const nats = await connect({
  name: "team",
  servers: process.argv[2] ?? "nats://localhost:4222",
  maxReconnectAttempts: -1, // as often as it takes
});

/** Answers the requests to a subject. `answer` gets the parts of the subject and the request. */
const serve = (subject, answer) => nats.subscribe(subject, {
  callback: (problem, message) => {
    if (problem) return console.error(problem);
    let response;
    try {
      const request = message.data.length > 0 ? message.json() : {};
      response = answer(message.subject.split("."), request);
    } catch (error) {
      if (!(error instanceof ResError)) {
        console.error(error); // the client learns no more than that it is our fault
        error = new ResError("system.internalError", "Internal error");
      }
      response = { error };
    }
    message.respond(JSON.stringify(response));
  },
});

const rid = (task) => `team.task.${task.id}`;

/** Tells all gateways of a change, and they the clients that have the resource. */
const event = (resource, name, data) => {
  nats.publish(`event.${resource}.${name}`, data && JSON.stringify(data));
};

const find = (id) => {
  const task = tasks.find((task) => String(task.id) === String(id));
  if (!task) throw new ResError("system.notFound", "Not found");
  return task;
};

const checkText = (text) => {
  if (typeof text === "string" && text.trim()) return text.trim();
  throw new ResError("system.invalidParams", "A task needs a text");
};

const checkDone = (done) => {
  if (typeof done === "boolean") return done;
  throw new ResError("system.invalidParams", "A task is done or not");
};

// The token is the one that Relogin has given the connection. No client can set it.
serve("access.team.>", (_, { token }) => {
  if (!token) throw new ResError("system.accessDenied", "Access denied");
  return { result: { get: true, call: token.role === GUESTS ? undefined : "*" } };
});

serve("get.team.tasks", () => ({
  result: { collection: tasks.map((task) => ({ rid: rid(task) })) },
}));

serve("get.team.task.*", ([, , , id]) => ({ result: { model: find(id) } }));

const methods = {
  add(params, token) {
    const task = { id: lastId + 1, text: checkText(params?.text), done: false, by: token.userId };
    lastId = task.id;
    tasks.push(task);
    event("team.tasks", "add", { value: { rid: rid(task) }, idx: tasks.length - 1 });
    return { resource: { rid: rid(task) } };
  },

  remove(params) {
    const task = find(params?.id);
    if (!task.done) {
      throw new ResError("team.notDone", "A task that is not done cannot be removed", { id: task.id });
    }
    const idx = tasks.indexOf(task);
    tasks.splice(idx, 1);
    event("team.tasks", "remove", { idx });
    event(rid(task), "delete");
    return { result: null };
  },
};

serve("call.team.tasks.*", ([, , , method], { params, token }) => {
  if (Object.hasOwn(methods, method)) return methods[method](params, token);
  throw new ResError("system.methodNotFound", "Method not found");
});

serve("call.team.task.*.*", ([, , , id, method], { params }) => {
  if (method !== "set") throw new ResError("system.methodNotFound", "Method not found");
  const task = find(id);
  const values = {};
  if (params?.text !== undefined) values.text = checkText(params.text);
  if (params?.done !== undefined) values.done = checkDone(params.done);
  if (Object.entries(values).some(([name, value]) => task[name] !== value)) {
    Object.assign(task, values);
    event(rid(task), "change", { values });
  }
  return { result: null };
});

/** Gateways ask again for all that they have of this service: they may have missed something. */
const reset = () => {
  nats.publish("system.reset", JSON.stringify({ resources: ["team.>"], access: ["team.>"] }));
};

for (const signal of ["SIGINT", "SIGTERM"]) {
  process.once(signal, () => nats.drain()); // answers what it was asked, then ends
}
reset();
await nats.flush(); // the server knows of all subscriptions
console.log("ready");

for await (const { type } of nats.status()) {
  if (type === "reconnect") reset();
}
