/** What a request came to nothing by. */
export declare class ResError<Data = unknown> extends Error {
  /**
   * A RES error code: a gateway's (`system.accessDenied`), a service's (`session.wrongUsernamePassword`), or the client's own:
   * `system.timeout`, `system.connectionError`, `client.superseded` (a later command made it pointless), `client.closed`,
   * `client.invalid` (an address or id that is none), `client.notLoaded` (the WebAssembly module).
   */
  readonly code: string;
  readonly data: Data | undefined;
}

/** A function that listens. What it throws is reported, and keeps no other from being told. */
export type Listener<Data, Source> = (data: Data, source: Source) => void;

/** Options of a client. */
export interface ClientOptions {
  /** See `Client.setOnConnect`. */
  onConnect?: (client: Client) => unknown;
}

/** `connecting`: for the first time. `reconnecting`: the connection was lost, and is tried again with back-off. */
export type ConnectionState = "connecting" | "connected" | "reconnecting" | "stopped";

/** A client of a RES gateway. It connects when something is asked of it. */
export declare class Client {
  /** `url`: the gateway's address, absolute or relative; empty: `/ws` on the origin that served the page. Never throws. */
  constructor(url?: string, options?: ClientOptions);

  readonly state: ConnectionState;
  /** Whether requests go out: it is connected, and the session, if one is kept, was resumed. */
  readonly connected: boolean;

  /** Connects, at once also where back-off would wait. Rejects if the address is none or `disconnect` is called; else it goes on trying. */
  connect(): Promise<void>;
  /** Stops. What waits is rejected with `system.connectionError`. */
  disconnect(): void;

  /**
   * A model or a collection, with what it refers to. It is kept up to date as long as somebody listens to it, and for five
   * seconds after that.
   */
  get<R extends Model | Collection = Model>(rid: string): Promise<R>;
  /** Calls a method. Fulfilled with what it gives back: a value, or a resource. */
  call<R = unknown>(rid: string, method: string, params?: unknown): Promise<R>;
  /** Calls an auth method. */
  authenticate<R = unknown>(rid: string, method: string, params?: unknown): Promise<R>;

  on(event: "state", listener: Listener<ConnectionState, Client>): this;
  on(event: "connect" | "disconnect", listener: Listener<undefined, Client>): this;
  off(event: string, listener: Listener<never, Client>): this;

  /** Called on each new connection. Resources are subscribed again after what it returns; what it sends goes out at once. */
  setOnConnect(onConnect: ((client: Client) => unknown) | null): this;
}

/**
 * A model. Its values are its properties, and all of them are in `props`. Of references it has the resources themselves; of soft
 * ones, a `Reference`.
 */
export declare class Model<Props extends object = Record<string, any>> {
  readonly props: Readonly<Props>;
  readonly [name: string]: any;

  getResourceId(): string;
  getClient(): Client;
  call<R = unknown>(method: string, params?: unknown): Promise<R>;
  auth<R = unknown>(method: string, params?: unknown): Promise<R>;
  /** Calls the method `set` with these values; undefined deletes one. */
  set(props: Partial<Props>): Promise<unknown>;
  toJSON(): Props;

  /** What has changed: the values before, undefined for those that were not there. */
  on(event: "change", listener: Listener<Partial<Props>, this>): this;
  on(event: "unsubscribe", listener: Listener<ResError, this>): this;
  on(event: "live" | "stale" | "delete", listener: Listener<undefined, this>): this;
  on(event: string, listener: Listener<any, this>): this;
  off(event: string | null, listener: Listener<any, any>): this;
}

/** A collection. */
export declare class Collection<Item = any> implements Iterable<Item> {
  readonly length: number;
  readonly list: readonly Item[];

  getResourceId(): string;
  getClient(): Client;
  call<R = unknown>(method: string, params?: unknown): Promise<R>;
  auth<R = unknown>(method: string, params?: unknown): Promise<R>;
  atIndex(index: number): Item | undefined;
  indexOf(item: Item): number;
  toArray(): Item[];
  toJSON(): unknown[];
  [Symbol.iterator](): Iterator<Item>;

  on(event: "add" | "remove", listener: Listener<{ item: Item; idx: number }, this>): this;
  on(event: "unsubscribe", listener: Listener<ResError, this>): this;
  on(event: "live" | "stale" | "delete", listener: Listener<undefined, this>): this;
  on(event: string, listener: Listener<any, this>): this;
  off(event: string | null, listener: Listener<any, any>): this;
}

/** A resource that is only named. */
export declare class Reference {
  readonly rid: string;
  get<R extends Model | Collection = Model>(): Promise<R>;
}

/** Who is logged in. */
export interface User {
  id: number | string;
  name: string;
  role: string;
}

/**
 * `resuming`: a key is in storage (or that is not known yet), and was not used yet: no time for a login form. `anonymous`: nobody
 * is logged in, and nobody was. `reconnecting`: the user was logged in when the connection was lost, and is believed to be still.
 * `ended`: see `reason`.
 */
export type SessionState = "resuming" | "anonymous" | "loggedIn" | "reconnecting" | "ended";

/** Why a session has ended. `refused`: the service takes its key no more, and does not say why. */
export type EndReason = "loggedOut" | "loggedOutElsewhere" | "expired" | "stolen" | "refused";

/** What a session needs of a client that is not `Client`: ResClient 2.5 has it. */
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

/** Options of a session. */
export interface SessionOptions {
  /** The name of the session resource, as the service's `--name`; `session` without it. */
  name?: string;
}

/** A login that survives reloads and reconnects, on the connection of a client. */
export declare class Session {
  /** Keeps the session of all tabs of this origin on this client. Make it before the client connects. Never throws. */
  constructor(client: Client | ResClientLike, options?: SessionOptions);

  readonly state: SessionState;
  /** Set while `state` is `ended`. */
  readonly reason: EndReason | undefined;
  /** Set while `state` is `loggedIn` or `reconnecting`. */
  readonly user: User | null;
  /** `bound`: the key is worth nothing without this browser. `bearer`: the browser could keep no device key. */
  readonly binding: "bound" | "bearer" | undefined;
  /** Milliseconds until the key is used next; undefined if it need not be. */
  readonly refreshIn: number | undefined;

  /** Logs in. Fulfilled when the key is stored. Rejects with a `ResError`, as `session.wrongUsernamePassword`. */
  login(username: string, password: string): Promise<void>;
  /** Logs out, here and in all tabs: at once; what the service does not hear of now, it is told later. */
  logout(): Promise<void>;

  /** `state`, `reason` or `user` is another one. */
  on(event: "change", listener: (session: Session) => void): this;
  /** The time of the next use of the key is another one. */
  on(event: "refresh", listener: Listener<number | undefined, Session>): this;
  off(event: "change" | "refresh", listener: (...told: any[]) => void): this;

  /** Lets go of the client. The session stays in storage, for the next page. */
  close(): void;
}
