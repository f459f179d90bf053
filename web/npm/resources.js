// Models and collections: plain objects that show what the gateway has, and tell when that changes.

import { Listeners } from "./listeners.js";

/** What the client does to a resource, and a page cannot. */
export const inner = Symbol("relogin");

/** A resource that a model or a collection names without bringing it along. */
export class Reference {
  #client;

  constructor(client, rid) {
    this.#client = client;
    this.rid = rid;
  }

  /** Subscribes to it. */
  get() {
    return this.#client.get(this.rid);
  }

  toJSON() {
    return { rid: this.rid };
  }
}

class Resource {
  #client;
  #rid;
  #listeners = new Listeners();

  constructor(client, rid) {
    this.#client = client;
    this.#rid = rid;
  }

  getResourceId() {
    return this.#rid;
  }

  getClient() {
    return this.#client;
  }

  on(events, listener) {
    this.#listen(() => this.#listeners.add(events, listener));
    return this;
  }

  off(events, listener) {
    this.#listen(() => this.#listeners.remove(events, listener));
    return this;
  }

  call(method, params) {
    return this.#client.call(this.#rid, method, params);
  }

  auth(method, params) {
    return this.#client.authenticate(this.#rid, method, params);
  }

  #listen(change) {
    const before = this.#listeners.size;
    change();
    this.#client[inner].listened(this, before, this.#listeners.size);
  }

  _tell(event, data) {
    this.#listeners.tell(event, data, this);
  }

  get _listeners() {
    return this.#listeners.size;
  }
}

/** A model: its values are its properties. */
export class Model extends Resource {
  #props = {};

  get props() {
    return this.#props;
  }

  set(props) {
    const values = Object.entries(props).map(([name, value]) => [name, value === undefined ? { action: "delete" } : value]);
    return this.call("set", Object.fromEntries(values));
  }

  toJSON() {
    return once(this, () => Object.fromEntries(Object.entries(this.#props).map(([name, value]) => [name, plain(value)])));
  }

  /** Takes in new values (undefined: gone); `all`: what is not among them is gone. Tells what was there before. */
  _change(values, all) {
    const before = {};
    let changed = false;
    for (const name of Object.keys(values)) changed = this.#set(name, values[name], before) || changed;
    const gone = all ? Object.keys(this.#props).filter((name) => !Object.hasOwn(values, name)) : [];
    for (const name of gone) changed = this.#set(name, undefined, before) || changed;
    if (changed) this._tell("change", before);
  }

  /** Takes in one new value. */
  _become(name, value) {
    const before = {};
    if (this.#set(name, value, before)) this._tell("change", before);
  }

  #set(name, value, before) {
    const props = this.#props;
    if (same(props[name], value)) return false;
    before[name] = props[name];
    // What the class has keeps its meaning; `props` has everything.
    const shown = !(name in Model.prototype) && !name.startsWith("_");
    if (value === undefined) {
      delete props[name];
      if (shown) delete this[name];
    } else {
      props[name] = value;
      if (shown) this[name] = value;
    }
    return true;
  }

  _load(values) {
    this._change(values, true);
  }
}

/** A collection: values in order, which can be gone through. */
export class Collection extends Resource {
  #items = [];

  get length() {
    return this.#items.length;
  }

  get list() {
    return this.#items;
  }

  atIndex(index) {
    return this.#items[index];
  }

  indexOf(item) {
    return this.#items.indexOf(item);
  }

  toArray() {
    return this.#items.slice();
  }

  [Symbol.iterator]() {
    return this.#items[Symbol.iterator]();
  }

  toJSON() {
    return once(this, () => this.#items.map(plain));
  }

  _add(idx, item) {
    this.#items.splice(idx, 0, item);
    this._tell("add", { item, idx });
  }

  _remove(idx) {
    const item = this.#items.splice(idx, 1)[0];
    this._tell("remove", { item, idx });
  }

  /** Takes in all values anew: what is the same at both ends stays. */
  _load(items) {
    if (this.#items.length === 0 && this._listeners === 0) {
      this.#items = items;
      return;
    }
    let start = 0;
    let [end, to] = [this.#items.length, items.length];
    while (start < end && start < to && same(this.#items[start], items[start])) start += 1;
    while (end > start && to > start && same(this.#items[end - 1], items[to - 1])) [end, to] = [end - 1, to - 1];
    while (end > start) this._remove((end -= 1));
    for (; start < to; start += 1) this._add(start, items[start]);
  }
}

const plain = (value) => (typeof value?.toJSON === "function" ? value.toJSON() : value);

const visiting = new Set();

/** Resources may refer to each other in circles: inside of itself, one is its id. */
const once = (resource, write) => {
  if (visiting.has(resource)) return { rid: resource.getResourceId() };
  visiting.add(resource);
  try {
    return write();
  } finally {
    visiting.delete(resource);
  }
};

const same = (one, other) => {
  if (one === other) return true;
  if (one === null || other === null || typeof one !== "object" || typeof other !== "object") return false;
  if (one instanceof Resource || other instanceof Resource) return false;
  return JSON.stringify(one) === JSON.stringify(other);
};
