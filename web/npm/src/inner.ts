// What a public object keeps to itself.

/**
 * The way from a public object to what the package does with it: a function. Proxies around the object, as
 * Vue's `reactive` makes them, hand functions out as they are; private fields they do not have, and other
 * members they wrap.
 *
 * @internal
 */
export const inner: unique symbol = Symbol("relogin");
