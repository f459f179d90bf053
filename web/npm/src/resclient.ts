// Connects a session to ResClient 2.5. Must not decide anything about sessions.

import { connectionLost } from "./errors.js";
import { inner } from "./inner.js";
import { Link, type LinkObserver, type UserModel } from "./link.js";

/** The members that a session needs of a client other than `Client`. ResClient 2.5 has them. */
export interface ResClientLike {
  connected: boolean;
  get(rid: string): Promise<any>;
  authenticate(rid: string, method: string, params?: any): Promise<any>;
  connect(): Promise<any>;
  disconnect(): void;
  on(event: string, listener: any): any;
  off(event: string, listener: any): any;
  setOnConnect(onConnect: any): any;
}

/** Further members that are used if they exist. */
interface Hooked extends ResClientLike {
  ws?: unknown;
  onConnect?: Hook | null;
  [inner]?: () => OnConnectHooks;
}

type Hook = ((client: unknown) => unknown) | null;

/** The onConnect hook of one ResClient: first that of its session, then the page's own. */
class OnConnectHooks {
  readonly #client: Hooked;
  /** The page's own hook. */
  own: Hook;
  /** The link of the session. */
  link: ResClientLink;

  private constructor(client: Hooked, link: ResClientLink) {
    this.#client = client;
    this.own = client.onConnect ?? null;
    this.link = link;
    client.setOnConnect(() => this.link.hook());
    // A hook that the page sets later also runs after ours.
    client.setOnConnect = (own: Hook) => {
      this.own = own;
      return client;
    };
    client[inner] = () => this;
  }

  /** Returns the hook of a client. If there are two sessions on it, the later one counts. */
  static of(client: Hooked, link: ResClientLink): OnConnectHooks {
    const hooks = client[inner]?.() ?? new OnConnectHooks(client, link);
    hooks.link = link;
    return hooks;
  }

  detach(link: ResClientLink): void {
    if (this.link !== link) return;
    const client = this.#client as Partial<Hooked>;
    delete client.setOnConnect;
    delete client[inner];
    this.#client.setOnConnect(this.own);
  }
}

/**
 * The link to ResClient 2.5. ResClient awaits its onConnect hook before it subscribes again. A
 * request in that hook is sent at once only while the property `connected` is true, which ResClient
 * sets only while it calls the hook.
 */
export class ResClientLink extends Link {
  readonly #client: Hooked;
  #hooks: OnConnectHooks | null = null;
  /** The socket whose hook is waiting. */
  #hooked: unknown = null;
  #release = () => {};
  #fresh = false;

  constructor(client: ResClientLike, observer: LinkObserver) {
    super(observer);
    this.#client = client;
  }

  // Not as `Hooked`, which the package's types do not have.
  protected get client(): ResClientLike {
    return this.#client;
  }

  attach(): void {
    this.#hooks = OnConnectHooks.of(this.#client, this);
    this.#client.on("disconnect", this.#disconnected);
    if (this.#client.connected) this.observer.connected();
  }

  hook(): unknown {
    const socket = this.#client.ws;
    this.#hooked = socket;
    this.#fresh = false;
    this.observer.connected();
    return new Promise((resolve) => {
      this.#release = () => {
        // The hook of a lost socket must not end: ResClient would believe that it is connected.
        if (this.#client.ws !== socket || this.#hooked !== socket) return;
        this.#hooked = null;
        const own = this.#hooks?.own;
        resolve(own ? this.#asConnected(() => own(this.#client)) : undefined);
      };
    });
  }

  #asConnected<T>(send: () => T): T {
    const was = this.#client.connected;
    this.#client.connected = true;
    try {
      return send();
    } finally {
      this.#client.connected = was;
    }
  }

  async authenticate(rid: string, method: string, params: unknown): Promise<unknown> {
    const inHook = this.#hooked !== null && this.#client.ws === this.#hooked;
    // Otherwise ResClient would send it on the next connection.
    if (!inHook && !this.#client.connected) throw connectionLost();
    return this.#asConnected(() => this.#client.authenticate(rid, method, params));
  }

  ready(): void {
    this.#release();
  }

  protected get(rid: string): Promise<UserModel> {
    return this.#client.get(rid);
  }

  protected isFresh(): boolean {
    return this.#fresh;
  }

  protected follow(model: UserModel, updated: () => void): () => void {
    // After a disconnect ResClient reports nothing if the values are unchanged, but it still
    // updates the model.
    const taking = model as { __update?: (...values: unknown[]) => unknown };
    const update = taking.__update;
    this.#fresh = true;
    if (typeof update === "function") {
      const value = (...values: unknown[]) => {
        const changed = update.apply(model, values);
        this.#fresh = true;
        updated();
        return changed;
      };
      Object.defineProperty(model, "__update", { value, configurable: true, writable: true });
    }
    return () => delete taking.__update;
  }

  protected uncounted(change: () => void): void {
    change();
  }

  readonly #disconnected = (): void => {
    this.#fresh = false;
    this.lost();
  };

  override detach(): void {
    super.detach();
    this.#client.off("disconnect", this.#disconnected);
    this.#hooks?.detach(this);
    this.#hooks = null;
  }
}
