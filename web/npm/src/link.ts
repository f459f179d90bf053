// Connects a session to a client: the part that all clients have in common, and the package's own
// client. Must not decide anything about sessions.

import type { Client, ClientCore } from "./client.js";
import type { RawSession } from "./relogin.js";

/** Milliseconds until the user model is requested again after a failure. */
const RETRY = 3000;

/** Receives what a link observes. */
export interface LinkObserver {
  /** There is a new connection. */
  connected(): void;
  /** The connection is lost. */
  disconnected(): void;
  /** The session manager, if it has started. */
  raw(): RawSession | null;
}

/** A model of either client. */
export interface UserModel {
  props?: Record<string, unknown>;
  on(event: string, listener: (data: any) => void): any;
  off(event: string, listener: (data: any) => void): any;
}

export abstract class Link {
  protected readonly observer: LinkObserver;
  #isDetached = false;
  #timer: ReturnType<typeof setTimeout> | undefined;
  #watched: (() => void) | null = null;

  constructor(observer: LinkObserver) {
    this.observer = observer;
  }

  protected abstract readonly client: Pick<Client, "connect" | "disconnect">;
  abstract attach(): void;
  /** Sends an auth request on this connection, at once. */
  abstract authenticate(rid: string, method: string, params: unknown): Promise<unknown>;
  /** Other requests may be sent. */
  abstract ready(): void;
  protected abstract get(rid: string): Promise<UserModel>;
  /** Whether the model is up to date. */
  protected abstract isFresh(): boolean;
  /**
   * Calls `updated` when the model is up to date again after a disconnect. Returns a function that
   * ends this.
   */
  protected abstract follow(model: UserModel, updated: () => void): () => void;
  /** Adds or removes listeners that do not count as the page's. */
  protected abstract uncounted(change: () => void): void;

  /** Opens another connection in place of this one. */
  replace(): void {
    this.client.disconnect();
    this.client.connect().catch(() => {});
  }

  /**
   * A person is waiting for a connection: skips the back-off, if the client can. (ResClient
   * cannot.)
   */
  connectNow(): void {}

  /** Follows the user model. */
  async watch(rid: string): Promise<void> {
    let model: UserModel;
    try {
      model = await this.get(rid);
    } catch {
      if (!this.#isDetached) this.#timer = setTimeout(() => this.watch(rid), RETRY);
      return;
    }
    if (this.#isDetached) return;
    const updated = () => {
      const values = (model.props ?? model) as Record<string, unknown>;
      const { id = null, name = null, role = null } = values;
      this.observer.raw()?.userChanged({ id, name, role });
    };
    const listeners: Record<string, (data: any) => void> = {
      change: () => this.isFresh() && updated(),
      rotated: (data) => this.observer.raw()?.rotated(Number(data?.generation ?? 0)),
      unsubscribe: () => this.observer.raw()?.userChanged(undefined),
    };
    let unfollow = () => {};
    this.uncounted(() => {
      for (const [event, listener] of Object.entries(listeners)) model.on(event, listener);
      unfollow = this.follow(model, updated);
    });
    this.#watched = () => this.uncounted(() => {
      for (const [event, listener] of Object.entries(listeners)) model.off(event, listener);
      unfollow();
    });
    updated();
  }

  detach(): void {
    this.#isDetached = true;
    clearTimeout(this.#timer);
    this.#watched?.();
    this.#watched = null;
    this.ready();
  }

  /** Reports that the connection is lost. */
  protected readonly lost = (): void => this.observer.disconnected();
}

/** The link to a client of this package. */
export class OwnLink extends Link {
  protected readonly client: ClientCore;
  #release = () => {};

  constructor(client: ClientCore, observer: LinkObserver) {
    super(observer);
    this.client = client;
  }

  protected uncounted(change: () => void): void {
    this.client.uncounted(change);
  }

  attach(): void {
    this.uncounted(() => this.client.on("disconnect", this.lost));
    // The client may be connected already. What it sends from now on waits.
    this.client.addSession(this.#resume);
    if (this.client.isOpen) this.observer.connected();
  }

  readonly #resume = (): Promise<void> => {
    const resumed = new Promise<void>((resolve) => (this.#release = resolve));
    this.observer.connected();
    return resumed;
  };

  authenticate(rid: string, method: string, params: unknown): Promise<unknown> {
    return this.client.send(true, rid, method, params);
  }

  ready(): void {
    this.#release();
  }

  override connectNow(): void {
    this.client.connectNow();
  }

  protected get(rid: string): Promise<UserModel> {
    return this.client.get(rid) as Promise<UserModel>;
  }

  protected isFresh(): boolean {
    return true;
  }

  protected follow(model: UserModel, updated: () => void): () => void {
    const stale = () => this.observer.raw()?.userChanged(undefined);
    model.on("live", updated).on("stale", stale);
    return () => model.off("live", updated).off("stale", stale);
  }

  override detach(): void {
    super.detach();
    this.uncounted(() => this.client.off("disconnect", this.lost));
    this.client.removeSession(this.#resume);
  }
}
