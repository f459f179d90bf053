// Who listens to what.

import { report } from "./errors.js";

/** Functions by the names of the events that they want. */
export class Listeners {
  #of = new Map();

  /** How many there are. */
  size = 0;

  /** `events`: one or more names, with spaces between; null: all. */
  add(events, listener) {
    for (const name of names(events)) {
      const list = this.#of.get(name) ?? [];
      this.#of.set(name, [...list, listener]);
      this.size += 1;
    }
  }

  remove(events, listener) {
    for (const name of names(events)) {
      const list = this.#of.get(name) ?? [];
      const at = list.indexOf(listener);
      if (at < 0) continue;
      this.size -= 1;
      if (list.length === 1) this.#of.delete(name);
      else this.#of.set(name, list.toSpliced(at, 1));
    }
  }

  tell(name, data, source) {
    call(this.#of.get(name), data, source);
    call(this.#of.get(null), data, source);
  }
}

/** Lists are never changed, but replaced: a listener may add and remove others. */
const call = (list, data, source) => {
  if (!list) return;
  for (const listener of list) {
    try {
      listener(data, source);
    } catch (thrown) {
      report(thrown);
    }
  }
};

const names = (events) => (events === null || events === undefined ? [null] : events.split(" ").filter(Boolean));
