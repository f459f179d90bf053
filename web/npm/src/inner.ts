// Hides the inner side of public objects.

/**
 * The member of a public object that returns its inner side. It is a function because proxies
 * around the object, such as those of Vue's `reactive`, return functions unchanged, but wrap other
 * members and have no private fields.
 *
 * @internal
 */
export const inner: unique symbol = Symbol("relogin");
