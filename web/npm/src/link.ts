// How a session goes over a client: what both kinds of client have in common, and the client of this package.

import type { ClientCore } from "./client.js";
import type { RawSession } from "./relogin.js";

/** How long until the user model is asked for again that could not be had. */
const AGAIN = 3000;

/** What a link tells. */
export interface Over {
  /** There is a new connection. */
  connected(): void;
  /** It is lost. */
  disconnected(): void;
  /** The session manager, while it is there. */
  raw(): RawSession | null;
}

/** A model as both clients have it. */
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
  /** Requests of others may go out. */
  abstract ready(): void;
  /** Opens another connection in place of this one. */
  abstract replace(): void;
  protected abstract get(rid: string): Promise<UserModel>;
  /** Whether the model is as the service has it. */
  protected abstract isFresh(): boolean;
  /** Calls `tell` when the model is known again after a disconnect, until what this returns is called. */
  protected abstract follow(model: UserModel, tell: () => void): () => void;
  /** Does what the page need not know of. */
  protected abstract aside(change: () => void): void;

  /** A person waits for a connection. (ResClient has its own time.) */
  hurry(): void {}

  /** Follows the user model. */
  async watch(rid: string): Promise<void> {
    let model: UserModel;
    try {
      model = await this.get(rid);
    } catch {
      if (!this.#isDetached) this.#timer = setTimeout(() => this.watch(rid), AGAIN);
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

  /** The connection is lost. */
  protected readonly lost = (): void => this.over.disconnected();
}

/** Over a client of this package. */
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
    // One that is connected already, too: what it sends from now on waits.
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
