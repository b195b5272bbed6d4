// Lists the microphones and opens one. Each kind of failure has its own code.

import { StentorError } from './errors.js';

/** A selectable device. */
export interface Microphone {
  deviceId: string;
  /** Name of the device; empty until the user has allowed a microphone once. */
  label: string;
}

/** Options for opening a microphone for a call. */
export interface MicrophoneOptions {
  /** Id from {@link listMicrophones}; default: the system's. If it cannot be opened, the system's is used. */
  deviceId?: string;
  /** For music: no echo cancellation, noise suppression and gain control. */
  raw?: boolean;
}

/** Returns the available microphones. */
export async function listMicrophones(): Promise<Microphone[]> {
  const devices = (await navigator.mediaDevices?.enumerateDevices()) ?? [];
  const inputs = devices.filter((device) => device.kind === 'audioinput' && device.deviceId !== '');
  return inputs.map(({ deviceId, label }) => ({ deviceId, label }));
}

/**
 * Opens a microphone and asks the user for permission if needed. Rejects with a {@link StentorError} whose
 * code is `microphone_insecure` (the page is served without TLS), `microphone_denied`, `microphone_missing`,
 * `microphone_busy` (another program uses it) or `microphone_failed`.
 */
export async function openMicrophone({ deviceId, raw = false }: MicrophoneOptions = {}): Promise<MediaStream> {
  if (!navigator.mediaDevices?.getUserMedia) {
    throw problem('microphone_insecure', 'browsers give a microphone only to pages served over https or from localhost');
  }
  const processed = { echoCancellation: !raw, noiseSuppression: !raw, autoGainControl: !raw };
  const device = deviceId ? { deviceId: { exact: deviceId } } : {};
  try {
    return await navigator.mediaDevices.getUserMedia({ audio: { ...processed, ...device } });
  } catch (thrown) {
    // Not a DOMException in every browser: Firefox has a separate class for a device that is gone.
    const refused = refusal((thrown as { name?: string } | null)?.name ?? '');
    if (deviceId && refused.code !== 'microphone_denied') return openMicrophone({ raw });
    throw refused;
  }
}

function refusal(name: string): StentorError {
  switch (name) {
    case 'NotAllowedError':
    case 'SecurityError':
      return problem('microphone_denied', 'the microphone was not allowed');
    case 'NotFoundError':
      return problem('microphone_missing', 'there is no microphone');
    case 'NotReadableError':
    case 'AbortError':
      return problem('microphone_busy', 'the microphone is in use by another program');
    default:
      return problem('microphone_failed', 'the microphone could not be opened');
  }
}

function problem(code: string, message: string): StentorError {
  return new StentorError({ code, message, retryable: false });
}
