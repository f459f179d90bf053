// The same frames for ResClient and for our client: what they make of them, line by line.
import ResClient from "resclient";
import { Client } from "relogin";

/** The other end of the last connection. */
let gateway;

class Gateway extends EventTarget {
  sent = [];

  constructor() {
    super();
    gateway = this;
    setTimeout(() => this.tell(new Event("open")));
  }

  tell(event) {
    this[`on${event.type}`]?.(event);
    this.dispatchEvent(event);
  }

  say(frame) {
    this.tell(new MessageEvent("message", { data: JSON.stringify(frame) }));
  }

  event(event, data) {
    this.say({ event, data });
  }

  send(frame) {
    const { id, method, params } = JSON.parse(frame);
    const sent = params === undefined ? method : `${method} ${JSON.stringify(params)}`;
    if (method !== "version") this.sent.push(sent);
    const [result, error] = answers(method);
    setTimeout(() => this.say(error ? { id, error } : { id, result }));
  }

  close() {
    this.tell(new CloseEvent("close"));
  }
}
window.WebSocket = Gateway;

/** What the service has. */
let world;

const answers = (method) => {
  switch (method) {
    case "version":
      return [{ protocol: "1.2.3" }];
    case "subscribe.library":
      return [world];
    case "call.library.lend":
      return [{ payload: { until: 7 } }];
    case "call.library.find":
      return [{ rid: "found", models: { found: { title: "F" } } }];
    case "unsubscribe.library":
      return [null];
  }
  const [code, message] = ["system.accessDenied", "Access denied"];
  return [undefined, { code, message, data: { why: "so" } }];
};

const beginning = () => ({
  models: {
    library: {
      name: "L",
      open: true,
      books: { rid: "books" },
      marks: { rid: "marks" },
      odd: { rid: "odd" },
      tags: { data: [1, 2] },
      owner: { rid: "owner", soft: true },
    },
    "book.1": { title: "A" },
    "book.2": { title: "B" },
  },
  collections: {
    books: [{ rid: "book.1" }, { rid: "book.2" }],
    marks: ["a", "", "\u00e4\u{1f4d6}", ""],
    odd: ["b\0c", "d"],
  },
});

/** Values that refer to nothing. */
const TEXTS = ["", "two words", "\u00e4\u{1f4d6}", "e\0f", '"\\'];
const PLAIN = [...TEXTS, 0, 7, -0.5, 1e300, 12345678901234567890, true, false, null];

/**
 * Long enough to be copied to WebAssembly in one piece; what is not ASCII stands at the front, in
 * the middle, and where there is hardly room for it.
 */
const LONG = ["", "\u00e4", "\u20ac", "\u{1f4d6}"].flatMap((letter) => {
  const long = "long".repeat(600);
  return [`${letter}${long}`, `${long}${letter}${long}`, `${long}${letter}`];
});

/** Lets all that is on its way arrive. */
const settled = () => new Promise((resolve) => setTimeout(resolve, 20));

const play = async (client) => {
  const lines = [];
  const note = (...what) => lines.push(JSON.stringify(what));
  world = beginning();
  const library = await client.get("library");
  note("got", library, library.name, library.props.tags);
  note("ids", library.owner.rid, library.getResourceId());
  const { books } = library;
  note("books", books.length, [...books].map((book) => book.title));
  note("second", books.atIndex(1).title, books.indexOf(books.atIndex(1)));
  note("the same", (await client.get("library")) === library);

  library.on("change", (before) => {
    note("change", Object.entries(before), library.name, library.open ?? "gone");
  });
  library.on("rang", (data) => note("rang", data));
  books.on("add", ({ item, idx }) => note("add", idx, item.title));
  books.on("remove", ({ item, idx }) => note("remove", idx, item.title));
  const changed = (before) => note("book", before);
  books.atIndex(0).on("change", changed);
  gateway.event("library.change", {
    values: { name: "M", open: { action: "delete" }, tags: { data: [1, 2] } },
  });
  gateway.event("library.rang", { bell: 1 });
  const models = { "book.3": { title: "C" } };
  gateway.event("books.add", { idx: 1, value: { rid: "book.3" }, models });
  gateway.event("book.1.change", { values: { title: "AA" } });
  await settled();
  gateway.event("books.remove", { idx: 2 });
  await settled();
  books.atIndex(0).off("change", changed);
  gateway.event("book.1.change", { values: { title: "AAA" } });
  await settled();
  note("now", library);

  const { marks, odd } = library;
  note("plain", marks.toArray(), odd.toArray());
  marks.on("add", ({ item, idx }) => note("mark", idx, item));
  marks.on("remove", ({ item, idx }) => note("no mark", idx, item));
  for (const value of [...PLAIN, ...LONG]) {
    gateway.event("marks.add", { idx: 1, value });
    gateway.event("library.change", { values: { name: value } });
    gateway.event("marks.remove", { idx: 0 });
    // ResClient tells a moment later, of the values as they are by then.
    await settled();
  }
  gateway.event("library.change", { values: { name: "P", open: "maybe" } });
  await settled();
  gateway.event("library.change", { values: { open: { data: { deep: [null] } } } });
  await settled();
  note("plain now", marks.toArray(), library.props.open);

  note("called", await client.call("library", "lend", { to: "jane" }));
  note("found", (await library.call("find")).title);
  for (const to of LONG) await client.call("library", "lend", to);
  await library.call("burn").catch(({ code, message, data }) => {
    note("refused", code, message, data);
  });
  await client.get("secret").catch((error) => note("denied", error.code));
  note("sent", gateway.sent);

  // Meanwhile things have changed.
  world = beginning();
  world.models.library.name = "N";
  world.models["book.4"] = { title: "D" };
  world.collections.books = [{ rid: "book.1" }, { rid: "book.4" }];
  const before = gateway;
  before.close();
  while (gateway === before || library.name !== "N") await settled();
  await settled();
  note("then", library, gateway.sent);
  client.disconnect();
  return lines;
};

/** What each has made of it. */
window.compare = async () => {
  const url = "ws://gateway/";
  return [await play(new ResClient(url)), await play(new Client(url))];
};
document.body.dataset.state = "there";
