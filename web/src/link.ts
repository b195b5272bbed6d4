// Secrets of a page's link: token and pin. They arrive in the fragment, which no server sees. They are moved
// to this tab's session storage, so that a copied address or a shared screen does not show them.

/** Storage that may be unavailable: a getter of `window` throws where cookies are blocked. */
type Storage = Pick<globalThis.Storage, 'getItem' | 'setItem' | 'removeItem'>;

export class Link {
  private readonly key: string;
  private parameters: URLSearchParams;

  constructor(
    private readonly storage: () => Storage,
    location: Pick<Location, 'pathname' | 'search' | 'hash'>,
    history: Pick<History, 'replaceState' | 'state'>,
  ) {
    this.key = `stentor.link:${location.pathname}`;
    const fragment = new URLSearchParams(location.hash.slice(1));
    if (!fragment.has('token') && !fragment.has('pin')) {
      this.parameters = new URLSearchParams(this.stored());
      return;
    }
    this.parameters = fragment;
    // Without storage, the secrets stay in the address, because a reload would lose them.
    if (this.store(fragment.toString())) history.replaceState(history.state, '', location.pathname + location.search);
  }

  get token(): string {
    return this.parameters.get('token') ?? '';
  }

  get pin(): string {
    return this.parameters.get('pin') ?? '';
  }

  /** Returns the parameter with this name; null if the link does not have it. */
  get(name: string): string | null {
    return this.parameters.get(name);
  }

  /** Removes a refused token, so that a reload requests a new one in open mode. */
  forgetToken(): void {
    this.parameters.delete('token');
    this.store(this.parameters.toString());
  }

  private stored(): string {
    try {
      return this.storage().getItem(this.key) ?? '';
    } catch {
      return '';
    }
  }

  private store(text: string): boolean {
    try {
      if (text) this.storage().setItem(this.key, text);
      else this.storage().removeItem(this.key);
      return true;
    } catch {
      return false;
    }
  }
}

/** Returns the link of this page. */
export const linkOfPage = (): Link => new Link(() => sessionStorage, location, history);
