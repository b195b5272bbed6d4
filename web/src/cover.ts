// Cover image of a room or a recording.

/** Shows the image at `url`. Hides the element if there is none, and while the image is not loaded. */
export function showCover(image: HTMLImageElement, url: string | undefined): void {
  if ((image.dataset.url ?? '') === (url ?? '')) return;
  image.dataset.url = url ?? '';
  image.hidden = true;
  image.onload = () => (image.hidden = false);
  if (url) image.src = url;
  else image.removeAttribute('src');
}

/** Returns the cover as the lock screen takes it. */
export const artwork = (url: string | undefined): MediaImage[] => (url ? [{ src: url }] : []);
