// The browser's ends of a machine: its socket, timer and wake-ups, and what keeps a session: storage, device key, lock, cookie. Does what it is
// told, and tells what happens. Knows nothing of RES, sessions or keys.

import { Database } from "./database.js";
import { DeviceKey } from "./device_key.js";
import { Exchange } from "./exchange.js";
import { requestLock } from "./lock.js";
import { copyStorage, openStorage } from "./storage.js";

// What can happen, as web/src/ends.rs has it.
const STORAGE_READ = 0;
const DEVICE = 1;
const SIGNED = 2;
const STORAGE_CHANGED = 3;
const SOCKET_OPENED = 4;
const FRAME = 5;
const SOCKET_CLOSED = 6;
const LOCK_GRANTED = 7;
const LOCK_REFUSED = 8;
const WAKE = 9;
const ONLINE = 10;
const OFFLINE = 11;
const TIMER = 12;
const FRAMES = 13;

// `setTimeout` takes a 32-bit number of milliseconds and fires at once on a larger one.
const LONGEST = 2 ** 31 - 1;

export class Ends {
  #tell;
  // What ends our listening to page and network.
  #listening = [];
  #timer;
  #socket;
  #later = new MessageChannel();
  // Of the session.
  #name;
  #database;
  #storage;
  #deviceKey;
  #exchange;
  #lock;

  /** `tell` is told each thing that happens: its number, that of the socket or lock that it happens to, and a text. */
  constructor(tell) {
    this.#tell = tell;
    this.#later.port1.onmessage = () => this.#catchUp();
    const on = (target, event, happens) => {
      target?.addEventListener(event, happens);
      this.#listening.push(() => target?.removeEventListener(event, happens));
    };
    // Timers sleep when tabs and laptops do. Back in view, or out of the back/forward cache: it is time to look at the time again.
    on(globalThis, "pageshow", () => this.#happens(WAKE));
    on(globalThis.document, "visibilitychange", () => document.hidden || this.#happens(WAKE));
    on(globalThis, "online", () => this.#happens(ONLINE));
    on(globalThis, "offline", () => this.#happens(OFFLINE));
  }

  /**
   * Keeps a session: `name` names its storage, the database that it lies in, and its lock. `bound`: there is a device key beside it. `calls`:
   * where cookies are exchanged; nowhere without. `copies`: it lies in this page's memory, which begins with what the storage of this name has.
   */
  keep(name, bound, calls, copies) {
    this.#name = name;
    this.#database = new Database(name);
    if (bound) this.#deviceKey = new DeviceKey(this.#database);
    if (calls) this.#exchange = new Exchange(calls);
    const heard = () => this.#happens(STORAGE_CHANGED);
    this.#storage = copies ? copyStorage(copies) : openStorage(name, this.#database, heard);
  }

  /** Reads storage. */
  read() {
    this.#answer(STORAGE_READ, async () => (await this.#storage).read());
  }

  /** Swaps storage. `follow`: if that succeeds, the cookie is to follow: to the key that `text` names, or away. */
  swap(from = null, to = null, follow, text) {
    this.#answer(STORAGE_READ, async () => {
      const there = await (await this.#storage).swap(from, to);
      if (follow && there === to) this.#exchange?.ask(text);
      return there;
    });
  }

  /** Finds or makes the device key. */
  makeDevice() {
    this.#answer(DEVICE, () => this.#deviceKey?.make());
  }

  /** Signs a text with it. */
  sign(message) {
    this.#answer(SIGNED, () => this.#deviceKey?.sign(message));
  }

  async #answer(happening, work) {
    const text = await work();
    this.#happens(happening, 0, text ?? undefined);
  }

  /** Asks for the lock, in place of the one before. */
  lock(id, steal) {
    this.#lock?.giveBack();
    const giveBack = requestLock(this.#name, steal, (ours) => this.#happens(ours ? LOCK_GRANTED : LOCK_REFUSED, id));
    this.#lock = { id, giveBack };
  }

  /** Gives it back. */
  unlock(id) {
    if (this.#lock?.id !== id) return;
    this.#lock.giveBack();
    this.#lock = undefined;
  }

  /** Opens a socket, in place of the one before. */
  open(id, url) {
    this.hangUp(this.#socket?.id);
    let socket;
    try {
      socket = new WebSocket(url);
    } catch {
      // To the machine a refusal by the browser is a gateway that cannot be reached.
      this.#happens(SOCKET_CLOSED, id);
      return;
    }
    // `behind`: frames that came right behind one that was told of.
    this.#socket = { id, socket, behind: undefined };
    const on = (event, happens) =>
      socket.addEventListener(event, ({ data }) => this.#socket?.socket === socket && happens(data));
    on("open", () => this.#happens(SOCKET_OPENED, id));
    // RES is text: a binary frame is none of ours.
    on("message", (data) => typeof data === "string" && this.#hear(data));
    // An "error" event tells nothing and is always followed by "close".
    on("close", () => this.#happens(SOCKET_CLOSED, id));
  }

  // Tells what happens, after the frames that came before it: what they say and it would mean something else in another order.
  #happens(what, id = 0, text = undefined) {
    this.#catchUp();
    this.#tell?.(what, id, text);
  }

  // A frame is told at once. Those of a burst are told together, as soon as the browser has handed out what it has: going from one to the next
  // takes a third of the time of going into the program for each.
  #hear(frame) {
    const current = this.#socket;
    if (current.behind) {
      current.behind.push(frame);
      return;
    }
    this.#wait(current);
    this.#tell(FRAME, current.id, frame);
  }

  #wait(current) {
    current.behind = [];
    this.#later.port2.postMessage(0);
  }

  #catchUp() {
    const current = this.#socket;
    const frames = current?.behind;
    if (!frames) return;
    current.behind = undefined;
    if (frames.length === 0) return;
    this.#wait(current);
    // (No JSON has this between its letters.)
    this.#tell(FRAMES, current.id, frames.join("\0"));
  }

  /** Sends a text frame. */
  send(id, frame) {
    try {
      if (this.#socket?.id === id) this.#socket.socket.send(frame);
    } catch {
      // It is not open; then "closed" follows, and that is what the machine acts on.
    }
  }

  /** Closes the socket. */
  hangUp(id) {
    if (this.#socket?.id !== id) return;
    const socket = this.#socket?.socket;
    this.#socket = undefined;
    socket?.close();
  }

  /** Tells so in so many milliseconds, in place of what was asked for before; not at all if that is infinite. */
  wakeIn(delay) {
    clearTimeout(this.#timer);
    if (delay === Infinity) return;
    // Rounded up: woken a fraction too early, the machine would find nothing due and set the same timer again.
    this.#timer = setTimeout(() => this.#happens(TIMER), Math.min(Math.ceil(delay), LONGEST));
  }

  /** Lets go of it all, and tells no more. */
  close() {
    this.#tell = undefined;
    this.#later.port1.close();
    for (const end of this.#listening) end();
    this.wakeIn(Infinity);
    this.hangUp(this.#socket?.id);
    this.#lock?.giveBack();
    this.#database?.close();
    this.#storage?.then((storage) => storage.close());
  }
}
