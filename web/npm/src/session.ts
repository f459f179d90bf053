// A session: a login that survives reloads and reconnects, kept on the connection of a RES client: ours, or ResClient.

import { Client } from "./client.js";
import { ResError, asError, report } from "./errors.js";
import { inner } from "./inner.js";
import { type Link, OwnLink } from "./link.js";
import { type Listener, Listeners } from "./listeners.js";
import { backoff, hasBrowser, loaded, noBrowser } from "./module.js";
import { type Binding, type EndReason, RawSession, type RawSessionOptions, type SessionEvent, type SessionStatus, type User } from "./relogin.js";
import { type ResClientLike, ResClientLink } from "./resclient.js";

/** Options of a session. */
export interface SessionOptions {
  /** The name of the session resource, as the service's `--name`; `session` without it. */
  name?: string;
  /**
   * The name in localStorage under which the page kept its relogin key before it had this package: it is
   * taken over, once, and nobody has to log in again.
   */
  adopt?: string;
  /** How often the key is used, in milliseconds, where a service does not say it; a minute without this. */
  refresh?: number;
}

/**
 * `resuming`: a key is in storage (or that is not known yet), and was not used yet: no time for a login
 * form. `anonymous`: nobody is logged in, and nobody was. `reconnecting`: the user was logged in when the
 * connection was lost, and is believed to be still. `ended`: see `reason`. `loadFailed`: the WebAssembly
 * module did not load, so that nothing is known; it is tried again, and at once when `login` or `logout`
 * is called. See `error`.
 */
export type SessionState = SessionStatus["state"] | "loadFailed";

/** A login that survives reloads and reconnects, on the connection of a client. */
export class Session {
  /** @internal */
  readonly [inner]: () => SessionCore;

  /** Keeps the session of all tabs of this origin on this client. Make it before the client connects. Never throws. */
  constructor(client: Client | ResClientLike, options: SessionOptions = {}) {
    const core = new SessionCore(this, client, options ?? {});
    this[inner] = () => core;
    core.start();
  }

  get state(): SessionState {
    return this[inner]().state;
  }

  /** Why it has ended; set while `state` is `ended`. */
  get reason(): EndReason | undefined {
    return this[inner]().reason;
  }

  /** Who is logged in, or believed to be: set while `state` is `loggedIn` or `reconnecting`. */
  get user(): User | null {
    return this[inner]().user;
  }

  /** Why the WebAssembly module did not load: set while `state` is `loadFailed`. */
  get error(): ResError | undefined {
    return this[inner]().error;
  }

  /** `bound`: the key is worth nothing without this browser. `bearer`: whoever has copied the key may use it, once. */
  get binding(): Binding | undefined {
    return this[inner]().binding;
  }

  /** Milliseconds until the key is used next; undefined if it need not be. */
  get refreshIn(): number | undefined {
    return this[inner]().refreshIn;
  }

  /**
   * Fulfilled with the first state that says something: any but `resuming`. For guards of routes. Where
   * there is no browser, it waits for ever.
   */
  get ready(): Promise<SessionState> {
    return this[inner]().ready;
  }

  /** Logs in. Fulfilled when the key is stored. Rejects with a `ResError`, as `session.wrongUsernamePassword`. */
  login(username: string, password: string): Promise<void> {
    this[inner]().hurry();
    return this[inner]().command((raw) => raw.login(String(username), String(password)));
  }

  /** Logs out, here and in all tabs: at once; what the service does not hear of now, it is told later. */
  logout(): Promise<void> {
    return this[inner]().command((raw) => raw.logout());
  }

  /** `state`, `reason` or `user` is another one. */
  on(event: "change", listener: (session: Session) => void): this;
  /** The time of the next use of the key is another one. */
  on(event: "refresh", listener: Listener<number | undefined, Session>): this;
  /** What the session manager saw or did, in words, for logs. No key and no password is in it. */
  on(event: "diagnostic", listener: Listener<string, Session>): this;
  on(event: string, listener: Listener<any, any>): this {
    this[inner]().on(event, listener);
    return this;
  }

  off(event: "change" | "refresh" | "diagnostic", listener: (...told: any[]) => void): this {
    this[inner]().off(event, listener);
    return this;
  }

  /** Lets go of the client. The session stays in storage, for the next page. */
  close(): void {
    this[inner]().close();
  }
}

/** Sessions that the page listens to or waits for: they stay as long as the page does, whoever still knows them. */
const needed = new Set<SessionCore>();

const closed = (): ResError => new ResError("client.closed", "the session was closed");

/** What the package does with a session, and a page cannot. */
export class SessionCore {
  readonly #face: Session;
  readonly #name: string;
  readonly #options: RawSessionOptions;
  readonly #link: Link;
  state: SessionState = "resuming";
  reason: EndReason | undefined;
  user: User | null = null;
  error: ResError | undefined;
  binding: Binding | undefined;
  readonly ready: Promise<SessionState>;
  #isReady!: (state: SessionState) => void;
  #raw: RawSession | null = null;
  /** The start that is under way, or has come to its end. */
  #starting: Promise<RawSession> | null = null;
  #retry: ReturnType<typeof setTimeout> | undefined;
  #failures = 0;
  #closed = false;
  #isConnected = false;
  #refreshAt: number | undefined;
  readonly #listeners = new Listeners();
  /** Those who wait for a command to be settled, and are told when the session is closed. */
  readonly #waiting = new Set<(error: ResError) => void>();

  constructor(face: Session, client: Client | ResClientLike, options: SessionOptions) {
    this.#face = face;
    this.#name = String(options.name ?? "session");
    this.#options = { ...options, name: this.#name };
    this.ready = new Promise((resolve) => (this.#isReady = resolve));
    const over = {
      connected: () => this.#connected(),
      disconnected: () => this.#disconnected(),
      raw: () => this.#raw,
    };
    this.#link = client instanceof Client ? new OwnLink(client[inner](), over) : new ResClientLink(client, over);
  }

  get refreshIn(): number | undefined {
    return this.#refreshAt === undefined ? undefined : Math.max(0, this.#refreshAt - performance.now());
  }

  /** Begins, if there is a browser. */
  start(): void {
    if (!hasBrowser()) return;
    this.#link.attach();
    this.#start().catch(() => {});
  }

  on(events: string, listener: Listener<any, any>): void {
    this.#listeners.add(events, listener);
    this.#stayOrGo();
  }

  off(events: string, listener: Listener<any, any>): void {
    this.#listeners.remove(events, listener);
    this.#stayOrGo();
  }

  /** A person waits: not for back-off, too. */
  hurry(): void {
    this.#link.hurry();
  }

  async command(give: (raw: RawSession) => Promise<void>): Promise<void> {
    if (this.#closed) throw closed();
    if (!hasBrowser()) throw noBrowser();
    const raw = await this.#start();
    return new Promise((resolve, reject) => {
      this.#waiting.add(reject);
      this.#stayOrGo();
      const settled = () => {
        this.#waiting.delete(reject);
        this.#stayOrGo();
      };
      give(raw).then(resolve, (thrown) => reject(asError(thrown))).finally(settled);
    });
  }

  close(): void {
    if (this.#closed) return;
    this.#closed = true;
    clearTimeout(this.#retry);
    this.#link.detach();
    this.#raw?.free();
    this.#raw = null;
    for (const reject of this.#waiting) reject(closed());
    this.#waiting.clear();
    this.#stayOrGo();
  }

  /** The session manager, which is started by the first who asks for it, and again after that has failed. */
  #start(): Promise<RawSession> {
    this.#starting ??= this.#begin();
    return this.#starting;
  }

  async #begin(): Promise<RawSession> {
    clearTimeout(this.#retry);
    try {
      await loaded();
      const raw = await RawSession.start(this.#options, SessionCore.#observer(new WeakRef(this)));
      if (this.#closed) {
        raw.free();
        throw closed();
      }
      this.#raw = raw;
      // Before the user model, which is that of this connection.
      if (this.#isConnected) raw.connected();
      this.#link.watch(`${this.#name}.user.{cid}`);
      return raw;
    } catch (thrown) {
      const error = asError(thrown);
      if (!this.#closed) this.#hasFailed(error);
      throw error;
    }
  }

  #hasFailed(error: ResError): void {
    this.#starting = null;
    // The page goes on without.
    this.#link.ready();
    if (error.code === "client.notLoaded") {
      this.#retry = setTimeout(() => this.#start().catch(() => {}), backoff(this.#failures));
      this.#failures += 1;
    } else {
      report(error);
    }
    this.#become({ state: "loadFailed", error });
  }

  /** As the client's. */
  static #observer(self: WeakRef<SessionCore>): (event: SessionEvent) => void {
    return (event) => {
      const session = self.deref();
      if (session) session.#happened(event);
    };
  }

  /** There is a new connection: for the session manager, at once or when it has started. */
  #connected(): void {
    this.#isConnected = true;
    if (this.#raw) this.#raw.connected();
    // (Told while this is being made, it has no start yet. One that fails lets the page go on without.)
    else queueMicrotask(() => this.#closed || this.#start().catch(() => {}));
  }

  #disconnected(): void {
    this.#isConnected = false;
    this.#raw?.disconnected();
  }

  #happened(event: SessionEvent): void {
    if (this.#closed) return;
    switch (event.type) {
      case "request":
        this.#request(event);
        break;
      case "ready":
        this.#link.ready();
        break;
      case "replace":
        this.#link.replace();
        break;
      case "status":
        this.#become(event.status);
        break;
      case "binding":
        this.binding = event.binding ?? undefined;
        break;
      case "refresh":
        this.#refreshAt = event.refreshIn === null ? undefined : performance.now() + event.refreshIn;
        this.#listeners.tell("refresh", this.refreshIn, this.#face);
        break;
      case "diagnostic":
        this.#listeners.tell("diagnostic", event.line, this.#face);
        break;
    }
  }

  #become(status: SessionStatus | { state: "loadFailed"; error: ResError }): void {
    const { state } = status;
    this.state = state;
    this.user = "user" in status ? status.user : null;
    this.reason = "reason" in status ? status.reason : undefined;
    this.error = "error" in status ? status.error : undefined;
    if (state !== "resuming") this.#isReady(state);
    this.#listeners.tell("change", this.#face);
  }

  async #request({ id, method, params }: SessionEvent & { type: "request" }): Promise<void> {
    try {
      const payload = await this.#link.authenticate(this.#name, method, params);
      this.#raw?.answered(id, payload ?? null);
    } catch (thrown) {
      const { code, message, data } = (thrown ?? {}) as Partial<ResError>;
      // What is no RES error says that the request did not get out.
      const error = code ? { code, message: message ?? code, data } : { code: "system.connectionError", message: "" };
      this.#raw?.failed(id, error);
    }
  }

  #stayOrGo(): void {
    const stays = !this.#closed && (this.#listeners.size > 0 || this.#waiting.size > 0);
    if (stays) needed.add(this);
    else needed.delete(this);
  }
}
