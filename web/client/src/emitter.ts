// Typed events.

/** Listeners by event name. A listener that throws affects neither the others nor the emitter. */
export class Emitter<Events extends object> {
  private readonly listeners = new Map<keyof Events, Set<(event: never) => void>>();

  /** Calls `listener` on each event `name`. Returns a function that removes the listener. */
  on<Name extends keyof Events>(name: Name, listener: (event: Events[Name]) => void): () => void {
    const set = this.listeners.get(name) ?? new Set();
    this.listeners.set(name, set);
    set.add(listener);
    return () => this.off(name, listener);
  }

  /** Removes a listener added by {@link Emitter.on}. */
  off<Name extends keyof Events>(name: Name, listener: (event: Events[Name]) => void): void {
    this.listeners.get(name)?.delete(listener);
  }

  protected emit<Name extends keyof Events>(name: Name, event: Events[Name]): void {
    for (const listener of [...(this.listeners.get(name) ?? [])]) {
      try {
        listener(event as never);
      } catch (thrown) {
        // Reported in the console as uncaught, like an exception in a DOM listener.
        queueMicrotask(() => {
          throw thrown;
        });
      }
    }
  }
}
