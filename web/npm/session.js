// A session: a login that survives reloads and reconnects, kept on the connection of a RES client: ours, or ResClient.

import { RawKeeper } from "./relogin.js";
import { Client, loaded } from "./client.js";
import { ResError, asError, report } from "./errors.js";
import { Listeners } from "./listeners.js";
import { inner } from "./resources.js";

/** Sessions that the page listens to or waits for: they stay as long as the page does, whoever still knows them. */
const needed = new Set();

/** How long until the user model is asked for again that could not be had. */
const AGAIN = 3000;

export class Session {
  #name;
  #link;
  #keeper = null;
  #starting;
  #closed = false;
  #state = "resuming";
  #reason;
  #user = null;
  #binding;
  #refreshAt;
  #listeners = new Listeners();
  #tokens = 0;
  #waiting = new Map();

  constructor(client, options = {}) {
    this.#name = String(options?.name ?? "session");
    const over = { connected: () => this.#connected(), keeper: () => this.#keeper };
    this.#link = client instanceof Client ? new OwnLink(client, over) : new ResClientLink(client, over);
    this.#starting = this.#start();
    // Whoever asks for something is told.
    this.#starting.catch((thrown) => this.#is("ended", { reason: "refused", user: null, error: asError(thrown) }));
  }

  /** `resuming`, `anonymous`, `loggedIn`, `reconnecting` or `ended`. */
  get state() {
    return this.#state;
  }

  /** Why it has ended: `loggedOut`, `loggedOutElsewhere`, `expired`, `stolen` or `refused`. */
  get reason() {
    return this.#reason;
  }

  /** Who is logged in, or believed to be: `{id, name, role}`; else null. */
  get user() {
    return this.#user;
  }

  /** `bound` to this browser, or `bearer`: whoever has copied its key may use it, once. */
  get binding() {
    return this.#binding;
  }

  /** Milliseconds until the key is used next; undefined if it need not be. */
  get refreshIn() {
    return this.#refreshAt === undefined ? undefined : Math.max(0, this.#refreshAt - performance.now());
  }

  login(username, password) {
    this.#link?.hurry();
    return this.#ask((keeper, token) => keeper.login(token, String(username), String(password)));
  }

  logout() {
    return this.#ask((keeper, token) => keeper.logout(token));
  }

  on(events, listener) {
    this.#listeners.add(events, listener);
    this.#stayOrGo();
    return this;
  }

  off(events, listener) {
    this.#listeners.remove(events, listener);
    this.#stayOrGo();
    return this;
  }

  #stayOrGo() {
    const stays = !this.#closed && (this.#listeners.size > 0 || this.#waiting.size > 0);
    if (stays) needed.add(this);
    else needed.delete(this);
  }

  /** Lets go of the client. The session stays in storage. */
  close() {
    if (this.#closed) return;
    this.#closed = true;
    this.#stayOrGo();
    this.#link.detach();
    this.#keeper?.free();
    this.#keeper = null;
    const closed = new ResError("client.closed", "the session was closed");
    for (const { reject } of this.#waiting.values()) reject(closed);
    this.#waiting.clear();
  }

  async #start() {
    this.#link.attach();
    try {
      await loaded();
      const keeper = await RawKeeper.start(this.#name, Session.#telling(new WeakRef(this)));
      if (this.#closed) return keeper.free();
      this.#keeper = keeper;
      this.#link.watch(`${this.#name}.user.{cid}`);
    } catch (thrown) {
      // The page goes on without.
      this.#link.ready();
      throw asError(thrown);
    }
    return undefined;
  }

  /** As the client's. */
  static #telling(self) {
    return (...told) => self.deref()?.#hear(...told);
  }

  /** There is a new connection. */
  #connected() {
    // (Told while this is being made, it has no start to wait for yet.)
    queueMicrotask(() => this.#starting.then(() => this.#keeper?.connected(), () => this.#link.ready()));
  }

  async #ask(ask) {
    await this.#starting;
    if (!this.#keeper) throw new ResError("client.closed", "the session was closed");
    const token = (this.#tokens += 1);
    return new Promise((resolve, reject) => {
      this.#waiting.set(token, { resolve, reject });
      this.#stayOrGo();
      ask(this.#keeper, token);
    });
  }

  #hear(kind, ...told) {
    if (this.#closed) return;
    const [first, second, third] = told;
    switch (kind) {
      case "request":
        this.#request(JSON.parse(first));
        break;
      case "ready":
        this.#link.ready();
        break;
      case "replace":
        this.#link.replace();
        break;
      case "settled": {
        const waiting = this.#waiting.get(first);
        this.#waiting.delete(first);
        this.#stayOrGo();
        if (second) waiting?.reject(asError(second));
        else waiting?.resolve();
        break;
      }
      case "session":
        this.#is(first, { reason: second ?? undefined, user: third ? JSON.parse(third) : null });
        break;
      case "binding":
        this.#binding = first ?? undefined;
        break;
      case "refresh":
        this.#refreshAt = first === undefined ? undefined : performance.now() + first;
        this.#listeners.tell("refresh", this.refreshIn, this);
        break;
    }
  }

  #is(state, { reason, user, error }) {
    [this.#state, this.#reason, this.#user] = [state, reason, user];
    if (error) report(error);
    this.#listeners.tell("change", this);
  }

  async #request({ id, method, params }) {
    const verb = method.slice(`auth.${this.#name}.`.length);
    try {
      const payload = await this.#link.authenticate(this.#name, verb, params);
      this.#keeper?.answered(id, JSON.stringify(payload ?? null));
    } catch (thrown) {
      // What is no RES error says that the request did not get out.
      const { code, message, data } = thrown?.code ? thrown : { code: "system.connectionError" };
      this.#keeper?.failed(id, String(code), String(message ?? code), data === undefined ? undefined : JSON.stringify(data));
    }
  }
}

/** What both kinds of client have in common: following the user model. */
class Link {
  isDetached = false;
  #timer;
  #watched = null;

  constructor(client, session) {
    this.client = client;
    this.session = session;
  }

  async watch(rid) {
    let model;
    try {
      model = await this.client.get(rid);
    } catch {
      if (!this.isDetached) this.#timer = setTimeout(() => this.watch(rid), AGAIN);
      return;
    }
    if (this.isDetached) return;
    const tell = () => {
      const { id = null, name = null, role = null } = model.props ?? model;
      this.session.keeper()?.user(JSON.stringify({ id, name, role }));
    };
    const listeners = {
      change: () => this.isFresh(model) && tell(),
      rotated: (data) => this.session.keeper()?.rotated(Number(data?.generation ?? 0)),
      unsubscribe: () => this.session.keeper()?.user(undefined),
    };
    let unfollow;
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

  detach() {
    this.isDetached = true;
    clearTimeout(this.#timer);
    this.#watched?.();
    this.#watched = null;
    this.ready();
  }

  /** Does what the page need not know of. */
  aside(change) {
    change();
  }

  /** A person waits for a connection. (ResClient has its own time.) */
  hurry() {}

  lost = () => this.session.keeper()?.disconnected();
}

/** Over a client of this package. */
class OwnLink extends Link {
  #release = () => {};

  aside(change) {
    this.client[inner].aside(change);
  }

  attach() {
    this.aside(() => this.client.on("disconnect", this.lost));
    // One that is connected already, too: what it sends from now on waits.
    this.client[inner].keep(() => {
      const kept = new Promise((resolve) => (this.#release = resolve));
      this.session.connected();
      return kept;
    });
    if (this.client.connected) this.session.connected();
  }

  authenticate(rid, method, params) {
    return this.client[inner].authenticate(rid, method, params);
  }

  ready() {
    this.#release();
  }

  hurry() {
    this.client[inner].hurry();
  }

  replace() {
    this.client.disconnect();
    this.client.connect().catch(() => {});
  }

  isFresh() {
    return true;
  }

  follow(model, tell) {
    const stale = () => this.session.keeper()?.user(undefined);
    model.on("live", tell).on("stale", stale);
    return () => model.off("live", tell).off("stale", stale);
  }

  detach() {
    super.detach();
    this.aside(() => this.client.off("disconnect", this.lost));
    this.client[inner].keep(null);
  }
}

/**
 * Over ResClient 2.5. It waits for what its onConnect hook returns before it subscribes anew; and what is sent in that hook goes out
 * at once only while its property `connected` is true, which it is itself in the hook's first moment.
 */
class ResClientLink extends Link {
  /** The page's own hook. */
  #before = null;
  /** The socket whose hook is waiting. */
  #hooked = null;
  #release = () => {};
  #fresh = false;

  attach() {
    const { client } = this;
    this.#before = client.onConnect ?? null;
    client.setOnConnect(() => this.#hook());
    // A hook that the page sets later comes behind ours, too.
    client.setOnConnect = (before) => {
      this.#before = before;
      return client;
    };
    client.on("disconnect", this.lost);
    if (client.connected) this.session.connected();
  }

  #hook() {
    const socket = this.client.ws;
    this.#hooked = socket;
    this.#fresh = false;
    this.session.connected();
    return new Promise((resolve) => {
      this.#release = () => {
        // A hook of a socket that is gone must not end: ResClient would take itself for connected.
        if (this.client.ws !== socket || this.#hooked !== socket) return;
        this.#hooked = null;
        resolve(this.#before ? this.#asConnected(() => this.#before(this.client)) : undefined);
      };
    });
  }

  #asConnected(send) {
    const was = this.client.connected;
    this.client.connected = true;
    try {
      return send();
    } finally {
      this.client.connected = was;
    }
  }

  async authenticate(rid, method, params) {
    const inHook = this.#hooked !== null && this.client.ws === this.#hooked;
    // Else it would be sent on the next connection.
    if (!inHook && !this.client.connected) throw new ResError("system.connectionError", "the connection was lost");
    return this.#asConnected(() => this.client.authenticate(rid, method, params));
  }

  ready() {
    this.#release();
  }

  replace() {
    this.client.disconnect();
    this.client.connect().catch(() => {});
  }

  isFresh() {
    return this.#fresh;
  }

  follow(model, tell) {
    // After a disconnect ResClient says nothing if the values are the same. But it has the model take them in.
    const update = model.__update;
    this.#fresh = true;
    if (typeof update === "function") {
      const value = (...values) => {
        const changed = update.apply(model, values);
        this.#fresh = true;
        tell();
        return changed;
      };
      Object.defineProperty(model, "__update", { value, configurable: true, writable: true });
    }
    return () => delete model.__update;
  }

  lost = () => {
    this.#fresh = false;
    this.session.keeper()?.disconnected();
  };

  detach() {
    const { client } = this;
    super.detach();
    client.off("disconnect", this.lost);
    delete client.setOnConnect;
    client.setOnConnect(this.#before);
  }
}
