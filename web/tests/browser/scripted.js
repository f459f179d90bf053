// A WebSocket whose other end is a test: put in the browser's place, it opens, speaks and breaks
// when the test says so.

const opened = [];
const waiting = [];

function deliver(socket) {
  const next = waiting.shift();
  if (next) next(socket);
  else opened.push(socket);
}

class ScriptedSocket extends EventTarget {
  constructor(url) {
    super();
    this.url = String(url);
    this.readyState = 0;
    this.frames = [];
    this.readers = [];
    deliver(this);
  }

  send(frame) {
    if (this.readyState === 0) throw new DOMException("not open yet", "InvalidStateError");
    if (this.readyState !== 1) return;
    this.frames.push(frame);
    this.wake();
  }

  close() {
    if (this.readyState < 2) this.end();
  }

  wake() {
    for (const reader of this.readers.splice(0)) reader();
  }

  end(why = {}) {
    this.readyState = 3;
    this.wake();
    this.dispatchEvent(new CloseEvent("close", why));
  }
}

/** From now on the page's sockets are scripted ones. */
export function install() {
  globalThis.WebSocket = ScriptedSocket;
}

/** The next socket that the page opens, or has opened already. */
export function nextSocket() {
  const socket = opened.shift();
  return socket ? Promise.resolve(socket) : new Promise((resolve) => waiting.push(resolve));
}

/** Lets the socket open. */
export function accept(socket) {
  socket.readyState = 1;
  socket.dispatchEvent(new Event("open"));
}

/** Sends a frame to the page. */
export function say(socket, frame) {
  socket.dispatchEvent(new MessageEvent("message", { data: frame }));
}

/** Ends the connection. */
export function hangUp(socket) {
  if (socket.readyState !== 3) socket.end();
}

/** Ends the connection with a close frame. */
export function part(socket, code, reason) {
  socket.end({ code, reason });
}

/** The address to which the page has opened the socket. */
export function addressOf(socket) {
  return socket.url;
}

/**
 * Resolves when there is something for `takeFrame`. Takes nothing itself, so that a test may stop
 * waiting.
 */
export function frameWaits(socket) {
  if (socket.frames.length > 0 || socket.readyState === 3) return Promise.resolve();
  return new Promise((resolve) => socket.readers.push(resolve));
}

/** The next frame from the page; undefined if the socket was closed. */
export function takeFrame(socket) {
  return socket.frames.shift();
}

/**
 * Another document of this origin: what it does to localStorage, this page hears of, as from
 * another tab.
 */
export function otherTab() {
  const frame = document.createElement("iframe");
  document.body.append(frame);
  return frame.contentWindow;
}

const replace = (object, name, value) => {
  const former = Object.getOwnPropertyDescriptor(object, name);
  Object.defineProperty(object, name, { value, configurable: true, writable: true });
  return () => Object.defineProperty(object, name, former);
};

const refuse = (name) => () => {
  throw new DOMException("not here", name);
};

const withoutAlgorithms = (isMissing) => {
  const { generateKey } = SubtleCrypto.prototype;
  return replace(SubtleCrypto.prototype, "generateKey", function (algorithm, ...more) {
    if (isMissing(algorithm.name)) return Promise.reject(new DOMException("not here", "NotSupportedError"));
    return generateKey.call(this, algorithm, ...more);
  });
};

const ways = {
  Missing: () => replace(globalThis, "indexedDB", undefined),
  Refused: () => replace(IDBFactory.prototype, "open", refuse("SecurityError")),
  Breaks: () => {
    const breaks = refuse("UnknownError");
    const mends = [replace(IDBFactory.prototype, "open", breaks), replace(IDBDatabase.prototype, "transaction", breaks)];
    return () => mends.forEach((mend) => mend());
  },
  Silent: () => replace(IDBFactory.prototype, "open", () => new EventTarget()),
  Local: () => {
    const own = Object.getOwnPropertyDescriptor(globalThis, "localStorage");
    const get = refuse("SecurityError");
    Object.defineProperty(globalThis, "localStorage", { configurable: true, get });
    return () => Object.defineProperty(globalThis, "localStorage", own);
  },
  Writes: () => replace(IDBObjectStore.prototype, "add", refuse("QuotaExceededError")),
  Ed25519: () => withoutAlgorithms((name) => name === "Ed25519"),
  Algorithms: () => withoutAlgorithms(() => true),
};

/** Takes something from the browser; what is returned gives it back. */
export function sabotage(what) {
  return ways[what]();
}

/** What a database keeps under a name. */
export function kept(database, name) {
  return new Promise((resolve, reject) => {
    const opening = indexedDB.open(database);
    opening.onerror = reject;
    opening.onsuccess = () => {
      const reading = opening.result.transaction("keys").objectStore("keys").get(name);
      reading.onerror = reject;
      reading.onsuccess = () => {
        opening.result.close();
        resolve(reading.result);
      };
    };
  });
}

/** Deletes a database, as clearing the browser's data does. */
export function forget(database) {
  return new Promise((resolve, reject) => {
    const deletion = indexedDB.deleteDatabase(database);
    deletion.onerror = reject;
    deletion.onsuccess = resolve;
  });
}

/** Fulfilled when a lock could be had, which is given back at once. */
export function lockIsFree(name) {
  return navigator.locks.request(name, () => {});
}

/** Makes a database of version 1: its log, and a key pair. */
export function makeOldDatabase(name, entries) {
  return new Promise((resolve, reject) => {
    const opening = indexedDB.open(name);
    opening.onupgradeneeded = () => {
      const log = opening.result.createObjectStore("log", { keyPath: "at", autoIncrement: true });
      for (const entry of JSON.parse(entries)) log.add(entry);
      opening.result.createObjectStore("keys").add("a key pair", "device");
    };
    opening.onerror = reject;
    opening.onsuccess = () => {
      opening.result.close();
      resolve();
    };
  });
}

/** All that a database has, as JSON. */
export function everything(database) {
  return new Promise((resolve, reject) => {
    const opening = indexedDB.open(database);
    opening.onerror = reject;
    opening.onsuccess = () => {
      const stores = [...opening.result.objectStoreNames];
      const transaction = opening.result.transaction(stores);
      const reading = stores.map((store) => [store, transaction.objectStore(store).getAll()]);
      transaction.oncomplete = () => {
        opening.result.close();
        resolve(JSON.stringify(reading.map(([store, request]) => [store, request.result])));
      };
    };
  });
}
