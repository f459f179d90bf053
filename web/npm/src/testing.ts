// A session for tests of pages, whose states are set by the test. Must not depend on a browser, a
// client or a service.

import { Listeners, type Listener } from "./listeners.js";
import type { inner } from "./inner.js";
import type { ResError } from "./errors.js";
import type { Binding, EndReason, SessionStatus, User } from "./relogin.js";
import type { Session, SessionList, SessionState } from "./session.js";

/** A status that a test can set. */
export type TestStatus = SessionStatus | { state: "loadFailed"; error: ResError };

/** The inner side of a `TestSession`, which proxies around it do not wrap. */
class TestCore {
  status: TestStatus = { state: "resuming" };
  refreshAt: number | undefined;
  readonly listeners = new Listeners();
  isReady!: (state: SessionState) => void;
  readonly ready: Promise<SessionState> = new Promise((resolve) => (this.isReady = resolve));
}

const testCore: unique symbol = Symbol("relogin/testing");

/**
 * Takes the place of a `Session`. It is `resuming` until the test calls `set`. `login` logs anybody
 * in; tests can replace `login` and `logout`.
 */
export class TestSession implements Session {
  /** @internal */
  declare readonly [inner]: never;
  /** @internal */
  readonly [testCore]: () => TestCore;
  binding: Binding | undefined;
  /** Whether `close` was called. */
  isClosed = false;

  constructor(status?: TestStatus) {
    const core = new TestCore();
    this[testCore] = () => core;
    if (status) this.set(status);
  }

  get state(): SessionState {
    return this[testCore]().status.state;
  }

  get reason(): EndReason | undefined {
    const { status } = this[testCore]();
    return "reason" in status ? status.reason : undefined;
  }

  get user(): User | null {
    const { status } = this[testCore]();
    return "user" in status ? status.user : null;
  }

  get error(): ResError | undefined {
    const { status } = this[testCore]();
    return "error" in status ? status.error : undefined;
  }

  get refreshIn(): number | undefined {
    const { refreshAt } = this[testCore]();
    return refreshAt === undefined ? undefined : Math.max(0, refreshAt - performance.now());
  }

  get ready(): Promise<SessionState> {
    return this[testCore]().ready;
  }

  /** Sets the status, and calls the listeners before it returns. */
  set(status: TestStatus): void {
    const core = this[testCore]();
    core.status = status;
    if (status.state !== "resuming") core.isReady(status.state);
    core.listeners.emit("change", this);
  }

  /** Sets the time until the next use of the key; undefined: none is due. */
  setRefreshIn(milliseconds: number | undefined): void {
    const core = this[testCore]();
    core.refreshAt = milliseconds === undefined ? undefined : performance.now() + milliseconds;
    core.listeners.emit("refresh", this.refreshIn, this);
  }

  /** Logs in a user of this name. Replace it to reject, or to wait. */
  login = async (username: string, _password: string): Promise<void> => {
    this.set({ state: "loggedIn", user: { id: username, name: username, role: "user" } });
  };

  /** Logs out. Replace it like `login`. */
  logout = async (): Promise<void> => {
    this.set({ state: "ended", reason: "loggedOut" });
  };

  /** Changes the password of whoever is logged in. Replace it like `login`. */
  changePassword = async (_current: string, _next: string): Promise<void> => {};

  /** Lists no sessions. Replace it like `login`, and so with the next two. */
  sessions = async (): Promise<SessionList> => {
    const list = Object.assign([], { on: () => list, off: () => list });
    return list;
  };

  revoke = async (_id: string): Promise<void> => {};

  revokeOthers = async (): Promise<number> => 0;

  on(event: "change", listener: (session: Session) => void): this;
  on(event: "refresh", listener: Listener<number | undefined, Session>): this;
  on(event: "diagnostic", listener: Listener<string, Session>): this;
  on(event: string, listener: Listener<any, any>): this {
    this[testCore]().listeners.add(event, listener);
    return this;
  }

  off(event: "change" | "refresh" | "diagnostic", listener: (...data: any[]) => void): this {
    this[testCore]().listeners.remove(event, listener);
    return this;
  }

  close(): void {
    this.isClosed = true;
  }
}
