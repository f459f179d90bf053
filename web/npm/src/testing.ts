// A session for tests of pages: its states are what the test sets, and it needs no browser, client or service.

import { Listeners, type Listener } from "./listeners.js";
import type { inner } from "./inner.js";
import type { ResError } from "./errors.js";
import type { Binding, EndReason, SessionStatus, User } from "./relogin.js";
import type { Session, SessionState } from "./session.js";

/** What can be said of a session, as a test says it. */
export type TestStatus = SessionStatus | { state: "loadFailed"; error: ResError };

/** What a `TestSession` keeps to itself, where proxies around it do not reach. */
class Own {
  status: TestStatus = { state: "resuming" };
  refreshAt: number | undefined;
  readonly listeners = new Listeners();
  isReady!: (state: SessionState) => void;
  readonly ready: Promise<SessionState> = new Promise((resolve) => (this.isReady = resolve));
}

const own: unique symbol = Symbol("relogin/testing");

/**
 * Takes the place of a `Session`. It is `resuming` until the test says otherwise by `set`; `login` and
 * `logout` are functions to replace, which log in whoever asks.
 */
export class TestSession implements Session {
  /** @internal */
  declare readonly [inner]: never;
  /** @internal */
  readonly [own]: () => Own;
  binding: Binding | undefined;
  /** Whether `close` was called. */
  isClosed = false;

  constructor(status?: TestStatus) {
    const mine = new Own();
    this[own] = () => mine;
    if (status) this.set(status);
  }

  get state(): SessionState {
    return this[own]().status.state;
  }

  get reason(): EndReason | undefined {
    const { status } = this[own]();
    return "reason" in status ? status.reason : undefined;
  }

  get user(): User | null {
    const { status } = this[own]();
    return "user" in status ? status.user : null;
  }

  get error(): ResError | undefined {
    const { status } = this[own]();
    return "error" in status ? status.error : undefined;
  }

  get refreshIn(): number | undefined {
    const { refreshAt } = this[own]();
    return refreshAt === undefined ? undefined : Math.max(0, refreshAt - performance.now());
  }

  get ready(): Promise<SessionState> {
    return this[own]().ready;
  }

  /** What the session becomes; who listens is told before this returns. */
  set(status: TestStatus): void {
    const mine = this[own]();
    mine.status = status;
    if (status.state !== "resuming") mine.isReady(status.state);
    mine.listeners.tell("change", this);
  }

  /** The key is used next in so many milliseconds; or it need not be. */
  setRefreshIn(milliseconds: number | undefined): void {
    const mine = this[own]();
    mine.refreshAt = milliseconds === undefined ? undefined : performance.now() + milliseconds;
    mine.listeners.tell("refresh", this.refreshIn, this);
  }

  /** Logs in a user of this name. Replace it to reject, or to wait. */
  login = async (username: string, _password: string): Promise<void> => {
    this.set({ state: "loggedIn", user: { id: username, name: username, role: "user" } });
  };

  /** Logs out. Replace it as `login`. */
  logout = async (): Promise<void> => {
    this.set({ state: "ended", reason: "loggedOut" });
  };

  on(event: "change", listener: (session: Session) => void): this;
  on(event: "refresh", listener: Listener<number | undefined, Session>): this;
  on(event: "diagnostic", listener: Listener<string, Session>): this;
  on(event: string, listener: Listener<any, any>): this {
    this[own]().listeners.add(event, listener);
    return this;
  }

  off(event: "change" | "refresh" | "diagnostic", listener: (...told: any[]) => void): this {
    this[own]().listeners.remove(event, listener);
    return this;
  }

  close(): void {
    this.isClosed = true;
  }
}
