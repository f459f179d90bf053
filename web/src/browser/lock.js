// A lock between the tabs of an origin (Web Locks): asked for, stolen, given back.

/**
 * Asks for the lock `name`: stands in line for it or, to `steal` it, takes it from whoever has it. `tell` is told true when it is ours, and
 * false, as the last thing, when it is not to be had or was stolen from us. Returns what gives it back, or leaves the line: `tell` is told
 * nothing more.
 */
export const requestLock = (name, steal, tell) => {
  const line = new AbortController();
  let over = false;
  let giveBack = () => line.abort();
  const held = () => {
    // Given back in the meantime.
    if (over) return undefined;
    // The browser holds the lock for us until this is settled.
    const end = new Promise((resolve) => (giveBack = resolve));
    tell(true);
    return end;
  };
  const request = async () => {
    try {
      // Missing on pages that were served without TLS.
      await navigator.locks.request(name, steal ? { steal } : { signal: line.signal }, held);
    } catch {
      // Stolen, aborted, or refused to a page like this one.
      if (!over) tell(false);
    }
  };
  request();
  return () => {
    over = true;
    giveBack();
  };
};
