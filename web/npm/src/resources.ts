// Models and collections: objects with the values that the gateway has, and events when these
// change. Must not depend on sessions.

import type { Client, ClientCore } from "./client.js";
import type { ResError } from "./errors.js";
import { inner } from "./inner.js";
import { type Events, type Listener, Listeners } from "./listeners.js";

/** A soft reference: a resource that a model or a collection names without including it. */
export class Reference {
  readonly rid: string;
  /** @internal */
  readonly [inner]: () => ClientCore;

  /** @internal */
  constructor(client: ClientCore, rid: string) {
    this[inner] = () => client;
    this.rid = rid;
  }

  /** Subscribes to the resource. */
  get<R extends Model | Collection = Model>(): Promise<R> {
    return this[inner]().get(this.rid) as Promise<R>;
  }

  toJSON(): { rid: string } {
    return { rid: this.rid };
  }
}

/** The inner side of a resource, which pages do not see. */
export abstract class ResourceCore {
  readonly client: ClientCore;
  readonly rid: string;
  abstract readonly facade: Resource;
  readonly #listeners = new Listeners();

  constructor(client: ClientCore, rid: string) {
    this.client = client;
    this.rid = rid;
  }

  get listening(): number {
    return this.#listeners.size;
  }

  emit(event: string, data?: unknown): void {
    this.#listeners.emit(event, data, this.facade);
  }

  on(events: Events, listener: Listener<any, any>): void {
    this.#listen(() => this.#listeners.add(events, listener));
  }

  off(events: Events, listener: Listener<any, any>): void {
    this.#listen(() => this.#listeners.remove(events, listener));
  }

  #listen(change: () => void): void {
    const before = this.#listeners.size;
    change();
    this.client.listenersChanged(this, before, this.#listeners.size);
  }
}

/** The part that models and collections have in common. */
abstract class Resource {
  /** @internal */
  abstract readonly [inner]: () => ResourceCore;

  getResourceId(): string {
    return this[inner]().rid;
  }

  getClient(): Client {
    return this[inner]().client.facade;
  }

  /** Calls a method of the resource. Fulfilled with its result: a value, or a resource. */
  call<R = unknown>(method: string, params?: unknown): Promise<R> {
    const { client, rid } = this[inner]();
    return client.call(false, rid, method, params) as Promise<R>;
  }

  /** Calls an auth method of the resource. */
  auth<R = unknown>(method: string, params?: unknown): Promise<R> {
    const { client, rid } = this[inner]();
    return client.call(true, rid, method, params) as Promise<R>;
  }

  off(event: string | null, listener: Listener<any, any>): this {
    this[inner]().off(event, listener);
    return this;
  }
}

/**
 * A model. Its values are its properties, and all of them are in `props`. References are the
 * resources themselves; soft references are a `Reference`.
 */
export class Model<Props extends object = Record<string, any>> extends Resource {
  /** @internal */
  declare readonly [inner]: () => ModelCore;
  readonly [name: string]: any;

  /** @internal */
  constructor(core: ModelCore) {
    super();
    // Not enumerable, because pages enumerate a model's values.
    Object.defineProperty(this, inner, { value: () => core });
  }

  get props(): Readonly<Props> {
    return this[inner]().props as Readonly<Props>;
  }

  /** Calls the method `set` with these values; undefined deletes one. */
  set(props: Partial<Props>): Promise<unknown> {
    const write = (value: unknown) => (value === undefined ? { action: "delete" } : value);
    return this.call("set", mapValues(props, write));
  }

  toJSON(): Props {
    const core = this[inner]();
    return once(core, () => mapValues(core.props, plain)) as Props;
  }

  /**
   * Values have changed. The data are the values before; undefined for those that did not exist.
   */
  on(event: "change", listener: Listener<Partial<Props>, this>): this;
  on(event: "unsubscribe", listener: Listener<ResError, this>): this;
  on(event: "live" | "stale" | "delete", listener: Listener<undefined, this>): this;
  on(event: string | null, listener: Listener<any, this>): this;
  on(event: string | null, listener: Listener<any, any>): this {
    this[inner]().on(event, listener);
    return this;
  }
}

export class ModelCore extends ResourceCore {
  readonly props: Record<string, unknown> = {};
  readonly facade: Model = new Model(this);

  /** Replaces all values. */
  load(values: Record<string, unknown>): void {
    const gone = Object.keys(this.props).filter((name) => !Object.hasOwn(values, name));
    for (const name of gone) values[name] = undefined;
    this.change(values);
  }

  /** Takes in new values (undefined: deleted). The event has those before. */
  change(values: Record<string, unknown>): void {
    const before: Record<string, unknown> = {};
    let changed = false;
    for (const name in values) changed = this.#set(name, values[name], before) || changed;
    if (changed) this.emit("change", before);
  }

  #set(name: string, value: unknown, before: Record<string, unknown>): boolean {
    const { props } = this;
    if (same(props[name], value)) return false;
    before[name] = props[name];
    // Members of the class keep their meaning; `props` has all values.
    const facade = this.facade as Record<string, unknown>;
    const shown = !(name in Model.prototype);
    if (value === undefined) {
      delete props[name];
      if (shown) delete facade[name];
    } else {
      props[name] = value;
      if (shown) facade[name] = value;
    }
    return true;
  }
}

/** A collection: values in order. It is iterable. */
export class Collection<Item = any> extends Resource implements Iterable<Item> {
  /** @internal */
  readonly [inner]: () => CollectionCore;

  /** @internal */
  constructor(core: CollectionCore) {
    super();
    this[inner] = () => core;
  }

  get length(): number {
    return this.list.length;
  }

  get list(): readonly Item[] {
    return this[inner]().items as Item[];
  }

  atIndex(index: number): Item | undefined {
    return this.list[index];
  }

  indexOf(item: Item): number {
    // The page may have a proxy of the resource.
    const core = item instanceof Resource ? item[inner]() : undefined;
    return this.list.indexOf(core ? (core.facade as Item) : item);
  }

  toArray(): Item[] {
    return this.list.slice();
  }

  [Symbol.iterator](): Iterator<Item> {
    return this.list[Symbol.iterator]();
  }

  toJSON(): unknown[] {
    const core = this[inner]();
    return once(core, () => core.items.map(plain)) as unknown[];
  }

  on(event: "add" | "remove", listener: Listener<{ item: Item; idx: number }, this>): this;
  on(event: "unsubscribe", listener: Listener<ResError, this>): this;
  on(event: "live" | "stale" | "delete", listener: Listener<undefined, this>): this;
  on(event: string | null, listener: Listener<any, this>): this;
  on(event: string | null, listener: Listener<any, any>): this {
    this[inner]().on(event, listener);
    return this;
  }
}

export class CollectionCore extends ResourceCore {
  items: unknown[] = [];
  readonly facade: Collection = new Collection(this);

  add(idx: number, item: unknown): void {
    this.items.splice(idx, 0, item);
    this.emit("add", { item, idx });
  }

  remove(idx: number): void {
    const item = this.items.splice(idx, 1)[0];
    this.emit("remove", { item, idx });
  }

  /** Replaces all values. Equal values at both ends stay. */
  load(items: unknown[]): void {
    if (this.items.length === 0 && this.listening === 0) {
      this.items = items;
      return;
    }
    let start = 0;
    let [end, to] = [this.items.length, items.length];
    while (start < end && start < to && same(this.items[start], items[start])) start += 1;
    while (end > start && to > start && same(this.items[end - 1], items[to - 1])) {
      [end, to] = [end - 1, to - 1];
    }
    while (end > start) this.remove((end -= 1));
    for (; start < to; start += 1) this.add(start, items[start]);
  }
}

const plain = (value: unknown): unknown => {
  const { toJSON } = (value ?? {}) as { toJSON?: unknown };
  return typeof toJSON === "function" ? toJSON.call(value) : value;
};

const mapValues = (values: object, map: (value: unknown) => unknown): Record<string, unknown> =>
  Object.fromEntries(Object.entries(values).map(([name, value]) => [name, map(value)]));

const visiting = new Set<ResourceCore>();

/** Resources may refer to each other in circles: within itself, a resource is written as its id. */
const once = (core: ResourceCore, write: () => unknown): unknown => {
  if (visiting.has(core)) return { rid: core.rid };
  visiting.add(core);
  try {
    return write();
  } finally {
    visiting.delete(core);
  }
};

const same = (one: unknown, other: unknown): boolean => {
  if (one === other) return true;
  if (typeof one !== "object" || typeof other !== "object" || !one || !other) return false;
  if (one instanceof Resource || other instanceof Resource) return false;
  return JSON.stringify(one) === JSON.stringify(other);
};
