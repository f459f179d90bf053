// Connects a session to a client: the part that all clients have in common, and the package's own
// client. Must not decide anything about sessions.

import type { ClientCore } from "./client.js";
import type { RawSession } from "./relogin.js";

/** Milliseconds until the user model is requested again after a failure. */
const RETRY = 3000;

/** Receives what a link reports. */
export interface Over {
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
  protected readonly over: Over;
  #isDetached = false;
  #timer: ReturnType<typeof setTimeout> | undefined;
  #watched: (() => void) | null = null;

  constructor(over: Over) {
    this.over = over;
  }

  abstract attach(): void;
  /** Sends an auth request on this connection, at once. */
  abstract authenticate(rid: string, method: string, params: unknown): Promise<unknown>;
  /** Other requests may be sent. */
  abstract ready(): void;
  /** Opens another connection in place of this one. */
  abstract replace(): void;
  protected abstract get(rid: string): Promise<UserModel>;
  /** Whether the model is up to date. */
  protected abstract isFresh(): boolean;
  /**
   * Calls `tell` when the model is up to date again after a disconnect. Returns a function that
   * ends this.
   */
  protected abstract follow(model: UserModel, tell: () => void): () => void;
  /** Adds or removes listeners that do not count as the page's. */
  protected abstract aside(change: () => void): void;

  /**
   * A person is waiting for a connection: skips the back-off, if the client can. (ResClient
   * cannot.)
   */
  hurry(): void {}

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
    const tell = () => {
      const { id = null, name = null, role = null } = (model.props ?? model) as Record<string, unknown>;
      this.over.raw()?.userChanged({ id, name, role });
    };
    const listeners: Record<string, (data: any) => void> = {
      change: () => this.isFresh() && tell(),
      rotated: (data) => this.over.raw()?.rotated(Number(data?.generation ?? 0)),
      unsubscribe: () => this.over.raw()?.userChanged(undefined),
    };
    let unfollow = () => {};
    this.aside(() => {
      for (const [event, listener] of Object.entries(listeners)) model.on(event, listener);
      unfollow = this.follow(model, tell);
    });
    this.#watched = () => this.aside(() => {
      for (const [event, listener] of Object.entries(listeners)) model.off(event, listener);
      unfollow();
    });
    tell();
  }

  detach(): void {
    this.#isDetached = true;
    clearTimeout(this.#timer);
    this.#watched?.();
    this.#watched = null;
    this.ready();
  }

  /** Reports that the connection is lost. */
  protected readonly lost = (): void => this.over.disconnected();
}

/** The link to a client of this package. */
export class OwnLink extends Link {
  readonly #client: ClientCore;
  #release = () => {};

  constructor(client: ClientCore, over: Over) {
    super(over);
    this.#client = client;
  }

  protected aside(change: () => void): void {
    this.#client.aside(change);
  }

  attach(): void {
    this.aside(() => this.#client.on("disconnect", this.lost));
    // The client may be connected already. What it sends from now on waits.
    this.#client.keep(this.#keep);
    if (this.#client.isOpen) this.over.connected();
  }

  readonly #keep = (): Promise<void> => {
    const kept = new Promise<void>((resolve) => (this.#release = resolve));
    this.over.connected();
    return kept;
  };

  authenticate(rid: string, method: string, params: unknown): Promise<unknown> {
    return this.#client.send(true, rid, method, params);
  }

  ready(): void {
    this.#release();
  }

  override hurry(): void {
    this.#client.hurry();
  }

  replace(): void {
    this.#client.disconnect();
    this.#client.connect().catch(() => {});
  }

  protected get(rid: string): Promise<UserModel> {
    return this.#client.get(rid) as Promise<UserModel>;
  }

  protected isFresh(): boolean {
    return true;
  }

  protected follow(model: UserModel, tell: () => void): () => void {
    const stale = () => this.over.raw()?.userChanged(undefined);
    model.on("live", tell).on("stale", stale);
    return () => model.off("live", tell).off("stale", stale);
  }

  override detach(): void {
    super.detach();
    this.aside(() => this.#client.off("disconnect", this.lost));
    this.#client.unkeep(this.#keep);
  }
}
