// The exchange of cookies by HTTP, for sessions whose key no script sees (docs/protocol.md, section 5).

// How long is waited before each try that follows one which nobody answered, in milliseconds. What was not had then is asked for with the next
// refresh.
const WAITS = [500, 2000, 8000, 16000];

// Asks that the browser's cookie have the key of the session that this text names; without a text, that it go, and its session end.
const ask = async (calls, text) => {
  const [method, headers] = text ? ["refresh", { "X-Relogin": text }] : ["logout", {}];
  for (const wait of WAITS) {
    try {
      const { status } = await fetch(calls + method, { method: "POST", credentials: "include", headers });
      if (status < 500) return;
    } catch {
      // Nobody has answered.
    }
    await new Promise((resolve) => setTimeout(resolve, wait));
  }
};

/** Asks for cookies, one request after the other, so that a later one has the last word: at `calls`, which ends before the method's name. */
export class Exchange {
  #calls;
  #last = Promise.resolve();

  constructor(calls) {
    this.#calls = calls;
  }

  /** Asks for it, in its turn. */
  ask(text) {
    this.#last = this.#last.then(() => ask(this.#calls, text));
  }
}
