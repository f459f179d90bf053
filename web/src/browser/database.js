// IndexedDB, as little of it as a few small values need.
//
// Each transaction is handed to the browser whole, its commit included. So the browser finishes it without the page: one that is
// frozen or closed in the middle keeps no other tab waiting.

/** The object store whose values get ascending numbers, in their member `at`. */
export const LOG = "log";
/** The object store whose values are put under names. */
export const KEYS = "keys";

// How long a database may take to open. Some browsers have been known never to answer.
const OPENING = 3000;
// How long a transaction may take. Longer, but for the first: by then it is known that the database is there, if slow.
const TRANSACTION = 10000;

const unanswered = () => new DOMException("no answer in time", "TimeoutError");

// Waits for the first of two events, and no longer than `limit`. Fails at the second.
const happens = (target, good, bad, limit) =>
  new Promise((resolve, reject) => {
    const timer = setTimeout(() => reject(unanswered()), limit);
    const on = (event, settle) =>
      target.addEventListener(event, () => {
        clearTimeout(timer);
        settle();
      });
    on(good, resolve);
    // No error: the browser has closed the database, or the page has aborted, which it does not do.
    on(bad, () => reject(target.error ?? new DOMException("the database was closed", "AbortError")));
  });

const open = async (name) => {
  const request = indexedDB.open(name);
  request.addEventListener("upgradeneeded", () => {
    try {
      request.result.createObjectStore(LOG, { keyPath: "at", autoIncrement: true });
      request.result.createObjectStore(KEYS);
    } catch {
      // They are there already, and all is well.
    }
  });
  await happens(request, "success", "error", OPENING);
  const database = request.result;
  // Lets go of it when another page wants to delete it.
  database.addEventListener("versionchange", () => database.close());
  return database;
};

const transact = async (database, store, mode, work, limit) => {
  // Strict: done is what is on disk.
  const transaction = database.transaction(store, mode, { durability: "strict" });
  const request = work(transaction.objectStore(store));
  // Browsers that do not know it commit by themselves once the page has seen the results.
  transaction.commit?.();
  await happens(transaction, "complete", "abort", limit);
  return request?.result;
};

/** A database, opened when it is first used, and again if the browser has taken it from us. */
export class Database {
  #name;
  #database;
  // A transaction has come to its end.
  #answers = false;
  // It did not answer once, or is closed: who waits for it again waits in vain.
  #silent = false;

  constructor(name) {
    this.#name = name;
  }

  /**
   * Does what `work` wants with the object store `store`: all of it or nothing. Once this is fulfilled, it is on disk, as far as the
   * browser keeps its word. Answers the result of the request that `work` returns.
   */
  async transact(store, mode, work) {
    if (this.#database) {
      try {
        return await this.#transact(store, mode, work);
      } catch (error) {
        if (error.name === "ConstraintError") throw error;
      }
      // Browsers close databases when the user clears them, when a phone has slept, after errors of the disk.
      this.#database.close();
    }
    if (this.#silent) throw unanswered();
    try {
      this.#database = await open(this.#name);
    } catch (error) {
      this.#silent ||= error.name === "TimeoutError";
      throw error;
    }
    // Closed in the meantime.
    if (this.#silent) this.#database.close();
    return this.#transact(store, mode, work);
  }

  async #transact(store, mode, work) {
    try {
      const result = await transact(this.#database, store, mode, work, this.#answers ? TRANSACTION : OPENING);
      this.#answers = true;
      return result;
    } catch (error) {
      // It opened, and that was all.
      this.#silent ||= !this.#answers && error.name === "TimeoutError";
      throw error;
    }
  }

  /** Lets go of it, for good. */
  close() {
    this.#silent = true;
    this.#database?.close();
  }
}
