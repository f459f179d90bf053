// A RES client with the API of ResClient, on the state machine in the WebAssembly module. Must not
// depend on sessions.

import { ResError, asError, connectionLost, report } from "./errors.js";
import { inner } from "./inner.js";
import { type Listener, Listeners } from "./listeners.js";
import { hasBrowser, loaded, noBrowser } from "./module.js";
import { type ClientEvent, type ConnectionState, RawClient, type ResValue } from "./relogin.js";
import {
  Collection,
  CollectionCore,
  Model,
  ModelCore,
  Reference,
  type ResourceCore,
} from "./resources.js";

/** Milliseconds that a request waits for a connection, and then again for its answer. */
const TIMEOUT = 20_000;

/** Options of a client. */
export interface ClientOptions {
  /** See `Client.setOnConnect`. */
  onConnect?: OnConnect | null;
  /**
   * Within how many milliseconds the client reconnects, at random, when a connection that lasted is
   * lost without a word of the gateway. To be set where very many clients share one; 250 otherwise.
   */
  spread?: number;
}

type OnConnect = (client: Client) => unknown;

/** A client of a RES gateway. It connects at the first request. */
export class Client {
  /** @internal */
  readonly [inner]: () => ClientCore;

  /**
   * `url`: the gateway's address, absolute or relative; an empty one is `/ws` on the origin that
   * served the page. Of several addresses the client uses one that works. Never throws.
   */
  constructor(url: string | readonly string[] = "", options: ClientOptions = {}) {
    const core = new ClientCore(this, [url].flat().map(String), options ?? {});
    this[inner] = () => core;
  }

  get state(): ConnectionState {
    return this[inner]().state;
  }

  /**
   * Whether requests are sent: it is connected, and the session, if there is one, has been resumed.
   */
  get connected(): boolean {
    return this[inner]().isOpen;
  }

  /**
   * Connects at once, whatever the back-off says, and goes on trying. Rejected if the address is
   * unusable, the WebAssembly module does not load, or `disconnect` is called.
   */
  connect(): Promise<void> {
    return this[inner]().connect();
  }

  /**
   * Stops. Pending requests are rejected with `system.connectionError`. Resources keep their
   * values, and are updated after `connect`.
   */
  disconnect(): void {
    this[inner]().disconnect();
  }

  /**
   * Gets a model or a collection, with what it refers to. It is kept up to date while it has
   * listeners, and for five seconds after that.
   */
  get<R extends Model | Collection = Model>(rid: string): Promise<R> {
    return this[inner]().get(rid) as Promise<R>;
  }

  /** Calls a method. Fulfilled with its result: a value, or a resource. */
  call<R = unknown>(rid: string, method: string, params?: unknown): Promise<R> {
    return this[inner]().call(false, rid, method, params) as Promise<R>;
  }

  /** Calls an auth method. */
  authenticate<R = unknown>(rid: string, method: string, params?: unknown): Promise<R> {
    return this[inner]().call(true, rid, method, params) as Promise<R>;
  }

  on(event: "state", listener: Listener<ConnectionState, Client>): this;
  on(event: "connect" | "disconnect", listener: Listener<undefined, Client>): this;
  on(event: string, listener: Listener<any, Client>): this {
    this[inner]().on(event, listener);
    return this;
  }

  off(event: string, listener: Listener<any, any>): this {
    this[inner]().off(event, listener);
    return this;
  }

  /**
   * Sets a function that is called on each new connection. Its requests are sent at once; resources
   * are subscribed again when the promise that it returns is settled.
   */
  setOnConnect(onConnect: OnConnect | null): this {
    this[inner]().onConnect = onConnect;
    return this;
  }
}

/**
 * Clients that the page listens to or waits for. They are kept alive here even if the page has
 * dropped them.
 */
const needed = new Set<ClientCore>();

/** Resumes a session on a new connection. */
type Resume = () => Promise<void>;

interface Waiter {
  resolve(): void;
  reject(error: ResError): void;
  timer?: ReturnType<typeof setTimeout> | undefined;
}

/** The inner side of a client, which pages do not see. */
export class ClientCore {
  readonly facade: Client;
  state: ConnectionState = "stopped";
  isOpen = false;
  onConnect: OnConnect | null;
  readonly #urls: string[];
  readonly #spread: number;
  #raw: RawClient | null = null;
  #starting: Promise<RawClient> | null = null;
  /** Counts starts and stops, to emit apart what belongs to an earlier start. */
  #life = 0;
  #connection = 0;
  readonly #resources = new Map<string, ModelCore | CollectionCore>();
  readonly #failed = new Map<string, ResError>();
  /** Resources that were requested by their id, not only found in others. */
  readonly #direct = new Set<string>();
  readonly #held = new Set<string>();
  readonly #listeners = new Listeners();
  #listening = 0;
  readonly #waiting = new Set<Waiter>();
  #resume: Resume | null = null;

  constructor(facade: Client, urls: string[], { onConnect, spread }: ClientOptions) {
    this.facade = facade;
    this.#urls = urls;
    this.#spread = Number(spread) || 0;
    this.onConnect = onConnect ?? null;
  }

  /** Adds a session: `resume` runs on each connection before anything else is sent. */
  addSession(resume: Resume): void {
    this.#resume = resume;
  }

  /** Removes the session, unless another one has replaced it. */
  removeSession(resume: Resume): void {
    if (this.#resume !== resume) return;
    this.#resume = null;
    this.#releaseWaiting(null);
  }

  /** A person is waiting: skips the back-off. */
  connectNow(): void {
    this.#raw?.connectNow();
  }

  /** Applies `change`, which adds or removes listeners that do not keep the client alive. */
  uncounted(change: () => void): void {
    const before = this.#listening;
    change();
    this.#listening = before;
    this.#updateNeeded();
  }

  async connect(): Promise<void> {
    // On a server that renders pages there will never be a connection.
    if (!hasBrowser()) return new Promise(() => {});
    (await this.#start()).connectNow();
    return this.#whenOpen(true);
  }

  disconnect(): void {
    this.#life += 1;
    const raw = this.#raw;
    [this.#raw, this.#starting] = [null, null];
    raw?.free();
    this.#releaseWaiting(connectionLost());
    this.#setState("stopped");
  }

  async get(rid: string): Promise<Model | Collection> {
    const raw = await this.#start();
    await this.#whenOpen(false);
    this.#direct.add(rid);
    try {
      await raw.get(rid);
    } catch (thrown) {
      if (!this.#resources.has(rid)) this.#direct.delete(rid);
      throw asError(thrown);
    }
    return this.#requested(rid);
  }

  async call(auth: boolean, rid: string, method: string, params: unknown): Promise<unknown> {
    await this.#start();
    await this.#whenOpen(false);
    return this.send(auth, rid, method, params);
  }

  /** Like `call`, but on this connection, without waiting until it has been greeted. */
  async send(auth: boolean, rid: string, method: string, params: unknown): Promise<unknown> {
    if (!this.#raw) throw connectionLost();
    const request = { auth, rid: String(rid), method: String(method), params: json(params) };
    const called = await this.#raw.call(request).catch((thrown) => { throw asError(thrown); });
    return called.type === "payload" ? called.payload : this.#requested(called.rid);
  }

  on(events: string, listener: Listener<any, any>): void {
    this.#listen(() => this.#listeners.add(events, listener));
  }

  off(events: string, listener: Listener<any, any>): void {
    this.#listen(() => this.#listeners.remove(events, listener));
  }

  /** A resource has gained or lost listeners. */
  listenersChanged(resource: ResourceCore, before: number, now: number): void {
    this.#listen(() => {}, now - before);
    if (now === 0) this.#release(resource.rid);
    else this.#hold(resource);
  }

  /** Returns a resource that was requested and has been loaded. */
  #requested(rid: string): Model | Collection {
    this.#direct.add(rid);
    const resource = this.#resources.get(rid);
    if (!resource) throw this.#failed.get(rid) ?? connectionLost();
    this.#hold(resource);
    return resource.facade;
  }

  #start(): Promise<RawClient> {
    this.#starting ??= this.#begin((this.#life += 1));
    return this.#starting;
  }

  async #begin(life: number): Promise<RawClient> {
    try {
      if (!hasBrowser()) throw noBrowser();
      await loaded();
      const raw = await RawClient.connect(
        { urls: this.#urls, spread: this.#spread, greet: true },
        ClientCore.#observer(new WeakRef(this), life),
      );
      if (life !== this.#life) {
        raw.free();
        throw connectionLost();
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
   * A function that takes in the machine's events. It is static because it must not keep a client
   * alive that the page has dropped. It never throws.
   */
  static #observer(self: WeakRef<ClientCore>, life: number): (events: ClientEvent[]) => void {
    return (events) => {
      const client = self.deref();
      if (client && client.#life === life) client.#takeIn(events);
    };
  }

  /**
   * Waits until requests are sent. Unless `connected` is set it does not wait if there is no
   * session, because the machine has a queue of its own.
   */
  #whenOpen(connected: boolean): Promise<void> {
    if (this.isOpen || (!connected && !this.#resume)) return Promise.resolve();
    return new Promise((resolve, reject) => {
      const waiter: Waiter = { resolve, reject };
      if (!connected) {
        waiter.timer = setTimeout(() => {
          this.#waiting.delete(waiter);
          this.#updateNeeded();
          reject(new ResError("system.timeout", "no connection in time"));
        }, TIMEOUT);
      }
      this.#waiting.add(waiter);
      this.#updateNeeded();
    });
  }

  /** Lets all waiters go on, or rejects them. */
  #releaseWaiting(error: ResError | null): void {
    for (const { resolve, reject, timer } of this.#waiting) {
      clearTimeout(timer);
      if (error) reject(error);
      else resolve();
    }
    this.#waiting.clear();
    this.#updateNeeded();
  }

  #setState(state: ConnectionState): void {
    const wasOpen = this.isOpen;
    if (this.state === state) return;
    this.state = state;
    this.isOpen = false;
    this.#connection += 1;
    this.#listeners.emit("state", state, this.facade);
    if (wasOpen) this.#listeners.emit("disconnect", undefined, this.facade);
    if (state === "connected") this.#greet(this.#connection).catch(report);
  }

  async #greet(connection: number): Promise<void> {
    if (this.#resume) await this.#resume();
    if (connection !== this.#connection) return;
    try {
      await this.onConnect?.(this.facade);
    } catch (thrown) {
      report(thrown);
    }
    if (connection !== this.#connection) return;
    this.isOpen = true;
    this.#raw?.greeted();
    this.#releaseWaiting(null);
    this.#listeners.emit("connect", undefined, this.facade);
  }

  /**
   * Takes in events that belong together: a resource may come before or after the one that refers
   * to it.
   */
  #takeIn(events: ClientEvent[]): void {
    for (const event of events) {
      if (event.type !== "model" && event.type !== "collection") continue;
      const Core = event.type === "model" ? ModelCore : CollectionCore;
      if (!(this.#resources.get(event.rid) instanceof Core)) {
        this.#resources.set(event.rid, new Core(this, event.rid));
      }
    }
    for (const event of events) {
      try {
        this.#handle(event);
      } catch (thrown) {
        report(thrown);
      }
    }
  }

  #handle(event: ClientEvent): void {
    if (event.type === "connection") return this.#setState(event.state);
    const resource = this.#resources.get(event.rid);
    if (event.type === "freshness") return this.#freshnessChanged(event, resource);
    switch (event.type) {
      case "model":
        return (resource as ModelCore).load(this.#values(event.values));
      case "change":
        return (resource as ModelCore | undefined)?.change(this.#values(event.values));
      case "collection":
        return (resource as CollectionCore).load(this.#items(event.items));
      case "add":
        return (resource as CollectionCore | undefined)?.add(event.index, this.#value(event.value));
      case "remove":
        return (resource as CollectionCore | undefined)?.remove(event.index);
      case "custom":
        return resource?.emit(event.name, event.data);
      case "deleted":
        return resource?.emit("delete");
      case "forgotten":
        return resource && this.#forgotten(resource);
    }
  }

  #freshnessChanged(
    { rid, freshness, error }: ClientEvent & { type: "freshness" },
    resource: ResourceCore | undefined,
  ): void {
    if (freshness === "failed") {
      const why = asError(error);
      this.#failed.set(rid, why);
      return resource?.emit("unsubscribe", why);
    }
    this.#failed.delete(rid);
    resource?.emit(freshness);
    // It was found in another resource, which was dropped or no longer refers to it.
    if (resource && freshness === "stale" && this.state === "connected") {
      queueMicrotask(() => {
        if (this.state === "connected" && resource.listening > 0) this.#hold(resource, true);
      });
    }
  }

  #forgotten(resource: ResourceCore): void {
    if (resource.listening > 0) return this.#hold(resource, true);
    this.#resources.delete(resource.rid);
    this.#direct.delete(resource.rid);
    this.#failed.delete(resource.rid);
  }

  /** Converts values in place. */
  #values(values: Record<string, ResValue>): Record<string, unknown> {
    const taken: Record<string, unknown> = values;
    for (const name in values) taken[name] = this.#value(values[name]!);
    return taken;
  }

  /** Converts items in place. */
  #items(items: ResValue[]): unknown[] {
    const taken: unknown[] = items;
    for (let at = 0; at < items.length; at += 1) {
      if (typeof items[at] === "object") taken[at] = this.#value(items[at]!);
    }
    return taken;
  }

  /** The value as pages see it; undefined for one that was deleted. */
  #value(value: ResValue): unknown {
    if (value === null || typeof value !== "object") return value;
    if ("data" in value) return value.data;
    if ("action" in value) return undefined;
    const { rid } = value;
    const included = this.#resources.get(rid)?.facade ?? this.#failed.get(rid);
    return ("soft" in value ? undefined : included) ?? new Reference(this, rid);
  }

  /**
   * Keeps a resource with listeners subscribed. One that was only found in another resource does
   * not need that, unless `always` is set.
   */
  #hold(resource: ResourceCore, always = false): void {
    const { rid } = resource;
    if (resource.listening === 0 || this.#held.has(rid)) return;
    if (!always && !this.#direct.has(rid)) return;
    // Another object may have replaced it in the meantime.
    if (!this.#resources.has(rid)) this.#resources.set(rid, resource as ModelCore | CollectionCore);
    this.#held.add(rid);
    this.#raw?.hold(rid);
  }

  #release(rid: string): void {
    if (this.#held.delete(rid)) this.#raw?.release(rid);
  }

  #listen(change: () => void, more = 0): void {
    const before = this.#listeners.size;
    change();
    this.#listening += this.#listeners.size - before + more;
    this.#updateNeeded();
  }

  #updateNeeded(): void {
    if (this.#listening > 0 || this.#waiting.size > 0) needed.add(this);
    else needed.delete(this);
  }
}

/** The value as JSON: the result of `toJSON`, without what JSON cannot represent. */
const json = (value: unknown): unknown =>
  value === undefined ? undefined : JSON.parse(JSON.stringify(value) ?? "null");
