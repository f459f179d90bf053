// A legacy service (docs/protocol.md, section 2), written after Resgate's guide on client sessions
// and on nothing else: in memory, one connection a session, keys of any form that are used once,
// and answers of a key and nothing else. Beside it a counter that only users may see. Says "ready"
// when it answers, and each session that ends by a key that was used twice.
//
// What it is told on the command line: the address of NATS; then `strict`, and a relogin with
// params that it does not know is refused; `quiet`, and a connection that has lost its session to
// another one keeps its user model, as in the guide's example.
"use strict";

const { randomBytes } = require("node:crypto");
const { connect } = require("nats");

const [url, ...manners] = process.argv.slice(2);
const strict = manners.includes("strict");
const quiet = manners.includes("quiet");
const KEY_LIFETIME = 120_000;

const users = new Map([
  ["admin", { id: 1, name: "Administrator", role: "admin" }],
  ["guest", { id: 2, name: "Guest", role: "guest" }],
  ["jane", { id: 3, name: "Jane Doe", role: "user" }],
  ["john", { id: 4, name: "John Doe", role: "user" }],
]);
const nobody = { id: null, name: null, role: null };

const byConnection = new Map();
const byKey = new Map();

async function main() {
  const nats = await connect({ servers: url });
  const publish = (subject, payload) => nats.publish(subject, JSON.stringify(payload));

  /** Answers the requests on `subject` with what `answer` returns; what it throws is the error. */
  const serve = (subject, answer) => {
    nats.subscribe(subject, {
      callback: (_, message) => {
        let response;
        try {
          const request = message.data.length === 0 ? {} : message.json();
          response = { result: answer(request, message.subject) };
        } catch (error) {
          const code = error.code ?? "system.internalError";
          response = { error: { code, message: error.message } };
        }
        message.respond(JSON.stringify(response));
      },
    });
  };
  const refuse = (code, message) => { throw Object.assign(new Error(message), { code }); };

  const tell = (cid, user) => {
    const { id, name, role } = user;
    publish(`event.session.user.${cid}.change`, { values: { id, name, role } });
  };
  const clear = (session) => publish(`conn.${session.cid}.token`, { token: null });

  const putOn = (session, cid) => {
    if (session.cid !== undefined) {
      byConnection.delete(session.cid);
      if (!quiet) tell(session.cid, nobody);
      clear(session);
    }
    session.cid = cid;
    byConnection.set(cid, session);
    const { sid, user } = session;
    publish(`conn.${cid}.token`, { token: { sid, userId: user.id, role: user.role } });
    tell(cid, user);
  };

  const dispose = (session) => {
    clearTimeout(session.expiry);
    tell(session.cid, nobody);
    clear(session);
    byConnection.delete(session.cid);
    for (const key of session.keys) byKey.delete(key);
  };

  const issueKey = (session) => {
    clearTimeout(session.expiry);
    session.expiry = setTimeout(() => dispose(session), KEY_LIFETIME);
    const reloginKey = randomBytes(24).toString("base64");
    session.keys.push(reloginKey);
    byKey.set(reloginKey, session);
    return { reloginKey };
  };

  serve("auth.session.login", ({ cid, params, token }) => {
    if (token) refuse("session.alreadyLoggedIn", "Already logged in");
    const { username, password } = params ?? {};
    if (typeof username !== "string" || typeof password !== "string") {
      refuse("system.invalidParams", "Invalid parameters");
    }
    const user = users.get(username.toLowerCase());
    if (!user || password !== username.toLowerCase()) {
      refuse("session.wrongUsernamePassword", "Wrong username or password");
    }
    const session = { sid: randomBytes(24).toString("base64"), user, keys: [] };
    putOn(session, cid);
    return issueKey(session);
  });

  serve("auth.session.relogin", ({ cid, params }) => {
    const { reloginKey, ...unknown } = params ?? {};
    if (typeof reloginKey !== "string" || (strict && Object.keys(unknown).length > 0)) {
      refuse("system.invalidParams", "Invalid parameters");
    }
    const session = byKey.get(reloginKey);
    if (session && session.keys.at(-1) !== reloginKey) {
      console.log("a key was used twice");
      dispose(session);
    }
    if (session?.keys.at(-1) !== reloginKey) {
      refuse("session.invalidReloginKey", "Invalid relogin key");
    }
    if (session.cid !== cid) putOn(session, cid);
    return issueKey(session);
  });

  serve("auth.session.logout", ({ cid }) => {
    const session = byConnection.get(cid);
    if (session) dispose(session);
    return null;
  });

  const cidOf = (subject) => subject.split(".").at(-1);
  serve("access.session.user.*", ({ cid }, subject) => ({ get: cid === cidOf(subject) }));
  serve("get.session.user.*", (_, subject) => {
    const { id, name, role } = byConnection.get(cidOf(subject))?.user ?? nobody;
    return { model: { id, name, role } };
  });

  let seconds = 0;
  setInterval(() => {
    seconds += 1;
    publish("event.ticker.model.change", { values: { seconds } });
  }, 1000);
  serve("access.ticker.model", ({ token }) => ({ get: Boolean(token) }));
  serve("get.ticker.model", () => ({ model: { seconds } }));

  await nats.flush();
  console.log("ready");
}

main().catch((error) => {
  console.error(error);
  process.exit(1);
});
