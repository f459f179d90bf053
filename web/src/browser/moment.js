// Time since the page's start, as core's machines want it (it never runs backwards, and a sleep counts), and random values.
//
// `performance.now()` never runs backwards, but in some browsers it stands still while the machine sleeps; `Date.now()` knows of the sleep, but
// jumps when somebody sets the clock. Time here advances by the larger of the two steps: after a sleep a refresh is due at once, and a clock set
// back holds nothing up.

/** How far time has advanced between two readings of both clocks, in milliseconds. */
export const step = (steady, date) => Math.max(steady, date, 0);

let [steady, date] = [performance.now(), Date.now()];
let elapsed = 0;

/** The time since the page's start, in milliseconds. */
export const now = () => {
  const dateNow = Date.now();
  // Within a millisecond it is as late as it was: many things happen in one.
  if (dateNow !== date) {
    const steadyNow = performance.now();
    elapsed += step(steadyNow - steady, dateNow - date);
    [steady, date] = [steadyNow, dateNow];
  }
  return elapsed;
};

/** Fills `bytes` from the browser's cryptographic generator. */
export const random = (bytes) => {
  crypto.getRandomValues(bytes);
};
