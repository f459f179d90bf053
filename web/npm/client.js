// A RES client: what ResClient does, on the machine in the WebAssembly module.

import load, { RawClient } from "./relogin.js";
import { ResError, asError, report } from "./errors.js";
import { Listeners } from "./listeners.js";
import { Collection, Model, Reference, inner } from "./resources.js";

/** How long a request waits for a connection that takes it; its answer it waits for as long again. */
const PATIENCE = 20_000;

let loading;

/** The module, loaded once. A try that fails is followed by another one. */
export const loaded = () => {
  loading ??= load().catch((thrown) => {
    loading = undefined;
    throw new ResError("client.notLoaded", `the WebAssembly module did not load: ${thrown?.message ?? thrown}`);
  });
  return loading;
};

/** Clients that somebody listens to or waits for: they work as long as the page does, whoever still knows them. */
const needed = new Set();

/** The texts of these lengths that stand one behind the other in `text`. */
const apart = (text, lengths) => {
  const texts = new Array(lengths.length);
  let start = 0;
  for (let at = 0; at < texts.length; at += 1) texts[at] = text.slice(start, (start += lengths[at]));
  return texts;
};

const lost = () => new ResError("system.connectionError", "the connection was lost");

export class Client {
  #url;
  #raw = null;
  #starting = null;
  /** How often it was started or stopped: what belongs to an earlier time is over. */
  #life = 0;
  #connection = 0;
  #state = "stopped";
  #isOpen = false;
  #resources = new Map();
  #failed = new Map();
  /** Resources that were asked for by their id, not only found in others. */
  #direct = new Set();
  #held = new Set();
  #listeners = new Listeners();
  #listening = 0;
  #waiting = new Set();
  #onConnect = null;
  #keep = null;

  constructor(url = "", options = {}) {
    this.#url = String(url);
    this.#onConnect = options?.onConnect ?? null;
    // What is not for pages, out of their way.
    this[inner] = {
      listened: (resource, before, now) => this.#listened(resource, before, now),
      /** A session is kept: `keep` runs on each connection before anything else goes out. Null: no longer. */
      keep: (keep) => {
        this.#keep = keep;
        if (!keep) this.#let(null);
      },
      /** Somebody waits: not for back-off, too. */
      hurry: () => this.#raw?.connectNow(),
      authenticate: (rid, method, params) => this.#send(true, rid, method, params),
      /** Listeners that come and go in `change` are no reason for the client to stay: nobody of the page hears them. */
      aside: (change) => {
        const before = this.#listening;
        change();
        this.#listening = before;
        this.#stayOrGo();
      },
    };
  }

  /** `connecting`, `connected`, `reconnecting` or `stopped`. */
  get state() {
    return this.#state;
  }

  /** Whether requests go out. */
  get connected() {
    return this.#isOpen;
  }

  /** Connects now, whatever the back-off. Fulfilled when it is connected. */
  connect() {
    return this.#start().then((raw) => {
      raw.connectNow();
      return this.#through(true);
    });
  }

  /** Stops. What waits is rejected; resources keep their values, and are brought up to date after `connect`. */
  disconnect() {
    this.#life += 1;
    const raw = this.#raw;
    [this.#raw, this.#starting] = [null, null];
    raw?.free();
    this.#let(lost());
    this.#became("stopped");
  }

  async get(rid) {
    const raw = await this.#start();
    await this.#through(false);
    this.#direct.add(rid);
    try {
      await raw.get(rid);
    } catch (thrown) {
      if (!this.#resources.has(rid)) this.#direct.delete(rid);
      throw asError(thrown);
    }
    const resource = this.#resources.get(rid);
    if (!resource) throw lost();
    this.#hold(resource);
    return resource;
  }

  call(rid, method, params) {
    return this.#call(false, rid, method, params);
  }

  authenticate(rid, method, params) {
    return this.#call(true, rid, method, params);
  }

  on(events, listener) {
    this.#listen(() => this.#listeners.add(events, listener));
    return this;
  }

  off(events, listener) {
    this.#listen(() => this.#listeners.remove(events, listener));
    return this;
  }

  /** `onConnect` is called on each new connection, before resources are subscribed again; that waits for what it returns. */
  setOnConnect(onConnect) {
    this.#onConnect = onConnect;
    return this;
  }

  #start() {
    this.#starting ??= this.#begin((this.#life += 1));
    return this.#starting;
  }

  async #begin(life) {
    try {
      await loaded();
      const raw = await RawClient.connect(this.#url, true, Client.#telling(new WeakRef(this), life));
      if (life !== this.#life) {
        raw.free();
        throw lost();
      }
      this.#raw = raw;
      this.#held.forEach((rid) => raw.hold(rid));
      return raw;
    } catch (thrown) {
      if (life === this.#life) this.#starting = null;
      throw asError(thrown);
    }
  }

  /**
   * What the machine tells, until it has told what belongs together. A function of its own: it must know nothing that keeps a client from
   * going that the page drops. And it throws nothing.
   */
  static #telling(self, life) {
    const names = [];
    // Four places for each thing: its kind, the resource's id, and what belongs to it.
    let told = [];
    return (kind, number, first, second) => {
      if (kind === "named") {
        names[number] = first;
        return;
      }
      // Nothing belongs to it.
      const alone = told.length === 0 && (kind === "item" || kind === "remove" || kind === "value");
      if (kind !== "told" && !alone) {
        // (The lengths lie in the program's memory, for now.)
        told.push(kind, names[number], kind === "texts" ? apart(first, second) : first, second);
        return;
      }
      const client = self.deref();
      const all = told;
      if (!alone) told = [];
      if (client?.#life !== life) return;
      if (alone) client.#happens(kind, names[number], first, second);
      else client.#takeIn(all);
    };
  }

  async #call(auth, rid, method, params) {
    await this.#start();
    await this.#through(false);
    return this.#send(auth, rid, method, params);
  }

  async #send(auth, rid, method, params) {
    if (!this.#raw) throw lost();
    let returned;
    try {
      returned = await this.#raw.call(auth, String(rid), String(method), params === undefined ? undefined : JSON.stringify(params));
    } catch (thrown) {
      throw asError(thrown);
    }
    if (!Array.isArray(returned)) return JSON.parse(returned);
    const [given] = returned;
    this.#direct.add(given);
    const resource = this.#resources.get(given);
    if (!resource) throw this.#failed.get(given) ?? lost();
    this.#hold(resource);
    return resource;
  }

  /** Waits until requests go out; `connected`: or, if no session is kept, at once, for the machine has its own queue. */
  #through(connected) {
    if (this.#isOpen || (!connected && !this.#keep)) return Promise.resolve();
    return new Promise((resolve, reject) => {
      const waiter = { resolve, reject, timer: undefined };
      if (!connected) {
        waiter.timer = setTimeout(() => {
          this.#waiting.delete(waiter);
          this.#stayOrGo();
          reject(new ResError("system.timeout", "no connection in time"));
        }, PATIENCE);
      }
      this.#waiting.add(waiter);
      this.#stayOrGo();
    });
  }

  /** Lets all who wait go on, or tells them why not. */
  #let(error) {
    for (const { resolve, reject, timer } of this.#waiting) {
      clearTimeout(timer);
      if (error) reject(error);
      else resolve();
    }
    this.#waiting.clear();
    this.#stayOrGo();
  }

  #became(state) {
    const wasOpen = this.#isOpen;
    if (this.#state === state) return;
    this.#state = state;
    this.#isOpen = false;
    this.#connection += 1;
    this.#listeners.tell("state", state, this);
    if (wasOpen) this.#listeners.tell("disconnect", undefined, this);
    if (state === "connected") this.#greet(this.#connection).catch(report);
  }

  async #greet(connection) {
    if (this.#keep) await this.#keep();
    if (connection !== this.#connection) return;
    try {
      await this.#onConnect?.(this);
    } catch (thrown) {
      report(thrown);
    }
    if (connection !== this.#connection) return;
    this.#isOpen = true;
    this.#raw?.greeted();
    this.#let(null);
    this.#listeners.tell("connect", undefined, this);
  }

  /** Something has happened. What belongs together is taken in together: a resource comes before or after what it refers to. */
  #takeIn(told) {
    for (let at = 0; at < told.length; at += 4) {
      const [kind, rid] = [told[at], told[at + 1]];
      if (kind === "model" && !(this.#resources.get(rid) instanceof Model)) this.#resources.set(rid, new Model(this, rid));
      if ((kind === "collection" || kind === "texts") && !(this.#resources.get(rid) instanceof Collection)) {
        this.#resources.set(rid, new Collection(this, rid));
      }
    }
    for (let at = 0; at < told.length; at += 4) this.#happens(told[at], told[at + 1], told[at + 2], told[at + 3]);
  }

  #happens(kind, rid, first, second) {
    try {
      this.#happened(kind, rid, first, second);
    } catch (thrown) {
      report(thrown);
    }
  }

  #happened(kind, rid, first, second) {
    if (kind === "connection") return this.#became(first);
    if (kind === "freshness") return this.#isFresh(rid, first, second);
    const resource = this.#resources.get(rid);
    if (!resource) return undefined;
    switch (kind) {
      case "value":
        return resource._become(first, second);
      case "item":
        return resource._add(first, second);
      case "add":
        return resource._add(first, this.#value(JSON.parse(second)));
      case "remove":
        return resource._remove(first);
      case "change":
        return resource._change(this.#values(JSON.parse(first)), false);
      case "model":
        return resource._load(this.#values(JSON.parse(first)));
      case "collection":
        return resource._load(this.#items(JSON.parse(first)));
      case "texts":
        return resource._load(first);
      case "event":
        return resource._tell(first, JSON.parse(second));
      case "deleted":
        return resource._tell("delete", undefined);
      case "forgotten":
        return this.#forgotten(rid, resource);
    }
    return undefined;
  }

  #isFresh(rid, freshness, error) {
    const resource = this.#resources.get(rid);
    if (freshness === "failed") this.#failed.set(rid, asError(error));
    else this.#failed.delete(rid);
    if (!resource) return;
    if (freshness === "failed") resource._tell("unsubscribe", asError(error));
    else resource._tell(freshness, undefined);
    // Found in another resource, which nobody has any more or which has let go of it.
    if (freshness === "stale" && this.#state === "connected") {
      queueMicrotask(() => this.#state === "connected" && resource._listeners > 0 && this.#hold(resource, true));
    }
  }

  #forgotten(rid, resource) {
    if (resource._listeners > 0) return this.#hold(resource, true);
    this.#resources.delete(rid);
    this.#direct.delete(rid);
    this.#failed.delete(rid);
    return undefined;
  }

  #values(json) {
    for (const name of Object.keys(json)) json[name] = this.#value(json[name]);
    return json;
  }

  #items(json) {
    for (let at = 0; at < json.length; at += 1) {
      if (typeof json[at] === "object") json[at] = this.#value(json[at]);
    }
    return json;
  }

  #value(json) {
    if (json === null || typeof json !== "object") return json;
    const { rid } = json;
    if (rid === undefined) return json.data;
    return (!json.soft && (this.#resources.get(rid) ?? this.#failed.get(rid))) || new Reference(this, rid);
  }

  #listened(resource, before, now) {
    this.#listen(() => {}, now - before);
    const rid = resource.getResourceId();
    if (now === 0) this.#release(rid);
    else this.#hold(resource);
  }

  /** Keeps a resource subscribed that somebody listens to. One that came along with another does not need that: `always`. */
  #hold(resource, always = false) {
    const rid = resource.getResourceId();
    if (resource._listeners === 0 || this.#held.has(rid) || !(always || this.#direct.has(rid))) return;
    // Another object may have taken its place meanwhile.
    if (!this.#resources.has(rid)) this.#resources.set(rid, resource);
    this.#held.add(rid);
    this.#raw?.hold(rid);
  }

  #release(rid) {
    if (this.#held.delete(rid)) this.#raw?.release(rid);
  }

  #listen(change, more = 0) {
    const before = this.#listeners.size;
    change();
    this.#listening += this.#listeners.size - before + more;
    this.#stayOrGo();
  }

  #stayOrGo() {
    if (this.#listening > 0 || this.#waiting.size > 0) needed.add(this);
    else needed.delete(this);
  }
}
