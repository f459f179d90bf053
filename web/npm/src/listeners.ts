// Who listens to what.

import { report } from "./errors.js";

/** A function that listens. What it throws is reported, and keeps no other from being told. */
export type Listener<Data, Source> = (data: Data, source: Source) => void;

type AnyListener = Listener<any, any>;

/** Names of events: one or more, with spaces between; null: all. */
export type Events = string | null | undefined;

/** Functions by the names of the events that they want. */
export class Listeners {
  #of = new Map<string | null, readonly AnyListener[]>();

  /** How many there are. */
  size = 0;

  add(events: Events, listener: AnyListener): void {
    for (const name of names(events)) {
      const list = this.#of.get(name) ?? [];
      this.#of.set(name, [...list, listener]);
      this.size += 1;
    }
  }

  remove(events: Events, listener: AnyListener): void {
    for (const name of names(events)) {
      const list = this.#of.get(name) ?? [];
      const at = list.indexOf(listener);
      if (at < 0) continue;
      this.size -= 1;
      if (list.length === 1) this.#of.delete(name);
      else this.#of.set(name, list.filter((_, index) => index !== at));
    }
  }

  tell(name: string, data: unknown, source?: unknown): void {
    call(this.#of.get(name), data, source);
    call(this.#of.get(null), data, source);
  }
}

/** Lists are never changed, but replaced: a listener may add and remove others. */
const call = (list: readonly AnyListener[] | undefined, data: unknown, source: unknown): void => {
  if (!list) return;
  for (const listener of list) {
    try {
      listener(data, source);
    } catch (thrown) {
      report(thrown);
    }
  }
};

const names = (events: Events): (string | null)[] =>
  events === null || events === undefined ? [null] : events.split(" ").filter(Boolean);
