// The browser's own key pair (WebCrypto), kept in IndexedDB: it signs, and nobody can read its private half, script of this page included.

import { KEYS } from "./database.js";

// What the pair is called in its object store.
const NAME = "device";

const signature = async ({ privateKey }, message) => {
  const algorithm = { name: privateKey.algorithm.name, hash: "SHA-256" };
  const signed = await crypto.subtle.sign(algorithm, privateKey, message);
  const text = btoa(String.fromCharCode(...new Uint8Array(signed)));
  return text.replaceAll("+", "-").replaceAll("/", "_").replaceAll("=", "");
};

/** The key pair of a database's object store. */
export class DeviceKey {
  #database;
  // As it was read last. It stands in for a database that does not answer any more.
  #pair;

  constructor(database) {
    this.#database = database;
  }

  /**
   * The public half of the pair, which is made if there is none: Ed25519, or ECDSA P-256 where the browser does not know that. Its members
   * kty, crv, x and, for P-256, y, with spaces between. Tabs that make one at the same time get the same. Nothing where the browser has no
   * WebCrypto (a page that was served without TLS) or does not keep its keys.
   */
  async make() {
    if (!crypto.subtle) return undefined;
    let publicKey = await this.#publicKey();
    for (const algorithm of [{ name: "Ed25519" }, { name: "ECDSA", namedCurve: "P-256" }]) {
      if (publicKey) break;
      try {
        const pair = await crypto.subtle.generateKey(algorithm, false, ["sign", "verify"]);
        await this.#database.transact(KEYS, "readwrite", (store) => store.add(pair, NAME));
      } catch {
        // What counts is what is kept: another tab may have been first, and browsers differ in how they tell us that.
      }
      publicKey = await this.#publicKey();
    }
    return publicKey;
  }

  /** The signature of a text by the pair, base64url; nothing if there is no pair. Fails if the database does not answer. */
  async sign(message) {
    const pair = await this.#read();
    try {
      return await signature(pair, new TextEncoder().encode(message));
    } catch {
      return undefined;
    }
  }

  // The public half of a pair that is there and signs.
  async #publicKey() {
    try {
      const pair = await this.#read();
      await signature(pair, new Uint8Array());
      const { kty, crv, x, y } = await crypto.subtle.exportKey("jwk", pair.publicKey);
      return [kty, crv, x, y ?? []].flat().join(" ");
    } catch {
      return undefined;
    }
  }

  // Nothing if there is none, or the browser has no databases for this page. Fails if it is not known whether there is one.
  async #read() {
    if (!globalThis.indexedDB) return undefined;
    try {
      this.#pair = await this.#database.transact(KEYS, "readonly", (store) => store.get(NAME));
    } catch (error) {
      if (!this.#pair && error.name !== "SecurityError") throw error;
    }
    return this.#pair;
  }
}
