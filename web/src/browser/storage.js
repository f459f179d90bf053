// One text that the tabs of an origin share, and exchange by compare-and-swap: in IndexedDB, else in localStorage, else in this page's
// memory.
//
// In IndexedDB a swap is one: of two tabs that swap from the same text, one finds the other's. In localStorage it is as good as the browser
// makes it.

import { Database, LOG } from "./database.js";

// In IndexedDB, without the page in the middle of a transaction. A swap appends an entry: the new text, and the number of the entry that it
// is to follow. Entries that follow one which another has followed already count for nothing. So who was first is settled by the order in
// which the browser took the entries, and every tab reads the same; what has been followed is removed with the next swap.
class Log {
  #database;
  // Tells other tabs of a change: that there is one, never which.
  #channel;
  // What counted last. It stands in for a database that does not answer any more.
  #head;
  // The last text could not be written down, and counts for this page until another is: a full disk must not end a login that is good
  // without it.
  #unwritten = false;

  constructor(name, database, heard) {
    this.#database = database;
    try {
      this.#channel = new BroadcastChannel(name);
      this.#channel.addEventListener("message", heard);
    } catch {
      // Then they find out when they look.
    }
  }

  // Fails where there is no IndexedDB, it does not answer, or says no.
  async begin() {
    this.#head = await this.#read();
    // True if there is no text, and never was one.
    return this.#head.at === null;
  }

  // Transactions are in step among all tabs: it is never older than the last swap that has come to its end.
  async read() {
    await this.#look();
    return this.#head.text;
  }

  async swap(from, to) {
    await this.#look();
    const { at, text, past } = this.#head;
    if (text !== from || from === to) return text;
    try {
      await this.#database.transact(LOG, "readwrite", (store) => {
        for (const number of past) store.delete(number);
        store.add({ from: at, text: to });
      });
      this.#unwritten = false;
      await this.#look();
    } catch {
      this.#unwritten = true;
      this.#head.text = to;
    }
    if (this.#head.text === to) this.#channel?.postMessage(null);
    return this.#head.text;
  }

  // Finds out what counts now.
  async #look() {
    try {
      const head = await this.#read();
      if (this.#unwritten && head.at === this.#head.at) return;
      this.#head = head;
      this.#unwritten = false;
    } catch {
      // Cleared by the user, it would be empty. This one is broken, and that is no reason to log anybody out.
    }
  }

  // The entry that counts, and the numbers of those before it.
  async #read() {
    let [at, text, past] = [null, null, []];
    for (const entry of await this.#database.transact(LOG, "readonly", (store) => store.getAll())) {
      // The first that is left has followed the last that was removed.
      if (at === null || at === entry.from) {
        past.push(at);
        ({ at, text } = entry);
      } else {
        past.push(entry.at);
      }
    }
    // What came too late is behind the head only if it came before it.
    past = past.filter((number) => number !== null && number < at);
    return { at, text, past };
  }

  close() {
    this.#channel?.close();
    this.#channel = undefined;
  }
}

// How long a browser may take to bring what one tab writes to localStorage to the others, in milliseconds.
const SETTLING = 100;

// In localStorage. Browsers do not keep that in step between their processes: for where there is nothing better. Where the browser has none
// (cookies blocked, a full disk), the text lives as long as the page.
class Local {
  #name;
  // What localStorage would not take.
  #fallback = null;
  #heard;

  constructor(name) {
    this.#name = name;
  }

  watch(heard) {
    // No key: everything was cleared.
    this.#heard = ({ key }) => (key ?? this.#name) === this.#name && heard();
    addEventListener("storage", this.#heard);
  }

  read() {
    try {
      return this.#fallback ?? localStorage.getItem(this.#name);
    } catch {
      return null;
    }
  }

  // Of what two tabs write at once each sees its own for a moment, and then both see the same.
  async swap(from, to) {
    if (this.read() === from && from !== to) {
      try {
        if (to === null) localStorage.removeItem(this.#name);
        else localStorage.setItem(this.#name, to);
        this.#fallback = null;
      } catch {
        this.#fallback = to;
      }
      await new Promise((resolve) => setTimeout(resolve, SETTLING));
    }
    return this.read();
  }

  close() {
    removeEventListener("storage", this.#heard);
  }
}

/**
 * The text called `name`, in `database`. Where IndexedDB is missing, refused, or does not answer within three seconds: the entry of
 * localStorage that is called so. It has `read()`; `swap(from, to)`, which answers the text that there is then, whoever wrote it (`null` is no
 * text); and `close()`. `heard` is called whenever another tab has changed it.
 */
export const openStorage = async (name, database, heard) => {
  const [local, log] = [new Local(name), new Log(name, database, heard)];
  try {
    const isNew = await log.begin();
    // Left by a page that could not get at IndexedDB, or knew nothing of it: it moves in.
    const left = local.read();
    if (isNew && left !== null) {
      await log.swap(null, left);
      local.swap(left, null);
    }
    return log;
  } catch {
    log.close();
    local.watch(heard);
    return local;
  }
};

// A text that nobody else has, and that ends with the page.
class Memory {
  #text;

  constructor(text) {
    this.#text = text;
  }

  read() {
    return this.#text;
  }

  swap(from, to) {
    if (this.#text === from) this.#text = to;
    return this.#text;
  }

  close() {}
}

/** A text of this page's own, which begins with what the storage called `name` has now. */
export const copyStorage = async (name) => {
  const database = new Database(name);
  const storage = await openStorage(name, database, () => {});
  const copy = new Memory(await storage.read());
  storage.close();
  database.close();
  return copy;
};
