// Makes clients with sessions, and lets go of them.
import { Client, Session } from "relogin";
import load, { alive } from "/relogin/relogin.js";

/** Opens the sockets that are late. */
const late = [];

/**
 * A gateway in the page, on which nobody is logged in: a browser opens real connections one after
 * the other.
 */
class AtHand extends EventTarget {
  constructor(url) {
    super();
    const open = () => this.dispatchEvent(new Event("open"));
    if (!String(url).endsWith("/late")) setTimeout(open);
    else document.body.dataset.late = late.push(open);
  }

  send(frame) {
    const { id, method } = JSON.parse(frame);
    const user = "subscribe.session.user.{cid}";
    const models = { "session.user.{cid}": { id: null } };
    const results = { version: { protocol: "1.2.3" }, [user]: { models } };
    const result = results[method] ?? null;
    const error = { code: "system.notFound", message: "Not found" };
    const data = JSON.stringify(result ? { id, result } : { id, error });
    setTimeout(() => this.dispatchEvent(new MessageEvent("message", { data })));
  }

  close() {}
}
window.WebSocket = AtHand;

const { memory } = await load();

// What the package listens to beyond its own objects.
let listening = 0;
for (const target of [window, document]) {
  const [add, remove] = [target.addEventListener, target.removeEventListener];
  target.addEventListener = function (...how) {
    listening += 1;
    return add.apply(this, how);
  };
  target.removeEventListener = function (...how) {
    listening -= 1;
    return remove.apply(this, how);
  };
}

/** A client and a session at work. */
const make = async () => {
  const client = new Client("/ws");
  const session = new Session(client);
  await client.get("session.user.{cid}");
  return { client, session };
};

/** Used, and closed. */
const close = async () => {
  const { client, session } = await make();
  const user = await client.get("session.user.{cid}");
  user.on("change", () => {});
  session.on("change", () => {});
  await client.get("no.such.model").catch(() => {});
  session.close();
  client.disconnect();
};

/** So many, some at a time; `then` is waited for after each time. */
const many = async (one, count, together, then) => {
  for (let made = 0; made < count; made += together) {
    await Promise.all(Array.from({ length: together }, one));
    await then?.();
  }
};

/** Waits until what was closed has ended. */
const over = async () => {
  while (alive() > 0) await new Promise((resolve) => setTimeout(resolve, 10));
};

window.page = {
  alive,
  bytes: () => memory.buffer.byteLength,
  listening: () => listening,
  /** Never more than `together` are there: what is needed for those is all that is ever needed. */
  close: (count, together) => many(close, count, together, over),
  /** Waits for a client that nobody else knows. */
  wait: () => {
    new Client("/late").connect().then(() => { document.body.dataset.waited = "told"; });
  },
  open: () => late.forEach((open) => open()),
  drop: (count) => many(async () => void (await make()), count, 20),
};
document.body.dataset.state = "there";
