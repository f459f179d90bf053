// A session on the connection of a RES client, which is the package's own or ResClient. Must not
// decide when a key is used: that is up to the session manager in the WebAssembly module.

import { Client } from "./client.js";
import { ResError, asError, connectionLost, report } from "./errors.js";
import { inner } from "./inner.js";
import { type Link, OwnLink } from "./link.js";
import { type Listener, Listeners } from "./listeners.js";
import { backoff, hasBrowser, loaded, noBrowser } from "./module.js";
import {
  type Binding,
  type EndReason,
  RawSession,
  type RawSessionOptions,
  type SessionEvent,
  type SessionStatus,
  type User,
} from "./relogin.js";
import { type ResClientLike, ResClientLink } from "./resclient.js";

/** Options of a session. */
export interface SessionOptions {
  /** The name of the session resource, as the service's `--name`; `session` without it. */
  name?: string;
  /**
   * The name in localStorage under which the page kept its relogin key before it had this package.
   * The key is taken over once, so that nobody has to log in again.
   */
  adopt?: string;
  /**
   * How often the key is used, in milliseconds, if the service does not say so. A minute by
   * default.
   */
  refresh?: number;
}

/**
 * `resuming`: there is a key in storage, or that is not known yet, and it has not been used: do not
 * show a login form yet. `anonymous`: nobody is logged in, and nobody was. `reconnecting`: the user
 * was logged in when the connection was lost, and is assumed to be still. `ended`: see `reason`.
 * `loadFailed`: the WebAssembly module did not load, so that nothing is known (see `error`);
 * loading is tried again, and at once when `login` or `logout` is called.
 */
export type SessionState = SessionStatus["state"] | "loadFailed";

/** The `data` of the error `session.passwordTooShort`. */
export interface PasswordTooShort {
  /** The fewest characters that a password may have. */
  minLength: number;
}

/** One of the user's sessions, on the list of `Session.sessions`. */
export interface ListedSession {
  /** Names it for `Session.revoke`. */
  readonly id: string;
  /** What the user calls the device. */
  readonly label: string | null;
  /** The browser that logged in, in words: `Firefox`. */
  readonly browser: string | null;
  /** Its system, in words: `Windows`. */
  readonly system: string | null;
  /** The IP address from which it was used last. */
  readonly address: string | null;
  /** When the user logged in, in milliseconds since 1970. */
  readonly created: number;
  /** When it was used last, in milliseconds since 1970. */
  readonly lastSeen: number;
  /** Whether it is this session. */
  readonly current: boolean;
  /** Whether its key is useless without its browser. */
  readonly bound: boolean;
}

/** A model of a list: the values, and the event `change` when one of them has changed. */
export interface SessionModel extends ListedSession {
  on(event: "change", listener: (...data: any[]) => void): any;
  off(event: "change", listener: (...data: any[]) => void): any;
}

/** The user's sessions, a collection of the client that the session is on. */
export interface SessionList extends Iterable<SessionModel> {
  readonly length: number;
  on(event: "add" | "remove", listener: (...data: any[]) => void): any;
  off(event: "add" | "remove", listener: (...data: any[]) => void): any;
}

/** A login that survives reloads and reconnects, on the connection of a client. */
export class Session {
  /** @internal */
  readonly [inner]: () => SessionCore;

  /**
   * Keeps the session, which all tabs of this origin share, on this client. Create it before the
   * client connects. Never throws.
   */
  constructor(client: Client | ResClientLike, options: SessionOptions = {}) {
    const core = new SessionCore(this, client, options ?? {});
    this[inner] = () => core;
    core.start();
  }

  get state(): SessionState {
    return this[inner]().state;
  }

  /** Why the session has ended; set while `state` is `ended`. */
  get reason(): EndReason | undefined {
    return this[inner]().reason;
  }

  /** Who is logged in, or assumed to be: set while `state` is `loggedIn` or `reconnecting`. */
  get user(): User | null {
    return this[inner]().user;
  }

  /** Why the WebAssembly module did not load; set while `state` is `loadFailed`. */
  get error(): ResError | undefined {
    return this[inner]().error;
  }

  /**
   * `bound`: the key is useless without this browser. `bearer`: whoever has copied the key can use
   * it, once.
   */
  get binding(): Binding | undefined {
    return this[inner]().binding;
  }

  /** Milliseconds until the next use of the key; undefined if none is due. */
  get refreshIn(): number | undefined {
    return this[inner]().refreshIn;
  }

  /**
   * Fulfilled with the first state other than `resuming`: for route guards. Never fulfilled where
   * there is no browser.
   */
  get ready(): Promise<SessionState> {
    return this[inner]().ready;
  }

  /**
   * Logs in. Fulfilled once the key is stored. Rejected with a `ResError`, for example
   * `session.wrongUsernamePassword`.
   */
  login(username: string, password: string): Promise<void> {
    this[inner]().connectNow();
    return this[inner]().command((raw) => raw.login(String(username), String(password)));
  }

  /**
   * Logs out here and in all tabs, at once. If the service cannot be reached, the logout is
   * completed on a later connection.
   */
  logout(): Promise<void> {
    return this[inner]().command((raw) => raw.logout());
  }

  /**
   * Changes the password of the user who is logged in. Their sessions elsewhere end; this one goes
   * on. Rejected with a `ResError`: `session.wrongPassword`, `session.passwordTooShort` (`data` is
   * a `PasswordTooShort`), `session.passwordTooWeak`, `session.passwordNotChangeable`,
   * `session.tooManyAttempts` (`data.retryAfter`), `session.notLoggedIn`. Where the answer is lost
   * (`system.timeout`, `system.connectionError`), the password may have been changed.
   */
  changePassword(current: string, next: string): Promise<void> {
    return this[inner]().changePassword(String(current), String(next));
  }

  /**
   * Subscribes to all sessions of the user who is logged in, this one among them. The list stays up
   * to date while it has a listener, like every resource of the client.
   */
  sessions(): Promise<SessionList> {
    return this[inner]().sessions();
  }

  /**
   * Ends a session on the list. For the current one there is `logout`, which also forgets its key.
   * Rejected with `session.noSuchSession` if the user has none of that id, and with
   * `session.loginTooOld` if the service asks for a fresh login first.
   */
  async revoke(id: string): Promise<void> {
    await this[inner]().authenticate("revoke", { id });
  }

  /** Ends all sessions of the user but this one. Fulfilled with how many these were. */
  async revokeOthers(): Promise<number> {
    const { revoked } = (await this[inner]().authenticate("revokeOthers")) as { revoked: number };
    return revoked;
  }

  /** `state`, `reason` or `user` has changed. */
  on(event: "change", listener: (session: Session) => void): this;
  /** The time of the key's next use has changed. */
  on(event: "refresh", listener: Listener<number | undefined, Session>): this;
  /** What the session manager has seen or done, as a line for logs, without keys and passwords. */
  on(event: "diagnostic", listener: Listener<string, Session>): this;
  on(event: string, listener: Listener<any, any>): this {
    this[inner]().on(event, listener);
    return this;
  }

  off(event: "change" | "refresh" | "diagnostic", listener: (...data: any[]) => void): this {
    this[inner]().off(event, listener);
    return this;
  }

  /** Detaches from the client. The session stays in storage for the next page. */
  close(): void {
    this[inner]().close();
  }
}

/**
 * Sessions that the page listens to or waits for. They are kept alive here even if the page has
 * dropped them.
 */
const needed = new Set<SessionCore>();

const closed = (): ResError => new ResError("client.closed", "the session was closed");

/** The inner side of a session, which pages do not see. */
export class SessionCore {
  readonly #facade: Session;
  readonly #client: Client | ResClientLike;
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
  /** The start of the session manager, pending or done. */
  #starting: Promise<RawSession> | null = null;
  #retry: ReturnType<typeof setTimeout> | undefined;
  #failures = 0;
  #closed = false;
  #isConnected = false;
  #refreshAt: number | undefined;
  readonly #listeners = new Listeners();
  /** Rejects the pending commands when the session is closed. */
  readonly #waiting = new Set<(error: ResError) => void>();

  constructor(facade: Session, client: Client | ResClientLike, options: SessionOptions) {
    this.#facade = facade;
    this.#client = client;
    this.#name = String(options.name ?? "session");
    this.#options = { ...options, name: this.#name };
    this.ready = new Promise((resolve) => (this.#isReady = resolve));
    const observer = {
      connected: () => this.#connected(),
      disconnected: () => this.#disconnected(),
      raw: () => this.#raw,
    };
    this.#link =
      client instanceof Client
        ? new OwnLink(client[inner](), observer)
        : new ResClientLink(client, observer);
  }

  get refreshIn(): number | undefined {
    if (this.#refreshAt === undefined) return undefined;
    return Math.max(0, this.#refreshAt - performance.now());
  }

  /** Starts, if there is a browser. */
  start(): void {
    if (!hasBrowser()) return;
    this.#link.attach();
    this.#start().catch(() => {});
  }

  on(events: string, listener: Listener<any, any>): void {
    this.#listeners.add(events, listener);
    this.#updateNeeded();
  }

  off(events: string, listener: Listener<any, any>): void {
    this.#listeners.remove(events, listener);
    this.#updateNeeded();
  }

  /** A person is waiting: skips the back-off. */
  connectNow(): void {
    this.#link.connectNow();
  }

  async command(give: (raw: RawSession) => Promise<void>): Promise<void> {
    if (this.#closed) throw closed();
    if (!hasBrowser()) throw noBrowser();
    const raw = await this.#start();
    return new Promise((resolve, reject) => {
      this.#waiting.add(reject);
      this.#updateNeeded();
      const settled = () => {
        this.#waiting.delete(reject);
        this.#updateNeeded();
      };
      give(raw).then(resolve, (thrown) => reject(asError(thrown))).finally(settled);
    });
  }

  async changePassword(current: string, next: string): Promise<void> {
    await this.authenticate("changePassword", { current, new: next });
  }

  async sessions(): Promise<SessionList> {
    return this.#client.get(`${this.#name}.sessions.{cid}`) as Promise<any>;
  }

  /** Calls a method of the session resource. */
  async authenticate(method: string, params?: unknown): Promise<unknown> {
    if (this.#closed) throw closed();
    if (!hasBrowser()) throw noBrowser();
    try {
      return await this.#link.authenticate(this.#name, method, params);
    } catch (thrown) {
      throw asError(thrown);
    }
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
    this.#updateNeeded();
  }

  /** Returns the session manager. Starts it at the first call, and again after a failure. */
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
      // Before the user model, which belongs to this connection.
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
    // The page goes on without a session.
    this.#link.ready();
    if (error.code === "client.notLoaded") {
      this.#retry = setTimeout(() => this.#start().catch(() => {}), backoff(this.#failures));
      this.#failures += 1;
    } else {
      report(error);
    }
    this.#setStatus({ state: "loadFailed", error });
  }

  /** Like the one of `ClientCore`: must not keep the session alive. */
  static #observer(self: WeakRef<SessionCore>): (event: SessionEvent) => void {
    return (event) => {
      const session = self.deref();
      if (session) session.#handle(event);
    };
  }

  /** Tells the session manager of a new connection, at once or when it has started. */
  #connected(): void {
    this.#isConnected = true;
    if (this.#raw) this.#raw.connected();
    // This can be called within the constructor, before `start`. If the start fails, the page goes
    // on without.
    else queueMicrotask(() => this.#closed || this.#start().catch(() => {}));
  }

  #disconnected(): void {
    this.#isConnected = false;
    this.#raw?.disconnected();
  }

  #handle(event: SessionEvent): void {
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
        this.#setStatus(event.status);
        break;
      case "binding":
        this.binding = event.binding ?? undefined;
        break;
      case "refresh":
        this.#refreshAt =
          event.refreshIn === null ? undefined : performance.now() + event.refreshIn;
        this.#listeners.emit("refresh", this.refreshIn, this.#facade);
        break;
      case "diagnostic":
        this.#listeners.emit("diagnostic", event.line, this.#facade);
        break;
    }
  }

  #setStatus(status: SessionStatus | { state: "loadFailed"; error: ResError }): void {
    const { state } = status;
    this.state = state;
    this.user = "user" in status ? status.user : null;
    this.reason = "reason" in status ? status.reason : undefined;
    this.error = "error" in status ? status.error : undefined;
    if (state !== "resuming") this.#isReady(state);
    this.#listeners.emit("change", this.#facade);
  }

  async #request({ id, method, params }: SessionEvent & { type: "request" }): Promise<void> {
    try {
      const payload = await this.#link.authenticate(this.#name, method, params);
      this.#raw?.answered(id, payload ?? null);
    } catch (thrown) {
      const { code, message, data } = (thrown ?? {}) as Partial<ResError>;
      // Anything but a RES error means that the request was not sent.
      this.#raw?.failed(id, code ? { code, message: message ?? code, data } : connectionLost());
    }
  }

  #updateNeeded(): void {
    const stays = !this.#closed && (this.#listeners.size > 0 || this.#waiting.size > 0);
    if (stays) needed.add(this);
    else needed.delete(this);
  }
}
